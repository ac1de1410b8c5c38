"""What is left of a GPU for the KV cache, which stage of a pipeline bounds it, and when a model fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.models import shipped, small
from vllm_fleet.planner.kv_cache import cache_layout
from vllm_fleet.planner.memory import Estimate, Subject, estimate, longest_model_len
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema.gpu import gpu

L4 = gpu("l4")


def blocks(found: Estimate) -> list[int]:
    """The blocks that each stage has room for."""
    layouts = [cache_layout(found.subject.model, each.layers, found.settings, 2) for each in found.stages]
    return [each.kv_cache // layout.block_bytes for each, layout in zip(found.stages, layouts, strict=True)]


@pytest.mark.parametrize(
    "subject, size",
    [
        (small(num_hidden_layers=5), 2),  # three layers and two: the first has less room for each
        (small(num_hidden_layers=7), 4),
        (shipped("meta-llama/Llama-3.1-8B-Instruct"), 3),
        (shipped("google/gemma-3-12b-it"), 5),
    ],
)
def test_the_stage_with_fewest_blocks_bounds_the_cache(subject, size):
    found = estimate(subject, Settings(pipeline_parallel_size=size, max_model_len=4096), L4)
    room = blocks(found)
    assert len(set(room)) > 1
    assert room[found.tightest.stage] == min(room)
    in_flight = found.settings.batches_in_flight * found.settings.batched_tokens(L4, 4096)
    assert found.max_concurrency == min(room) / found.layout.blocks_per_request(4096, in_flight)


def test_of_stages_without_any_room_the_fullest_is_shown():
    found = estimate(shipped("meta-llama/Llama-3.1-405B-Instruct"), Settings(pipeline_parallel_size=4), L4)
    assert found.tightest.kv_cache == min(each.kv_cache for each in found.stages) < 0
    assert (found.kv_cache_tokens, found.max_concurrency, found.fits) == (0, 0.0, False)


def with_cache(size: int, length: int = 64) -> Estimate:
    return estimate(small(), Settings(kv_cache_memory_bytes=size, max_model_len=length), L4)


BLOCK = 4 * 16 * 4 * 16 * 2 * 2
"""The small model's: 4 layers, 16 tokens, 4 key-value heads of 16, keys and values of 2 bytes."""


def test_a_model_fits_when_one_request_does_beside_the_block_held_back():
    assert not with_cache(5 * BLOCK - 1).fits
    assert with_cache(5 * BLOCK).fits
    assert with_cache(5 * BLOCK).kv_cache_tokens == 5 * 16


def test_data_parallel_ranks_of_a_dense_model_have_what_one_has():
    alone, four = (estimate(small(), Settings(data_parallel_size=size), L4) for size in (1, 4))
    assert four.stages == alone.stages
    assert (four.kv_cache_tokens, four.max_concurrency) == (alone.kv_cache_tokens, alone.max_concurrency)


def test_the_tokens_of_all_data_parallel_ranks_meet_at_the_experts():
    subject = small(num_local_experts=8, num_experts_per_tok=2, moe_intermediate_size=64)
    settings = Settings(enable_expert_parallel=True, max_num_batched_tokens=4096, max_num_seqs=8)
    one, four = (estimate(subject, replace(settings, data_parallel_size=size), L4).tightest for size in (1, 4))
    # elements a token, of hidden size 128: the workspace of two experts, and the attention's 6 x 128 or, with the
    # tokens of four ranks, 3 x 128 beside their hidden states twice
    workspace = 2 * (128 + 128)
    assert four.activation - one.activation == 2 * 4096 * (
        (4 * workspace + 3 * 128 + 4 * 2 * 128) - (workspace + 6 * 128)
    )
    assert four.non_torch > one.non_torch  # NCCL
    assert four.weights < one.weights


def test_a_cache_of_a_given_size_is_taken_as_it_is():
    assert with_cache(10 * BLOCK).tightest.kv_cache == 10 * BLOCK
    assert with_cache(10 * BLOCK).max_concurrency == 10 / 4


def test_the_longest_context_fills_the_cache():
    assert longest_model_len(with_cache(11 * BLOCK, 4096)) == 10 * 16
    assert longest_model_len(with_cache(5 * BLOCK, 64)) == 64  # no longer than was asked for
    assert longest_model_len(with_cache(BLOCK, 4096)) == 0


@pytest.mark.parametrize(
    "settings, problems",
    [
        ({}, []),
        ({"max_model_len": 4096}, []),
        ({"max_model_len": 4097}, ["max_model_len: 4097 is more than the 4096 of small; use 4096 or less"]),
        ({"quantization": "fp8"}, []),
    ],
)
def test_settings_that_contradict_the_model(settings, problems):
    assert [str(each) for each in small().problems(Settings(**settings))] == problems


def test_a_checkpoint_has_one_quantization():
    awq = small(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 16})
    assert awq.problems(Settings(quantization="awq_marlin")) == []
    (problem,) = awq.problems(Settings(quantization="gptq"))
    assert str(problem) == (
        "quantization: 'gptq', but the checkpoint is awq; leave it out: the checkpoint says so itself"
    )
    (problem,) = Subject(small().model).problems(Settings(quantization="gptq"))
    assert problem.path == "quantization"
    assert "not quantized" in problem.problem
    (problem,) = Subject(small().model).problems(Settings(quantization="fp5"))
    assert str(problem).startswith("quantization: 'fp5' has no sizes here; use one of fp8_per_tensor, ")
