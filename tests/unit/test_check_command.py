"""`fleet check`: what it prints, its exit codes, and that it ends in lines when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vllm_fleet.cli import main

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("no_inventory_read")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """The example `single` with two mistakes."""
    for folder in ("inventories", "group_data"):
        (tmp_path / folder).mkdir()
        text = (ROOT / folder / "single.py").read_text(encoding="utf-8")
        mistakes = 'options={"max-num-seq": 64, "swap-space": 4}'
        (tmp_path / folder / "single.py").write_text(text.replace("max_model_len=16384", mistakes), encoding="utf-8")
    return tmp_path / "inventories" / "single.py"


def test_a_fleet_without_a_problem() -> None:
    ran = check(str(ROOT / "inventories" / "prod.py"))
    assert ran.stdout == "no problems: 2 services, 4 engines against vLLM 0.33\n"
    assert ran.exit_code == 0


def test_one_line_a_problem(single: Path) -> None:
    ran = check(str(single))
    assert ran.exit_code == 1
    assert ran.stdout.splitlines() == [
        "services.chat.options.max-num-seq: is short for max-num-seqs, and will be unknown once another option begins "
        "so; write max-num-seqs",
        "services.chat.options.swap-space: is gone: nothing swaps to the host; remove it, or keep KV cache in the "
        "host's memory with --kv-offloading-size GIB",
        "2 problems: 1 service, 1 engine against vLLM 0.33",
    ]


def test_for_programs(single: Path) -> None:
    ran = check("--json", str(single))
    said = json.loads(ran.stdout)
    assert (ran.exit_code, said["ok"], len(said["problems"])) == (1, False, 2)
    assert said["problems"][0] == {
        "path": "services.chat.options.max-num-seq",
        "problem": "is short for max-num-seqs, and will be unknown once another option begins so",
        "fix": "write max-num-seqs",
    }
    assert json.loads(check("--json", str(ROOT / "inventories" / "prod.py")).stdout) == {
        "ok": True,
        "checked": "2 services, 4 engines against vLLM 0.33",
        "problems": [],
    }


def test_a_file_of_commands(tmp_path: Path) -> None:
    script = tmp_path / "start.sh"
    script.write_text("#!/bin/sh\nset -e\nexec vllm serve x \\\n  --disable-log-requests\necho 'it'\"'\"'s up'\n")
    assert check(str(script)).stdout == "no problems: 1 command against vLLM 0.33\n"
    ran = check(str(script), "--vllm", "0.32")
    assert ran.stdout.splitlines() == [
        f"{script}:4: --disable-log-requests: is gone: requests are not logged by default; remove it",
        "1 problem: 1 command against vLLM 0.32",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("# vllm serve x --foo\n", 0),
        ("vllm bench serve --foo\n", 0),
        ("echo vllm; vllm serve x && curl y | vllm serve z &\n", 2),
        ("FOO=1 /opt/venv/bin/vllm serve x # --foo\n", 1),
        ("$ vllm serve x\n", 1),
        ("docker run -e A=b vllm/vllm-openai:v0.33.0 x --max-num-seqs 5\n", 1),
        ("podman run docker.io/vllm/vllm-openai@sha256:00 x\n", 1),
        ("python3 -m vllm.entrypoints.api_server\n", 0),
        ("vllm serve x \\", 1),
        ("nohup vllm serve x --port $PORT --max-num-seqs ${N:-5} $MORE > log 2>&1 &\n", 1),
        ('vllm serve "$MODEL" "$@" </dev/null\n', 1),
    ],
)
def test_commands_that_are_found(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "f.sh").write_text(text)
    ran = check(str(tmp_path / "f.sh"))
    assert ran.stdout == f"no problems: {count or 'no'} command{'' if count == 1 else 's'} against vLLM 0.33\n"
    assert ran.exit_code == 0


def test_a_quote_without_its_end(tmp_path: Path) -> None:
    (tmp_path / "f.sh").write_text("vllm serve x --hf-overrides '{\n")
    assert check(str(tmp_path / "f.sh")).stdout.splitlines()[0] == (
        f"{tmp_path}/f.sh:1: is no shell command (no closing quotation); close it, or join the lines with a backslash"
    )


@pytest.mark.parametrize("name", ["nowhere.sh", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    ran = check(str(tmp_path / name))
    assert ran.exit_code == 1
    (line,) = ran.stderr.splitlines()
    assert line.endswith("; name an inventory or a file of commands")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\xfe\x00")
    (line,) = check(str(tmp_path / "f")).stderr.splitlines()
    assert line == f"Error: {tmp_path}/f: is not text; name an inventory or a file of commands"


def test_a_version_without_a_snapshot() -> None:
    assert check("x.sh", "--vllm", "0.11").exit_code == 2
