"""The KV cache in blocks, counted by hand: vLLM 0.33's v1/core/kv_cache_planning.py and v1/kv_cache_interface.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import shipped, small
from vllm_fleet.planner.kv_cache import CacheLayout, CacheSpec, cache_layout, kv_bytes
from vllm_fleet.planner.memory import Subject
from vllm_fleet.planner.settings import Settings

PAGE = 16 * 4 * 16 * 2 * 2
"""The small model's: 16 tokens, 4 key-value heads of 16, keys and values, two bytes each."""


def layout(subject: Subject, layers: range | None = None, **settings: Any) -> CacheLayout:
    model = subject.model
    return cache_layout(model, layers or range(len(model.layers)), Settings(**settings), 2)


def kinds(found: CacheLayout) -> list[str]:
    """What the groups keep: `all`, a window, a chunk or a state."""
    return ["state" if each.state else str(each.window or each.chunk or "all") for each in found.groups]


# ---- layers of one kind -------------------------------------------------------------------------------------------


def test_layers_that_are_alike_share_one_group():
    found = layout(small())
    assert found == CacheLayout((CacheSpec(PAGE, 16),), 4 * PAGE)


def test_tokens_are_the_concurrency_at_full_length_times_that_length():
    # 10 blocks; a request of 64 tokens takes 4: 2.5 of them are 160 tokens. The rest of an 11th block is of no use.
    assert layout(small()).tokens(10 * 4 * PAGE, 64, 512) == (160, 2.5)
    assert layout(small()).tokens(11 * 4 * PAGE - 1, 64, 512) == (160, 2.5)
    # 65 tokens take a fifth block
    assert layout(small()).tokens(10 * 4 * PAGE, 65, 512) == (130, 2.0)


@pytest.mark.parametrize("memory", [4 * PAGE - 1, 0, -(10**9)])
def test_less_than_a_block_holds_nothing(memory):
    assert layout(small()).tokens(memory, 64, 512) == (0, 0.0)


def test_one_request_needs_its_blocks_and_the_one_that_vllm_holds_back():
    assert layout(small()).needed(64, 512) == (4 + 1) * 4 * PAGE
    assert layout(small()).needed(65, 512) == (5 + 1) * 4 * PAGE


@pytest.mark.parametrize("dtype, wide", [("auto", 2), ("bfloat16", 2), ("fp8", 1), ("fp8_e4m3", 1), ("fp8_e5m2", 1)])
def test_fp8_halves_a_page(dtype, wide):
    assert kv_bytes(2, dtype) == wide
    assert layout(small(), kv_cache_dtype=dtype).block_bytes == 4 * PAGE * wide // 2


