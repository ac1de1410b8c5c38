"""Advice by hardware: what to change, why, and what it is worth."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import shipped
from vllm_fleet.planner.advice import Advice, advice
from vllm_fleet.planner.memory import estimate
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema.gpu import gpu

LLAMA, FP8 = "meta-llama/Llama-3.1-8B-Instruct", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8"


def given(name: str, card: str, **settings: Any) -> list[Advice]:
    return advice(estimate(shipped(name), Settings(**{"max_model_len": 8192, **settings}), gpu(card)))


def changes(name: str, card: str, **settings: Any) -> list[str]:
    return [each.change for each in given(name, card, **settings)]


WEIGHTS_FP8 = 'quantization="fp8_per_tensor", or an FP8 checkpoint'
CACHE_FP8 = 'kv_cache_dtype="fp8"'
FOUR_BITS = "a 4-bit AWQ or GPTQ checkpoint"


@pytest.mark.parametrize("card", ["l4", "l40s", "rtx-4090", "h100-sxm", "h100-pcie", "h200", "b200"])
def test_fp8_for_weights_and_cache_on_ada_hopper_and_blackwell(card):
    four_bits = ["an NVFP4 checkpoint"] if card == "b200" else []
    assert changes(LLAMA, card) == [WEIGHTS_FP8, *four_bits, CACHE_FP8]


@pytest.mark.parametrize("card", ["a10g", "a100-40gb", "a100-80gb", "rtx-a6000"])
def test_four_bits_on_ampere(card):
    (only,) = given(LLAMA, card)
    assert only.change == FOUR_BITS
    assert "Marlin" in only.reason


def test_fp8_weights_are_no_win_on_ampere():
    for found in (given(FP8, "a100-80gb"), given(LLAMA, "a100-80gb", quantization="fp8")):
        (only,) = found
        assert only.change == "a 4-bit AWQ or W8A8 INT8 checkpoint"
        assert "no FP8 tensor cores" in only.reason
        assert only.gain == "none from FP8 in prefill"


def test_the_gain_is_what_the_plan_itself_gives():
    subject, card = shipped(LLAMA), gpu("h200")
    plain, narrow = (estimate(subject, Settings(max_model_len=8192, quantization=made), card) for made in (None, "fp8"))
    ratio = narrow.ceilings.decode / plain.ceilings.decode
    assert 1.7 < ratio < 2
    assert f"{ratio:.1f}x decode for one stream" in given(LLAMA, "h200")[0].gain
    assert "2.0x KV-cache tokens" in given(LLAMA, "h200")[1].gain


def test_what_is_done_already_is_not_advised():
    assert changes(FP8, "h100-sxm") == [CACHE_FP8]
    assert changes(FP8, "h100-sxm", kv_cache_dtype="fp8") == []
    assert changes("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "a100-80gb") == []


def test_bitsandbytes_has_better_neighbours():
    assert "an AWQ, GPTQ or FP8 checkpoint" in changes("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "l4")


def test_more_gpus_than_key_value_heads_are_pointed_out():
    found = {each.change: each.reason for each in given(LLAMA, "h100-sxm", tensor_parallel_size=16)}
    assert found["tensor_parallel_size=8"] == "the model has 8 key-value heads: on 16 GPUs each is kept 2 times"
    assert "tensor_parallel_size=8" not in changes(LLAMA, "h100-sxm", tensor_parallel_size=8)
    # MLA has one latent vector, whatever the number of GPUs
    assert not any("key-value heads" in each.reason for each in given("deepseek-ai/DeepSeek-V3", "h200"))


def test_a_model_that_fits_on_fewer_gpus_is_better_replicated():
    halves = [each for each in given(LLAMA, "h200", tensor_parallel_size=2) if "replicas" in each.change]
    assert [each.change for each in halves] == ["tensor_parallel_size=1 and twice the replicas"]
    assert halves[0].gain == "0.5x decode for one stream"
    large = changes("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", tensor_parallel_size=4)
    assert not any("replicas" in each for each in large)  # on two there is no room for eight requests


def test_tensor_parallelism_without_nvlink_crosses_pcie():
    name = "Qwen/Qwen2.5-32B-Instruct"
    assert any("no NVLink" in each.reason for each in given(name, "l40s", tensor_parallel_size=2))
    assert not any("no NVLink" in each.reason for each in given(name, "a100-40gb", tensor_parallel_size=2))


def test_every_advice_is_a_change_a_reason_and_a_gain():
    found = [
        each
        for name in (LLAMA, FP8, "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V2-Lite-Chat")
        for card in ("t4", "a100-80gb", "h100-pcie", "b200")
        for each in given(name, card, tensor_parallel_size=2)
    ]
    assert len(found) > 10
    assert all(each.change and each.reason and each.gain for each in found)


def test_blackwell_has_four_bits_too():
    assert "an NVFP4 checkpoint" in changes(LLAMA, "b200")
    assert "an NVFP4 checkpoint" not in changes(LLAMA, "h200")
