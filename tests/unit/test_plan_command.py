"""`fleet plan --model`: its table, its JSON, its exit codes, and one line for every way to ask wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.models import shipped, small_config
from vllm_fleet.cli import main
from vllm_fleet.planner.memory import estimate
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema.gpu import gpu

ROOT = Path(__file__).parents[2]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def plan(*arguments: str, model: str = LLAMA, card: str = "h200") -> Result:
    result = CliRunner().invoke(main, ["plan", "--model", model, "--gpu", card, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def content(*arguments: str, **values: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan("--json", *arguments, **values).stdout)
    return found


# ---- JSON ---------------------------------------------------------------------------------------------------------

SIZES = ["weights_bytes", "activation_bytes", "kv_cache_bytes", "kv_cache_tokens"]
KEYS = [*SIZES, "max_concurrency", "decode_tokens_per_second_ceiling", "fits", "problems"]


def test_json_has_every_number_of_the_plan():
    found = content("--max-model-len", "8192")
    assert set(KEYS) < set(found)
    assert (found["fits"], found["problems"], found["remedies"]) == (True, [], [])
    expected = estimate(shipped(LLAMA), Settings(max_model_len=8192), gpu("h200"))
    assert found["weights_bytes"] == expected.tightest.weights
    assert found["kv_cache_tokens"] == expected.kv_cache_tokens
    assert found["max_concurrency"] == round(expected.max_concurrency, 2)
    assert found["parameters"] == 8030261248
    assert all(isinstance(found[key], int) and found[key] > 0 for key in SIZES)


def test_json_of_what_does_not_fit_has_problems_with_their_fix():
    result = plan("--json", card="l4")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["fits"] is False
    (problem,) = found["problems"]
    assert set(problem) == {"path", "problem", "fix"}
    assert problem["path"] == "--max-model-len"
    assert found["remedies"][0]["changes"][0].startswith("max_model_len=")
    assert {"gpus", "kv_cache_tokens", "max_concurrency", "weights_bytes"} < set(found["remedies"][0])


def test_each_stage_has_its_own_numbers():
    found = content("--pipeline-parallel-size", "2", "--count", "2")
    assert [each["layers"] for each in found["stages"]] == [[0, 15], [16, 31]]
    assert found["gpus"] == 2
    assert all(each["weights_bytes"] < 10 * 2**30 for each in found["stages"])


@pytest.mark.parametrize(
    "arguments, settings",
    [
        (["--tensor-parallel-size", "2"], {"tensor_parallel_size": 2}),
        (["--gpu-memory-utilization", "0.5"], {"gpu_memory_utilization": 0.5}),
        (["--kv-cache-dtype", "fp8"], {"kv_cache_dtype": "fp8"}),
        (["--quantization", "fp8"], {"quantization": "fp8"}),
        (["--max-num-batched-tokens", "2048"], {"max_num_batched_tokens": 2048}),
        (["--max-num-seqs", "8"], {"max_num_seqs": 8}),
        (["--dtype", "float32"], {"dtype": "float32"}),
        (["--enforce-eager"], {"enforce_eager": True}),
        (["--data-parallel-size", "2", "--enable-expert-parallel"],
         {"data_parallel_size": 2, "enable_expert_parallel": True}),
    ],
)  # fmt: skip
def test_options_mean_what_they_mean_to_the_engine(arguments, settings):
    found = content(*arguments)
    expected = estimate(shipped(LLAMA), Settings(**settings), gpu("h200"))
    assert found["kv_cache_tokens"] == expected.kv_cache_tokens
    assert found["weights_bytes"] == expected.tightest.weights


# ---- how many GPUs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, arguments, gpus",
    [
        (LLAMA, [], 1),
        (LLAMA, ["--count", "8"], 8),
        ("Qwen/Qwen2.5-7B-Instruct", ["--count", "8"], 4),  # 28 heads
        ("Qwen/Qwen2.5-7B-Instruct", ["--count", "3"], 2),
        (LLAMA, ["--count", "8", "--pipeline-parallel-size", "2"], 8),
        (LLAMA, ["--count", "8", "--data-parallel-size", "4"], 8),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", ["--count", "16"], 16),
    ],
)
def test_a_count_alone_is_used_as_far_as_the_model_can_be_split(model, arguments, gpus):
    assert content(*arguments, model=model)["gpus"] == gpus


def test_a_count_is_split_where_the_quantization_allows_it():
    model = "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"
    assert content("--count", "8", model=model)["gpus"] == 4
    assert content("--count", "8", "--enable-expert-parallel", model=model)["gpus"] == 8


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (
            ["--count", "2", "--tensor-parallel-size", "4"],
            "--count: 2 GPUs, but tensor x pipeline x data parallel takes 4; lower a parallel size, or raise --count",
        ),
        (
            ["--tensor-parallel-size", "3"],
            f"--tensor-parallel-size: 3 does not divide 32 attention heads ({LLAMA}); use 1, 2, 4, 8 or 16",
        ),
        (
            ["--max-model-len", "200000"],
            f"--max-model-len: 200000 is more than the 131072 of {LLAMA}; use 131072 or less",
        ),
    ],
)
def test_what_the_model_forbids_is_a_problem(arguments, problem):
    result = plan(*arguments)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == problem
    assert content(*arguments)["fits"] is False


@pytest.mark.parametrize("card, reason", [("mi300x", "CUDA images only"), ("v100", "compute capability 7.5")])
def test_an_unsupported_gpu_is_a_problem(card, reason):
    result = plan("--max-model-len", "1024", card=card)
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("--gpu: ")
    assert reason in last
    assert last.endswith("; use an NVIDIA GPU of the catalogue")


# ---- the table ----------------------------------------------------------------------------------------------------


def test_the_table_and_its_reasons():
    result = plan("--max-model-len", "8192", "--enforce-eager")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "1 x H200 SXM 141GB"
    (row,) = [line for line in lines if line.startswith("│ Llama-3.1-8B-Instruct")]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[1] == "15.0"
    assert cells[6].replace(",", "").isdigit()
    assert cells[7].endswith(" x 8192")
    assert "  - weights from config.json: 8.03 billion parameters" in lines
    assert any(line.startswith('  better kv_cache_dtype="fp8": ') for line in lines)


def test_a_row_for_each_stage():
    rows = [line for line in plan("--pipeline-parallel-size", "2").stdout.splitlines() if " stage " in line]
    assert [row.split("│")[1].strip() for row in rows] == [f"Llama-3.1-8B-Instruct stage {stage}" for stage in (0, 1)]


def test_what_makes_it_fit_is_shown():
    result = plan(card="l4")
    assert result.exit_code == 1
    fits = [line for line in result.stdout.splitlines() if line.startswith("  fits with ")]
    assert fits[0].startswith("  fits with max_model_len=")
    assert result.stdout.splitlines()[-1].startswith("--max-model-len: one request of 131072 tokens needs 16.0 GiB")


def test_no_colours_in_a_pipe():
    code = "from vllm_fleet.cli import main; main()"
    command = [sys.executable, "-c", code, "plan", "--model", LLAMA, "--gpu", "l4"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert shown.returncode == 1
    assert b"Llama-3.1-8B-Instruct" in shown.stdout
    assert b"\x1b" not in shown.stdout + shown.stderr


# ---- where the model comes from -----------------------------------------------------------------------------------


def test_a_name_in_another_case_a_file_and_a_directory(tmp_path):
    assert content(model=LLAMA.upper())["parameters"] == 8030261248
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    one, other = (content(model=str(path)) for path in (tmp_path, tmp_path / "config.json"))
    assert one["parameters"] == other["parameters"] == small_parameters()
    assert one["max_model_len"] == 4096


def small_parameters() -> int:
    """The small model's, by hand."""
    layer = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256 + 2 * 128
    return 2 * 1000 * 128 + 128 + 4 * layer


