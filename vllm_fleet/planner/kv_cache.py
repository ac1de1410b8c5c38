"""How many tokens the KV cache holds: vLLM's own arithmetic of pages, groups and blocks.

Source: vLLM 0.33, v1/core/kv_cache_planning.py and v1/kv_cache_interface.py. What vLLM logs as `GPU KV cache size` is
the concurrency at full length times that length, so layers with a window, which keep less, raise it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from vllm_fleet.planner.model import Attention, LatentAttention, Layer, LinearState, Model
from vllm_fleet.planner.settings import Settings

BLOCK_TOKENS = 16
"""Tokens of a block (vLLM's default on CUDA)."""

_STATE_STEP = 4
"""Attention blocks beside states grow by 64 tokens, the chunk of the linear kernels (measured, 0.33)."""

LATENT_BLOCK_TOKENS = 64
"""MLA kernels on Hopper and Blackwell take this many."""


@dataclass(frozen=True)
class CacheSpec:
    """What one layer keeps: `page_bytes` for each block of `block_tokens`, or a page for each state."""

    page_bytes: int
    block_tokens: int
    window: int | None = None
    chunk: int | None = None
    state: int = 0
    """Pages that a request holds whatever its length, for a state; 0: not a state."""

    def pages(self, model_len: int, in_flight: int) -> int:
        """The pages that one request of this length holds at most."""
        if self.state:
            return self.state
        if self.window:
            return -(-min(self.window - 1 + in_flight, model_len) // self.block_tokens) + 1
        if self.chunk:
            return -(-min(self.chunk + in_flight, model_len) // self.block_tokens)
        return -(-model_len // self.block_tokens)


@dataclass(frozen=True)
class CacheLayout:
    """The groups that share one pool of blocks: a block holds one page of every layer of a group."""

    groups: tuple[CacheSpec, ...]
    block_bytes: int

    def blocks_per_request(self, model_len: int, in_flight: int) -> int:
        return sum(group.pages(model_len, in_flight) for group in self.groups)

    def tokens(self, memory: int, model_len: int, in_flight: int) -> tuple[int, float]:
        """(KV-cache tokens, concurrent requests of `model_len`) in so many bytes."""
        if not self.groups or memory < self.block_bytes:
            return 0, 0.0
        concurrency = memory // self.block_bytes / self.blocks_per_request(model_len, in_flight)
        return int(concurrency * model_len), concurrency

    def needed(self, model_len: int, in_flight: int) -> int:
        """Bytes for one request of `model_len`, and the block that vLLM holds back."""
        return (self.blocks_per_request(model_len, in_flight) + 1) * self.block_bytes if self.groups else 0


def kv_bytes(model_bytes: int, kv_cache_dtype: str) -> int:
    """Bytes of one number in the cache: `auto` is the model's type, `fp8` one byte."""
    return 1 if kv_cache_dtype.startswith(("fp8", "int8")) else model_bytes


def cache_layout(
    model: Model, layers: range, settings: Settings, wide: int, draft: tuple[Layer, ...] = ()
) -> CacheLayout:
    """The layout for the layers of one pipeline stage; groups are made over the whole model, then cut to the stage.

    `draft`: the layers of a draft model, which share the pool.
    """
    if not model.family.causal:
        return CacheLayout((), 0)
    kept = [_spec(layer, settings, wide) for layer in (*model.layers, *draft)]
    layers = layers if not draft else range(layers.start, len(kept))
    if len({(spec.block_tokens, spec.window, spec.chunk, spec.state) for spec in kept}) == 1 and not kept[0].state:
        # all need the same blocks, so all stand side by side in each, whatever their pages' sizes
        mine = sum(spec.page_bytes for index, spec in enumerate(kept) if index in layers)
        return CacheLayout((kept[0],), mine)
    specs = _unified(kept)
    buckets: dict[CacheSpec, list[int]] = defaultdict(list)
    for index, spec in enumerate(specs):
        buckets[spec].append(index)
    if len(buckets) == 1:
        spec = specs[0]
        return CacheLayout((spec,), spec.page_bytes * len(layers))
    size = _group_size([len(members) for members in buckets.values()])
    groups: list[CacheSpec] = []
    widest = 0
    for spec, members in buckets.items():
        count = -(-len(members) // size)
        for number in range(count):
            groups.append(spec)
            widest = max(widest, sum(index in layers for index in members[number::count]))
    return CacheLayout(tuple(groups), widest * specs[0].page_bytes)


def _spec(layer: Layer, settings: Settings, wide: int) -> CacheSpec:
    size = settings.tensor_parallel_size
    one = kv_bytes(wide, settings.kv_cache_dtype)
    match layer.mixer:
        case Attention() as attention:
            heads = max(1, -(-attention.kv_heads // size))
            page = BLOCK_TOKENS * heads * attention.head_dim * 2 * one
            return CacheSpec(page, BLOCK_TOKENS, attention.window, attention.chunk)
        case LatentAttention() as latent:
            index = latent.index_head_dim + 4 if latent.index_head_dim else 0  # fp8 and its scale
            page = LATENT_BLOCK_TOKENS * ((latent.rank + latent.rope_dim) * one + index)
            return CacheSpec(page, LATENT_BLOCK_TOKENS)
        case LinearState() as state:
            keys, values = state.key_heads * state.key_dim // size, state.value_heads * state.value_dim // size
            convolution = (state.convolution - 1) * (2 * keys + values) * wide
            one = 4 if state.wide else wide
            # with prefix caching: the state, the one before it, and one at the last prompt's end (0.33, MambaSpec)
            pages = 3 if settings.prefix_caching else 1
            return CacheSpec(values * state.key_dim * one + convolution, 0, state=pages)


def _unified(specs: list[CacheSpec]) -> list[CacheSpec]:
    """Pages of one size: smaller ones get more tokens a block where that comes out even, else are padded."""
    largest = max(spec.page_bytes for spec in specs)
    states = [spec.page_bytes for spec in specs if spec.state]
    if states and len(states) < len(specs):  # attention blocks grow until a page holds a state
        attention = max(spec.page_bytes for spec in specs if not spec.state)
        times = -(-max(states) // (attention * _STATE_STEP)) * _STATE_STEP
        largest = attention * times
    return [_grown(spec, largest) for spec in specs]


def _grown(spec: CacheSpec, page: int) -> CacheSpec:
    if spec.page_bytes == page:
        return spec
    times = page // spec.page_bytes if not spec.state and page % spec.page_bytes == 0 else 1
    return CacheSpec(page, spec.block_tokens * times, spec.window, spec.chunk, spec.state)


def _group_size(counts: list[int]) -> int:
    """Layers a group: the rarest kind's count, or the commonest where they are close (1.5 is vLLM's)."""
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)
