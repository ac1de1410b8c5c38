"""What makes a model fit: the shortest list of changes, best first, each with what it gives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import shipped
from vllm_fleet.planner.fitting import Remedy, remedies
from vllm_fleet.planner.memory import Estimate, estimate, longest_model_len
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema.gpu import gpu

LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"


def sized(name: str, card: str, **settings: Any) -> Estimate:
    return estimate(shipped(name), Settings(**settings), gpu(card))


def kinds(found: list[Remedy]) -> list[tuple[str, ...]]:
    """The changes, without the length that is suggested."""
    return [tuple(text.split("=")[0] if "max_model_len" in text else text for text in each.changes) for each in found]


def test_what_misses_by_its_context_gets_a_shorter_one_first():
    found = sized(LLAMA_70B, "l40s", tensor_parallel_size=4, max_model_len=98304)  # 44 GiB a GPU, 33 of them weights
    assert found.tightest.kv_cache > 0
    assert not found.fits
    assert kinds(remedies(found)) == [
        ("max_model_len",),
        ('kv_cache_dtype="fp8"',),
        ('quantization="fp8_per_tensor"',),
        ("tensor_parallel_size=8",),
    ]


def test_a_suggested_context_is_round_and_keeps_off_the_edge():
    found = sized(LLAMA_8B, "l4")
    shorter = remedies(found)[0].estimate
    longest = longest_model_len(found)
    assert shorter.max_model_len % 1024 == 0
    assert 0.8 * longest < shorter.max_model_len <= 0.95 * longest
    assert sized(LLAMA_8B, "l4", max_model_len=longest).fits
    assert not sized(LLAMA_8B, "l4", max_model_len=longest + 32).fits


@pytest.mark.parametrize(
    "name, card, settings, expected",
    [
        # weights beyond the card: half of them fit, or more GPUs
        ("Qwen/Qwen2.5-72B-Instruct", "h200", {}, [('quantization="fp8_per_tensor"',), ("tensor_parallel_size=2",)]),
        # neither half of them nor two GPUs are enough; who has but one GPU gives up more
        (
            LLAMA_70B,
            "h100-sxm",
            {},
            [("tensor_parallel_size=4",), ("max_model_len", 'quantization="fp8_per_tensor"')],
        ),
        # without FP8, a 4-bit checkpoint
        (
            "Qwen/Qwen2.5-32B-Instruct",
            "a100-40gb",
            {"max_model_len": 8192},
            [("a 4-bit (AWQ or GPTQ) checkpoint of the model",), ("tensor_parallel_size=2",)],
        ),
        # what is quantized already is not quantized again, and a narrow cache not narrowed
        ("deepseek-ai/DeepSeek-V3", "h200", {"kv_cache_dtype": "fp8"}, [("tensor_parallel_size=8",)]),
        # beyond one host: pipeline parallel between hosts
        ("deepseek-ai/DeepSeek-V3", "h100-sxm", {}, [("tensor_parallel_size=8 and pipeline_parallel_size=2",)]),
    ],
)
def test_the_shortest_list_for(name, card, settings, expected):
    assert kinds(remedies(sized(name, card, **settings))) == expected


def test_where_no_single_change_is_enough_there_are_two():
    # 32 GPUs of 22 GiB hold half of 756 GiB of weights
    found = remedies(sized("meta-llama/Llama-3.1-405B-Instruct", "l4"))
    assert kinds(found) == [('quantization="fp8_per_tensor"', "tensor_parallel_size=8 and pipeline_parallel_size=4")]
    assert found[0].estimate.fits
    assert found[0].estimate.settings.gpus == 32


def test_what_no_change_helps_gets_no_list():
    assert remedies(sized("meta-llama/Llama-3.1-405B-Instruct-FP8", "t4")) == []


def test_a_list_has_at_most_so_many_entries():
    found = sized(LLAMA_70B, "l40s", tensor_parallel_size=4, max_model_len=98304)
    assert kinds(remedies(found, most=2)) == kinds(remedies(found))[:2]


def test_each_entry_has_its_own_numbers():
    found = sized(LLAMA_70B, "l40s", tensor_parallel_size=4, max_model_len=98304)
    shorter, narrow, light, wide = (each.estimate for each in remedies(found))
    assert shorter.kv_cache_tokens == pytest.approx(found.kv_cache_tokens, rel=0.01)
    assert narrow.kv_cache_tokens == pytest.approx(2 * found.kv_cache_tokens, rel=0.01)
    assert light.tightest.weights < 0.6 * found.tightest.weights
    assert wide.settings.gpus == 8


def test_more_gpus_are_split_as_the_model_allows():
    # 1536 / 8 = 192 inputs of an expert are no multiple of FP8's blocks of 128: 4 GPUs a host, and more hosts
    found = sized("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "a100-80gb")
    sizes = [each.estimate.settings.tensor_parallel_size for each in remedies(found)]
    assert sizes
    assert set(sizes) <= {2, 4}