def test_weights_in_the_directory_are_weighed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    header = json.dumps({"a": {"dtype": "BF16", "shape": [10**6], "data_offsets": [0, 2 * 10**6]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * 10**6))
    lines = plan(model=str(tmp_path)).stdout.splitlines()
    assert any(line.startswith("  - weights from the safetensors headers: ") for line in lines)


# ---- asked wrongly ------------------------------------------------------------------------------------------------


def refusal(*arguments: str) -> tuple[int, str]:
    """The exit code, and the one line that says what is wrong."""
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    return result.exit_code, lines[0].removeprefix("Error: ")


PROD = str(ROOT / "inventories" / "prod.py")
ASKED = ["--model", LLAMA, "--gpu", "h200"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give an inventory, or --model and --gpu"),
        ([PROD, *ASKED], "give an inventory, or --model and --gpu"),
        (["--gpu", "h200"], "give an inventory, or --model and --gpu"),
        (["--model", "", "--gpu", "h200"], "give an inventory, or --model and --gpu"),
        (["--model", LLAMA], "--model needs --gpu: h200, h100-sxm, a100-80gb, l4 ..."),
        ([PROD, "--gpu", "h200"], "--gpu is for --model; the inventory's services say it for themselves"),
        ([PROD, "--count", "8"], "--count is for --model; the inventory's services say it for themselves"),
        ([PROD, "--max-model-len", "9"], "--max-model-len is for --model; the inventory's services say it for "
                                         "themselves"),
        ([*ASKED, "--gpu-memory-utilization", "nan"], "--gpu-memory-utilization is a share of 1, like 0.92"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(arguments, message):
    assert refusal(*arguments) == (2, message)


def test_data_parallel_ranks_are_counted_each_and_shown_as_so_many():
    arguments = ["--data-parallel-size", "16", "--enable-expert-parallel", "--max-model-len", "8192"]
    shown = CliRunner().invoke(main, ["plan", "--model", "deepseek-ai/DeepSeek-V3", "--gpu", "h200", *arguments]).stdout
    found = content(*arguments, model="deepseek-ai/DeepSeek-V3")
    assert found["gpus"] == 16
    assert f" 16 x {found['kv_cache_tokens']:,} " in shown
    assert f" 16 x {found['max_concurrency']:.1f} x 8192 " in shown
    assert found["reasons"][-2:] == [
        "KV-cache tokens and requests are those of each of 16 data parallel ranks, ceilings those of all",
        "each GPU holds 16 of 256 experts",
    ]
    cut = content("--data-parallel-size", "2", "--tensor-parallel-size", "4", model="Qwen/Qwen3-30B-A3B-Instruct-2507")
    assert cut["reasons"][-1] == "each GPU holds 1/8 of each expert"


@pytest.mark.parametrize(
    "option, value",
    [
        ("--count", "0"), ("--count", "-1"), ("--count", "two"), ("--count", "1000000000"),
        ("--tensor-parallel-size", "0"), ("--tensor-parallel-size", "1.5"), ("--tensor-parallel-size", "10" * 9),
        ("--pipeline-parallel-size", "0"), ("--data-parallel-size", "0"),
        ("--max-model-len", "0"), ("--max-model-len", "-1"), ("--max-model-len", "1" * 400),
        ("--max-num-batched-tokens", "0"), ("--max-num-batched-tokens", "1" * 400), ("--max-num-seqs", "0"),
        ("--gpu-memory-utilization", "0"), ("--gpu-memory-utilization", "1.1"), ("--gpu-memory-utilization", "inf"),
        ("--kv-cache-dtype", "fp4"), ("--dtype", "int8"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(option, value):
    code, message = refusal(*ASKED, option, value)
    assert code == 2
    assert message.startswith(f"Invalid value for '{option}'")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", LLAMA, "--gpu", "h300"], "gpu: 'h300' is unknown; did you mean h200? "),
        (["--model", "/nowhere", "--gpu", "h200"], "/nowhere: no such file, and no model's name (organisation/name); "),
        (["--model", "x" * 5000, "--gpu", "h200"], "x" * 5000 + ": no such file, "),
        (
            [*ASKED, "--pipeline-parallel-size", "64"],
            f"--pipeline-parallel-size: 64 is more than the 32 layers of {LLAMA}",
        ),
    ],
)
def test_bad_configuration_is_one_line(arguments, message):
    code, found = refusal(*arguments)
    assert code == 1
    assert found.startswith(message)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_type": "mamba2", "hidden_size": -1}'])
def test_a_bad_config_json_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    result = CliRunner().invoke(main, ["plan", "--model", str(tmp_path), "--gpu", "l4"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path}")


@pytest.mark.parametrize(
    "command",
    [
        "inventories/prod.py",
        "--model Qwen/Qwen2.5-32B-Instruct --gpu l40s --count 1 --max-model-len 16384",
    ],
)
def test_the_readme_shows_what_it_prints(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(main, ["plan", *command.split()]).stdout.splitlines()
    readme = {line.strip() for line in (ROOT / "README.md").read_text().splitlines()}
    assert f"$ fleet plan {command}" in readme
    assert [line for line in printed if line.strip() not in readme] == []
