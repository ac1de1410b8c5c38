"""Which splits a model allows: heads, key-value heads, layers, and the quantization's groups."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import shipped, small
from vllm_fleet.planner.memory import Subject
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.split import split_problems, tensor_parallel_sizes


def lines(subject: Subject, **settings: Any) -> list[str]:
    return [str(each) for each in split_problems(subject, Settings(**settings))]


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("meta-llama/Llama-3.1-8B-Instruct", [1, 2, 4, 8, 16]),  # 32 heads, 8 key-value heads
        ("Qwen/Qwen2.5-7B-Instruct", [1, 2, 4]),  # 28 heads, 4 key-value heads: 7 and 14 do not go with these
        ("Qwen/Qwen2.5-0.5B-Instruct", [1, 2, 14]),  # 14 heads, 2 key-value heads
        ("microsoft/phi-4", [1, 2, 5, 10]),  # 40 heads, 10 key-value heads
        ("google/gemma-3-1b-it", [1, 2, 4]),  # 4 heads, one key-value head
        ("deepseek-ai/DeepSeek-V3", [1, 2, 4, 8, 16]),  # 128 heads, one latent vector for all
    ],
)
def test_sizes_divide_the_heads_and_go_with_the_key_value_heads(name, sizes):
    subject = shipped(name)
    assert tensor_parallel_sizes(subject.model) == sizes
    assert [size for size in range(1, 17) if not lines(Subject(subject.model), tensor_parallel_size=size)] == sizes


def test_heads_that_cannot_be_divided_name_the_sizes_that_can():
    assert lines(shipped("Qwen/Qwen2.5-7B-Instruct"), tensor_parallel_size=8) == [
        "tensor_parallel_size: 8 does not divide 28 attention heads (Qwen/Qwen2.5-7B-Instruct); use 1, 2 or 4"
    ]
    assert lines(shipped("Qwen/Qwen2.5-7B-Instruct"), tensor_parallel_size=7) == [
        "tensor_parallel_size: 7 neither divides nor is divided by 4 key-value heads (Qwen/Qwen2.5-7B-Instruct); "
        "use 1, 2 or 4"
    ]


def test_a_model_of_one_head_runs_on_one_gpu():
    assert lines(small(num_attention_heads=1, num_key_value_heads=1), tensor_parallel_size=2) == [
        "tensor_parallel_size: 2 does not divide 1 attention heads (small); use 1"
    ]


def test_a_size_beyond_all_heads_is_a_problem_at_once():
    assert len(lines(small(), tensor_parallel_size=10**9)) == 1
    assert tensor_parallel_sizes(small().model, 10**9) == [1, 2, 4, 8]


@pytest.mark.parametrize("size, problems", [(1, []), (4, []), (5, ["5 is more than the 4 layers of small"])])
def test_a_stage_has_a_layer_at_least(size, problems):
    assert [line.split(": ")[1].split(";")[0] for line in lines(small(), pipeline_parallel_size=size)] == problems


def test_experts_in_fp8_are_cut_between_blocks():
    subject = shipped("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8")
    assert lines(subject, tensor_parallel_size=4) == []
    (line,) = lines(subject, tensor_parallel_size=8)  # 1536 / 8 = 192
    assert line == (
        "tensor_parallel_size: gate_proj cut 8 times has parts of 192, not a multiple of the quantization's 128; use a "
        "smaller tensor_parallel_size, or use expert parallelism, which leaves experts whole"
    )
    assert lines(subject, tensor_parallel_size=8, enable_expert_parallel=True) == []
    assert lines(shipped("Qwen/Qwen3-235B-A22B-Instruct-2507"), tensor_parallel_size=8) == []


def experts(**changes: Any) -> Subject:
    return small(num_local_experts=6, num_experts_per_tok=2, moe_intermediate_size=96, **changes)


@pytest.mark.parametrize(
    "sizes, said",
    [
        ({"tensor_parallel_size": 4}, []),
        ({"data_parallel_size": 3}, []),
        ({"tensor_parallel_size": 2, "data_parallel_size": 2, "enable_expert_parallel": True}, []),
        # vLLM hands six experts to four GPUs as 2, 2, 1 and 1 (determine_expert_map)
        ({"tensor_parallel_size": 4, "enable_expert_parallel": True}, []),
        (
            {"data_parallel_size": 5},
            ["data_parallel_size: the experts of small, 96 wide, do not divide over 5 GPUs (tensor x data parallel); "
             "change it, or use expert parallelism, which leaves experts whole"],
        ),
        (
            {"tensor_parallel_size": 8, "enable_expert_parallel": True},
            ["tensor_parallel_size: 8 GPUs are more than the 6 experts; lower it"],
        ),
    ],
)  # fmt: skip
def test_experts_go_over_the_gpus_of_all_data_parallel_ranks(sizes, said):
    assert lines(experts(), **sizes) == said


def test_a_model_without_experts_has_none_to_leave_whole():
    assert lines(small(), enable_expert_parallel=True) == ["enable_expert_parallel: small has no experts; remove it"]


def test_a_checkpoint_that_is_loaded_in_equal_parts_needs_equal_parts():
    gpt_oss = shipped("openai/gpt-oss-20b")  # 32 experts
    assert lines(gpt_oss, tensor_parallel_size=8, enable_expert_parallel=True) == []
    assert lines(gpt_oss, data_parallel_size=3, enable_expert_parallel=True) == [
        "data_parallel_size: 32 experts do not divide over 3 GPUs (tensor x data parallel), and vLLM would load "
        "openai/gpt-oss-20b without the last ones; change it"
    ]


def test_data_parallel_ranks_cut_the_blocks_of_experts_too():
    subject = shipped("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8")
    assert lines(subject, data_parallel_size=4) == []
    assert lines(subject, tensor_parallel_size=2, data_parallel_size=4) == [
        "data_parallel_size: gate_proj cut 8 times has parts of 192, not a multiple of the quantization's 128; use a "
        "smaller data_parallel_size, or use expert parallelism, which leaves experts whole"
    ]
    assert lines(subject, tensor_parallel_size=2, data_parallel_size=4, enable_expert_parallel=True) == []


def test_groups_of_four_bits_are_cut_along_the_inputs_only():
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}
    # down_proj has 256 inputs: two parts of 128, but not four of 64; outputs have no groups
    subject = small(quantization_config=awq, num_key_value_heads=8)
    assert lines(subject, tensor_parallel_size=1) == []
    (line,) = lines(small(quantization_config=awq, intermediate_size=512), tensor_parallel_size=8)
    assert line == (
        "tensor_parallel_size: o_proj cut 8 times has parts of 16, not a multiple of the quantization's 128; use a "
        "smaller tensor_parallel_size"
    )
    smaller = {**awq, "group_size": 16}
    assert lines(small(quantization_config=smaller), tensor_parallel_size=8) == []


def test_matrices_that_are_not_quantized_may_be_cut_anywhere():
    kept = {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["self_attn", "mlp"]}
    assert lines(small(quantization_config=kept), tensor_parallel_size=8) == []
    assert lines(small(quantization_config={**kept, "modules_to_not_convert": []}), tensor_parallel_size=8) != []
