"""Weights on each GPU: split over tensor, pipeline and expert ranks as vLLM splits them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import COUNTED, shipped, small
from vllm_fleet.planner.loading import MIB, extra_bytes
from vllm_fleet.planner.memory import Subject, estimate
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import checkpoint_share, dtype_bytes, stages, vocabulary_share
from vllm_fleet.schema.gpu import gpu


def share(subject: Subject, stage: int = 0, **settings: Any) -> int:
    return checkpoint_share(subject.model, subject.quantization, Settings(**settings), stage)


@pytest.mark.parametrize(
    "layers, size, counts",
    [
        (32, 1, [32]),
        (32, 4, [8, 8, 8, 8]),
        # what is left over: never to the last stage, and to the first only when all others have it (get_pp_indices)
        (33, 2, [17, 16]),
        (61, 2, [31, 30]),
        (61, 4, [15, 15, 16, 15]),
        (62, 4, [15, 16, 16, 15]),
        (63, 4, [16, 16, 16, 15]),
        (7, 8, [1, 1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_pipeline_stages_have_vllms_layers(layers, size, counts):
    found = stages(layers, size)
    assert [len(each) for each in found] == counts
    assert [index for each in found for index in each] == list(range(layers))


# The small model: hidden 128, 8 heads and 4 key-value heads of 16, feed-forward 256, 1000 words padded to 1024.
EMBEDDING = 1024 * 128 * 2
QUERY, KEY, VALUE, OUTPUT = 128 * 128, 128 * 64, 128 * 64, 128 * 128
FEED_FORWARD = 3 * 128 * 256
NORMS = 2 * 128


def test_one_gpu_holds_everything():
    layer = 2 * (QUERY + KEY + VALUE + OUTPUT + FEED_FORWARD + NORMS)
    assert share(small()) == 2 * EMBEDDING + 4 * layer


def test_tensor_parallel_divides_matrices_and_leaves_norms_whole():
    layer = (QUERY + KEY + VALUE + OUTPUT + FEED_FORWARD) + 2 * NORMS
    assert share(small(), tensor_parallel_size=2) == EMBEDDING + 4 * layer


def test_key_value_heads_beyond_their_number_are_replicated():
    # 8 GPUs, 4 key-value heads: each GPU has one head of 16
    layer = 2 * (QUERY // 8 + 2 * 128 * 16 + OUTPUT // 8 + FEED_FORWARD // 8 + NORMS)
    assert share(small(), tensor_parallel_size=8) == 2 * EMBEDDING // 8 + 4 * layer


def test_heads_that_do_not_divide_are_rounded_up():
    whole, third = share(small()), share(small(), tensor_parallel_size=3)
    assert third > whole / 3  # 3 of 8 heads, 2 of 4 key-value heads


@pytest.mark.parametrize("words, size, rows", [(1000, 1, 1024), (1000, 2, 512), (1024, 1, 1024), (1025, 4, 272)])
def test_the_vocabulary_is_padded_to_64(words, size, rows):
    assert vocabulary_share(small(vocab_size=words).model, Settings(tensor_parallel_size=size)) == rows


def test_the_first_stage_holds_the_embedding_and_the_last_the_head():
    layer = 2 * (QUERY + KEY + VALUE + OUTPUT + FEED_FORWARD + NORMS)
    found = [share(small(), stage, pipeline_parallel_size=4) for stage in range(4)]
    assert found == [EMBEDDING + layer, layer, layer, EMBEDDING + layer]


def test_tied_embeddings_are_held_once_by_one_stage_and_by_both_ends_of_a_pipeline():
    tied, untied = small(tie_word_embeddings=True), small()
    assert share(untied) - share(tied) == EMBEDDING
    assert [share(tied, stage, pipeline_parallel_size=2) for stage in (0, 1)] == [
        share(untied, stage, pipeline_parallel_size=2) for stage in (0, 1)
    ]


def test_an_embedding_model_has_no_head():
    pooling, generating = small(architectures=["LlamaModel"]), small()
    assert share(generating) - share(pooling) == EMBEDDING
    assert share(pooling, 1, pipeline_parallel_size=2) == share(generating, 1, pipeline_parallel_size=2) - EMBEDDING


EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
EXPERT = 3 * 128 * 64


def test_tensor_parallel_cuts_experts_and_expert_parallel_hands_them_out_whole():
    subject = small(**EXPERTS)
    cut = share(subject, tensor_parallel_size=4)
    whole = share(subject, tensor_parallel_size=4, enable_expert_parallel=True)
    assert cut == whole  # the same bytes, cut another way
    assert share(subject) - whole > 4 * 2 * 6 * EXPERT  # six of eight experts of four layers lie elsewhere


def test_experts_that_do_not_divide_are_rounded_up():
    subject = small(**{**EXPERTS, "num_local_experts": 6})
    cut = share(subject, tensor_parallel_size=4)
    whole = share(subject, tensor_parallel_size=4, enable_expert_parallel=True)
    assert whole - cut == 4 * 2 * EXPERT // 2  # two experts each instead of one and a half


def test_data_parallel_ranks_share_the_experts_and_copy_the_rest():
    subject = small(**EXPERTS)
    alone = share(subject)
    two = share(subject, data_parallel_size=2, enable_expert_parallel=True)
    assert alone - two == 4 * 2 * 4 * EXPERT
    assert share(small(), data_parallel_size=2) == share(small())


def test_data_parallel_ranks_cut_experts_like_tensor_parallel_ones():
    subject = small(**EXPERTS)
    for sizes in ({"data_parallel_size": 4}, {"tensor_parallel_size": 2, "data_parallel_size": 2}):
        cut = share(subject, **sizes)
        assert cut == share(subject, **sizes, enable_expert_parallel=True)  # the same bytes, cut another way
    assert share(subject) - share(subject, data_parallel_size=4) == 4 * 2 * 6 * EXPERT


def test_a_shared_expert_is_whole_where_tensor_parallel_ranks_bring_different_tokens():
    """DeepSeek's, Llama 4's and Qwen3-Next's code passes is_sequence_parallel on to it, GLM's does not."""
    for name, layers, bytes_each in (
        ("deepseek-ai/DeepSeek-V3", 58, 3 * 7168 * 2048),  # FP8
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 48, 3 * 2048 * 512 * 2),
        ("zai-org/GLM-4.5-Air", 45, 0),
    ):
        cut = share(shipped(name), tensor_parallel_size=2, data_parallel_size=2)
        whole = share(shipped(name), tensor_parallel_size=2, data_parallel_size=2, enable_expert_parallel=True)
        assert whole - cut == pytest.approx(layers * bytes_each / 2, rel=0.001)
        alone = share(shipped(name), tensor_parallel_size=4, enable_expert_parallel=True)
        assert alone == pytest.approx(share(shipped(name), tensor_parallel_size=4), rel=0.001)


EXPERTS_OF = {
    # (layers with experts, experts, parameters of one), from the models' config.json
    "deepseek-ai/DeepSeek-V3": (58, 256, 3 * 7168 * 2048),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": (94, 128, 3 * 4096 * 1536),
}


@pytest.mark.parametrize("ranks", [8, 16])
@pytest.mark.parametrize("name, wide", [("deepseek-ai/DeepSeek-V3", 1), ("Qwen/Qwen3-235B-A22B-Instruct-2507", 2)])
def test_each_gpu_holds_its_experts_and_all_the_rest(name, wide, ranks):
    """All parameters that transformers counts, less the experts of the other GPUs; with FP8 scales and what is not
    quantized come on top."""
    layers, experts, one = EXPERTS_OF[name]
    elsewhere = layers * (experts - experts // ranks) * one
    parameters = COUNTED[name]["parameters"] - elsewhere
    found = share(shipped(name), data_parallel_size=ranks, enable_expert_parallel=True)
    assert 0.9999 < found / (parameters * wide) < (1.0001 if wide == 2 else 1.12)


def test_the_vision_tower_lies_on_the_first_stage():
    tower = {"model_type": "siglip_vision_model", "hidden_size": 8, "num_hidden_layers": 2}
    with_eyes = small(vision_config=tower)
    eyes = 2 * with_eyes.model.encoders.parameters
    assert [share(with_eyes, stage, pipeline_parallel_size=2) for stage in (0, 1)] == [
        share(small(), 0, pipeline_parallel_size=2) + eyes,
        share(small(), 1, pipeline_parallel_size=2),
    ]


@pytest.mark.parametrize("dtype, wide", [("auto", 2), ("bfloat16", 2), ("half", 2), ("float32", 4)])
def test_float32_doubles_what_is_not_quantized(dtype, wide):
    assert dtype_bytes(small().model, Settings(dtype=dtype)) == wide
    assert share(small(), dtype=dtype) == share(small()) * wide // 2


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B-Instruct-2507"])
def test_the_shares_of_all_gpus_come_to_the_whole(name):
    subject = shipped(name)
    whole = share(subject)
    halves = sum(share(subject, stage, pipeline_parallel_size=2) for stage in (0, 1))
    assert halves == whole
    quarters = 4 * share(subject, tensor_parallel_size=4)  # norms and routers four times
    assert whole <= quarters <= 1.01 * whole


def test_deepseeks_absorbed_projections_come_on_top():
    subject = shipped("deepseek-ai/DeepSeek-V3")
    positions = subject.model.config.max_position_embeddings * 64 * 2
    absorbed = 61 * 128 * (128 + 128) * 512 * 2
    rounding = 61 * 2 * MIB  # at most, a layer
    for size in (1, 8):
        extra = extra_bytes(subject.model, None, Settings(tensor_parallel_size=size), gpu("h200"), 0)
        assert absorbed // size + positions <= extra <= absorbed // size + positions + 4 * rounding


def test_weights_on_disk_count_as_they_are():
    model, h200 = small().model, gpu("h200")
    derived = share(small())
    for settings in (Settings(), Settings(tensor_parallel_size=2), Settings(dtype="float32")):
        plain = estimate(Subject(model), settings, h200).tightest.weights
        twice = estimate(Subject(model, None, 2 * derived), settings, h200).tightest.weights
        extra = extra_bytes(model, None, settings, h200, 0)
        assert twice - extra == 2 * (plain - extra)
