"""A command line as vLLM's parser reads it; the cases were compared with the parsers of 0.32 and 0.33 themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.contract import VERSIONS, snapshot
from vllm_fleet.engine.contract.parse import CommandLine, parse


def line(*words: str, version: str = VERSIONS[-1]) -> CommandLine:
    return parse(snapshot(version), ["model", *words], lambda option: option)


def values(*words: str) -> dict[str, Any]:
    found = line(*words)
    assert found.problems == []
    return found.values


def problem(*words: str) -> str:
    (found,) = line(*words).problems
    return str(found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-num-seqs", "64"], {"max-num-seqs": 64}),
        (["--max-num-seqs=64"], {"max-num-seqs": 64}),
        (["--max_num_seqs", "64"], {"max-num-seqs": 64}),
        (["-tp", "2"], {"tensor-parallel-size": 2}),
        (["-tp=2"], {"tensor-parallel-size": 2}),
        (["--seed", "-1"], {"seed": -1}),
        (["--max-num-batched-tokens", "8k"], {"max-num-batched-tokens": 8000}),
        (["--max-num-batched-tokens", "8K"], {"max-num-batched-tokens": 8192}),
        (["--max-model-len", "auto"], {"max-model-len": -1}),
        (["--kv-cache-memory-bytes", "1.5g"], {"kv-cache-memory-bytes": 1_500_000_000}),
        (["--tokenizer-revision", "None"], {"tokenizer-revision": None}),
        (["--enforce-eager"], {"enforce-eager": True}),
        (["--no-enforce-eager"], {"enforce-eager": False}),
        (["--disable-lora"], {"enable-lora": False}),
        (["--cudagraph-capture-sizes", "1", "2", "4"], {"cudagraph-capture-sizes": [1, 2, 4]}),
        (["--moe-backend", "FLASHINFER-CUTLASS"], {"moe-backend": "flashinfer_cutlass"}),
        (["-O3"], {"optimization-level": "3"}),
        (["-O", "3"], {"optimization-level": "3"}),
        (["--hf-token"], {"hf-token": True}),
        (["--limit-mm-per-prompt", '{"image": 2}'], {"limit-mm-per-prompt": {"image": 2}}),
        (["--limit-mm-per-prompt.image", "2"], {"limit-mm-per-prompt": {"image": 2}}),
        (
            ["--speculative-config.method", "ngram", "--speculative-config.num-speculative-tokens=3"],
            {"speculative-config": {"method": "ngram", "num-speculative-tokens": 3}},
        ),
        (
            ["-cc.custom_ops+", "all", "-cc.custom_ops+", "a,b"],
            {"compilation-config": {"custom_ops": ["all", "a", "b"]}},
        ),
    ],
)
def test_what_vllm_takes(words: list[str], expected: dict[str, Any]) -> None:
    assert values(*words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-num-seq", "5"], "max-num-seq: is short for max-num-seqs, and will be unknown once another option "
                                 "begins so; write max-num-seqs"),
        (["--gpu-mem", "0.9"], "gpu-mem: is short for gpu-memory-utilization, and will be unknown once another option "
                               "begins so; write gpu-memory-utilization"),
        (["--max-num", "5"], "max-num: unknown option of vLLM 0.33; write one of max-num-active-seqs, "
                             "max-num-batched-tokens, max-num-queued-reqs, max-num-queued-tokens, "
                             "max-num-scheduled-tokens, max-num-seqs"),
        (["--tp", "2"], "tp: unknown option of vLLM 0.33; write -tp or --tensor-parallel-size"),
        (["--max-nun-seqs", "5"], "max-nun-seqs: unknown option of vLLM 0.33; did you mean max-num-seqs?"),
        (["--xyzzy"], "xyzzy: unknown option of vLLM 0.33; remove it, or see `vllm serve --help=all`"),
        (["--max-num-seqs", "many"], "max-num-seqs: must be a whole number, got 'many'; change it"),
        (["--max-num-seqs", "0"], "max-num-seqs: must be at least 1, got 0; change it"),
        (["--max-num-seqs"], "max-num-seqs: needs a value; add it"),
        (["--gpu-memory-utilization", "1.9"],
         "gpu-memory-utilization: must be more than 0 and at most 1, got 1.9; change it"),
        (["--gpu-memory-utilization", "nan"],
         "gpu-memory-utilization: must be more than 0 and at most 1, got nan; change it"),
        (["--tensor-parallel-size", "0"], "tensor-parallel-size: must be at least 1, got 0; change it"),
        (["--max-num-batched-tokens", "1.5K"],
         "max-num-batched-tokens: takes no fraction with K, got '1.5K'; write 1.5k"),
        (["--dtype", "bf16"], "dtype: does not take 'bf16'; did you mean bfloat16?"),
        (["--max-lora-rank", "24"], "max-lora-rank: does not take 24; use one of 1, 8, 16, 32, 64, 128, 256, 320, 512"),
        (["--enforce-eager=true"], "enforce-eager: takes no value, got 'true'; write the option alone"),
        (["--no-disable-log-stats"], "disable-log-stats: cannot be turned off with False; leave it out"),
        (["--port", "8000", "8001"],
         "model: '8001' stands where vLLM expects an option; quote it, or put the option before it"),
        (["--speculative-config", "ngram"],
         "speculative-config: must be JSON, got 'ngram'; write it as '{\"key\": ...}' in single quotes"),
        (["--speculative-config", "[]"],
         'speculative-config: must be a JSON object, got []; write it as {"method": "ngram", '
         '"num_speculative_tokens": 5, "prompt_lookup_max": 4}'),
        (["--speculative-config", '{"num_spec_tokens": 5}'],
         "speculative-config.num_spec_tokens: unknown key in vLLM 0.33; did you mean num_speculative_tokens?"),
        (["--speculative-config", '{"num_speculative_tokens": 0}'],
         "speculative-config.num_speculative_tokens: must be more than 0, got 0; change it"),
        (["--speculative-config", '{"method": "draft"}'],
         "speculative-config.method: does not take 'draft'; did you mean draft_model?"),
        (["--speculative-config", '{"draft_load_config": {"load": 1}}'],
         "speculative-config.draft_load_config.load: unknown key in vLLM 0.33; did you mean load_format?"),
        (["--structured-outputs-config.backend", "outline"],
         "structured-outputs-config.backend: does not take 'outline'; did you mean outlines?"),
        (["--compilation-config", '{"cudagraph_capture_sizes": 8}'],
         "compilation-config.cudagraph_capture_sizes: must be a list, got 8; change it"),
        (["--compilation-config", '{"compile_mm_encoder": "maybe"}'],
         "compilation-config.compile_mm_encoder: must be true or false, got 'maybe'; change it"),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], said: str) -> None:
    assert problem(*words) == said


def test_an_unknown_option_takes_its_values_with_it() -> None:
    found = line("--nonsense", "a", "b", "--max-num-seqs", "5")
    assert len(found.problems) == 1
    assert found.values == {"max-num-seqs": 5}


def test_the_last_of_two_counts() -> None:
    assert values("--max-num-seqs", "5", "--max-num-seqs", "6") == {"max-num-seqs": 6}


def test_versions_differ() -> None:
    assert line("--disable-lora", version="0.33").problems == []
    assert len(line("--disable-lora", version="0.32").problems) == 1