@pytest.mark.parametrize("size, heads", [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_key_value_heads_are_divided_down_to_one(size, heads):
    assert layout(small(), tensor_parallel_size=size).block_bytes == 4 * PAGE * heads // 4


def test_a_stage_keeps_its_own_layers():
    assert layout(small(), range(1)).block_bytes == PAGE
    assert layout(small(), range(1, 4)).block_bytes == 3 * PAGE


# ---- windows, chunks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model_len, in_flight, pages",
    [
        (4096, 64, 12),  # 99 tokens before and 64 in flight: 163 in 11 blocks, and one as none begins at a border
        (100, 64, 8),  # never more than the request
        (4096, 1, 8),
        (4096, 10**6, 257),
    ],
)
def test_a_window_keeps_what_is_in_it_and_in_flight(model_len, in_flight, pages):
    found = layout(small(sliding_window=100))
    assert kinds(found) == ["100"]
    assert found.blocks_per_request(model_len, in_flight) == pages


@pytest.mark.parametrize("model_len, in_flight, pages", [(4096, 64, 12), (100, 64, 7), (4096, 10**6, 256)])
def test_a_chunk_keeps_itself_and_what_is_in_flight(model_len, in_flight, pages):
    types = ["chunked_attention"] * 4
    found = layout(small(model_type="llama4_text", attention_chunk_size=128, layer_types=types))
    assert kinds(found) == ["128"]
    assert found.blocks_per_request(model_len, in_flight) == pages


# ---- layers of several kinds --------------------------------------------------------------------------------------


def mixed(full: int, windows: int, **changes: Any) -> Subject:
    types = ["full_attention"] * full + ["sliding_attention"] * windows
    return small(num_hidden_layers=full + windows, layer_types=types, sliding_window=100, **changes)


@pytest.mark.parametrize(
    "full, windows, groups, layers",
    [
        (2, 2, ["all", "100"], 2),
        (1, 5, ["all", *["100"] * 5], 1),
        # one that does not divide is padded: 4 and 7 layers are groups of 4, the last window group with a hole
        (4, 7, ["all", "100", "100"], 4),
        # close ones share the larger size: 3 and 4, 13 and 12 (less than 1.5 times)
        (3, 4, ["all", "100"], 4),
        (13, 12, ["all", "100"], 13),
        # 1.5 times is not close
        (2, 3, ["all", "100", "100"], 2),
        (4, 2, ["all", "all", "100"], 2),
    ],
)
def test_groups_have_as_many_layers_as_the_rarest_kind(full, windows, groups, layers):
    found = layout(mixed(full, windows))
    assert kinds(found) == groups
    assert found.block_bytes == layers * PAGE


def test_all_groups_draw_on_one_pool():
    found = layout(mixed(1, 3))  # 4 groups; a block is one layer's page
    # 1600 tokens: 100 blocks of the full layer, and 3 times ceil((99 + 32) / 16) + 1 = 10 of the windows
    assert found.blocks_per_request(1600, 32) == 100 + 3 * 10
    assert found.tokens(260 * PAGE, 1600, 32) == (3200, 2.0)
    assert found.needed(1600, 32) == 131 * PAGE


def test_gemma_3_and_gpt_oss_have_the_groups_that_vllm_makes_of_them():
    gemma = layout(shipped("google/gemma-3-27b-it"))  # 10 full layers of 62
    assert kinds(gemma) == ["1024"] * 6 + ["all"]
    assert gemma.block_bytes == 10 * 16 * 16 * 128 * 2 * 2
    gpt_oss = layout(shipped("openai/gpt-oss-20b"))
    assert sorted(kinds(gpt_oss)) == ["128", "all"]
    assert gpt_oss.block_bytes == 12 * 16 * 8 * 64 * 2 * 2


def test_a_stage_gets_its_part_of_every_group():
    subject = mixed(2, 4)  # groups: layers 0 and 1, 2 and 4, 3 and 5
    stages = [layout(subject, range(start, start + 2)) for start in (0, 2, 4)]
    assert [each.block_bytes for each in stages] == [2 * PAGE, PAGE, PAGE]
    assert {tuple(kinds(each)) for each in stages} == {("all", "100", "100")}


# ---- MLA ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 8])
def test_a_latent_vector_is_the_same_on_every_gpu(size):
    found = layout(shipped("deepseek-ai/DeepSeek-V3"), tensor_parallel_size=size)
    assert kinds(found) == ["all"]
    assert found.block_bytes == 61 * 64 * (512 + 64) * 2
    assert found.blocks_per_request(1000, 1) == 16  # blocks of 64 tokens


def test_fp8_halves_a_latent_vector_too():
    found = layout(shipped("deepseek-ai/DeepSeek-V3"), kv_cache_dtype="fp8")
    assert found.block_bytes == 61 * 64 * 576


# ---- states -------------------------------------------------------------------------------------------------------

STATES = {
    "model_type": "qwen3_next", "full_attention_interval": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
}  # fmt: skip
STATE = 4 * 32 * 32 * 2 + 3 * (2 * 2 * 32 + 4 * 32) * 2
"""Four heads of 32 x 32, and three steps of the convolution's 256 channels, 2 bytes each."""


def test_a_state_is_one_page_and_attention_blocks_grow_to_its_size():
    assert 2 * PAGE < STATE == 9728 <= 4 * PAGE  # 64 tokens
    found = layout(small(**STATES))
    assert found.groups == (CacheSpec(4 * PAGE, 0, state=3), CacheSpec(4 * PAGE, 64))
    assert found.block_bytes == 2 * 4 * PAGE
    # a request of 200 tokens: three states, and four blocks of 64 tokens
    assert found.blocks_per_request(200, 10**6) == 3 + 4
    assert found.blocks_per_request(100, 10**6) == 3 + 2
    assert layout(small(**STATES), prefix_caching=False).blocks_per_request(200, 10**6) == 1 + 4


def test_a_state_that_the_model_wants_in_float32_is_larger():
    found = layout(small(**STATES, mamba_ssm_dtype="float32", layer_types=["linear_attention"] * 4))
    assert found.block_bytes == 4 * (STATE + 4 * 32 * 32 * 2)


def test_a_state_smaller_than_a_page_is_padded():
    found = layout(
        small(**{**STATES, "linear_num_key_heads": 1, "linear_num_value_heads": 1, "linear_key_head_dim": 8})
    )
    assert {each.page_bytes for each in found.groups} == {4 * PAGE}
    assert {each.block_tokens for each in found.groups if not each.state} == {64}  # the least beside states


def test_states_are_divided_by_tensor_parallelism():
    found = layout(small(**STATES), tensor_parallel_size=2)
    assert [each.page_bytes for each in found.groups] == [4 * PAGE // 2] * 2


def test_layers_of_states_alone_need_no_more_for_a_longer_context():
    found = layout(small(**STATES, layer_types=["linear_attention"] * 4))
    assert found.block_bytes == 4 * STATE
    assert found.blocks_per_request(10**6, 1) == found.blocks_per_request(16, 1) == 3
