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
    assert line.startswith("tensor_parallel_size: 8 cuts gate_proj into parts of 192, not a multiple of the ")
    assert line.endswith("quantization's 128; use a smaller tensor_parallel_size (with enable-expert-parallel experts "
                         "stay whole)")  # fmt: skip
    assert lines(subject, tensor_parallel_size=8, enable_expert_parallel=True) == []
    assert lines(shipped("Qwen/Qwen3-235B-A22B-Instruct-2507"), tensor_parallel_size=8) == []


def test_groups_of_four_bits_are_cut_along_the_inputs_only():
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}
    # down_proj has 256 inputs: two parts of 128, but not four of 64; outputs have no groups
    subject = small(quantization_config=awq, num_key_value_heads=8)
    assert lines(subject, tensor_parallel_size=1) == []
    (line,) = lines(small(quantization_config=awq, intermediate_size=512), tensor_parallel_size=8)
    assert line.startswith("tensor_parallel_size: 8 cuts o_proj into parts of 16, not a multiple of the ")
    assert line.endswith("quantization's 128; use a smaller tensor_parallel_size")
    smaller = {**awq, "group_size": 16}
    assert lines(small(quantization_config=smaller), tensor_parallel_size=8) == []


def test_matrices_that_are_not_quantized_may_be_cut_anywhere():
    kept = {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["self_attn", "mlp"]}
    assert lines(small(quantization_config=kept), tensor_parallel_size=8) == []
    assert lines(small(quantization_config={**kept, "modules_to_not_convert": []}), tensor_parallel_size=8) != []
