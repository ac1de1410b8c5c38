"""What a model takes of each GPU, and what is left for the KV cache: the sum that vLLM does when it starts.

    requested = gpu_memory_utilization x memory as CUDA sees it
    KV cache  = requested - weights - peak activation - sampler's buffers - non-torch - CUDA graphs

Source: vLLM 0.33, v1/worker/gpu_worker.py (determine_available_memory). Measured against it: docs/planning.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vllm_fleet.planner.activations import activation_bytes, buffer_bytes, graph_bytes, non_torch_bytes
from vllm_fleet.planner.contradictions import ONLY_CHECKPOINTS, other_quantization, too_long
from vllm_fleet.planner.kv_cache import CacheLayout, cache_layout
from vllm_fleet.planner.loading import extra_bytes
from vllm_fleet.planner.model import Model
from vllm_fleet.planner.quantization import ON_LOAD, Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.speed import Ceilings, ceilings
from vllm_fleet.planner.weights import checkpoint_share, dtype_bytes, stages
from vllm_fleet.schema import Problem
from vllm_fleet.schema.gpu import Gpu


@dataclass(frozen=True)
class Subject:
    """What is to be sized: a model, its quantization, and what its files weigh where they are there."""

    model: Model
    quantization: Quantization | None = None
    checkpoint_bytes: int | None = None
    """All tensors of the checkpoint, from their headers; None: derived from config.json."""
    draft: Subject | None = None
    """The model that drafts tokens for it (speculative decoding), on the same GPUs."""

    def problems(self, settings: Settings) -> list[Problem]:
        """Settings that contradict the model; the paths are fields of Settings."""
        asked, name = settings.quantization, self.model.name
        own = self.quantization.method if self.quantization else None
        found = [too_long(settings.max_model_len, self.model.longest, name), other_quantization(asked, own, name)]
        if asked and not own and asked not in {*ON_LOAD, *ONLY_CHECKPOINTS}:
            found.append(Problem("quantization", f"{asked!r} has no sizes here", f"use one of {', '.join(ON_LOAD)}"))
        return [problem for problem in found if problem]


@dataclass(frozen=True)
class GpuMemory:
    """One GPU of a pipeline stage, in bytes. All GPUs of a stage are alike."""

    stage: int
    layers: range
    weights: int
    activation: int
    buffers: int
    """What the sampler keeps."""
    non_torch: int
    cuda_graphs: int
    kv_cache: int
    """What is left; negative where the rest does not fit."""


@dataclass(frozen=True)
class Estimate:
    """How a model runs with these settings on these GPUs."""

    subject: Subject
    settings: Settings
    gpu: Gpu
    max_model_len: int
    stages: tuple[GpuMemory, ...]
    tightest: GpuMemory
    """The GPU that bounds the KV cache: of the stage that holds fewest blocks."""
    layout: CacheLayout
    """Of that stage."""
    kv_cache_tokens: int
    """Of each data parallel rank, as vLLM logs it."""
    max_concurrency: float
    """Likewise."""
    needed_kv_cache: int
    """Bytes a GPU for one request of max_model_len."""
    ceilings: Ceilings

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: one request of max_model_len has room. An encoder keeps none."""
        if not self.layout.groups:
            return self.tightest.kv_cache >= 0
        return self.max_concurrency >= 1 and self.tightest.kv_cache >= self.needed_kv_cache


def estimate(subject: Subject, settings: Settings, gpu: Gpu) -> Estimate:
    """Size a model. Pure: the same input gives the same numbers."""
    model = subject.model
    quantization = effective_quantization(subject, settings)
    wide = dtype_bytes(model, settings)
    model_len = settings.max_model_len or model.longest
    in_flight = settings.batches_in_flight * settings.batched_tokens(gpu, model_len)
    requested = math.ceil(gpu.memory_bytes * settings.gpu_memory_utilization)
    memory, layouts = [], []
    for stage, layers in enumerate(stages(len(model.layers), settings.pipeline_parallel_size)):
        weights = _weights(subject, quantization, settings, gpu, stage)
        draft = subject.draft if stage == settings.pipeline_parallel_size - 1 else None
        if draft:
            whole = replace(settings, pipeline_parallel_size=1, quantization=None)
            weights += _weights(draft, draft.quantization, whole, gpu, 0)
        activation = activation_bytes(model, quantization, settings, gpu, model_len, stage)
        buffers = buffer_bytes(model, settings, gpu, stage)
        non_torch = non_torch_bytes(model, settings)
        graphs = graph_bytes(model, settings, layers)
        taken = weights + activation + buffers + non_torch + graphs
        left = min(settings.kv_cache_memory_bytes or requested - taken, gpu.memory_bytes - taken)
        memory.append(GpuMemory(stage, layers, weights, activation, buffers, non_torch, graphs, left))
        layouts.append(cache_layout(model, layers, settings, wide, draft.model.layers if draft else ()))
    counted = [
        layout.tokens(stage.kv_cache, model_len, in_flight) for stage, layout in zip(memory, layouts, strict=True)
    ]
    least = min(range(len(memory)), key=lambda stage: (counted[stage][1], memory[stage].kv_cache))
    tokens, concurrency = counted[least]
    cache = sum(max(stage.kv_cache, 0) for stage in memory) * settings.tensor_parallel_size
    return Estimate(
        subject=subject,
        settings=settings,
        gpu=gpu,
        max_model_len=model_len,
        stages=tuple(memory),
        tightest=memory[least],
        layout=layouts[least],
        kv_cache_tokens=tokens,
        max_concurrency=concurrency,
        needed_kv_cache=layouts[least].needed(model_len, in_flight),
        ceilings=ceilings(model, quantization, settings, gpu, concurrency, cache),
    )


def effective_quantization(subject: Subject, settings: Settings) -> Quantization | None:
    """The checkpoint's own, else what `--quantization` makes of it on load."""
    return subject.quantization or ON_LOAD.get(settings.quantization or "")


def longest_model_len(found: Estimate) -> int:
    """The longest max_model_len that fits, 0 where none does."""
    in_flight = found.settings.batches_in_flight * found.settings.batched_tokens(found.gpu, found.max_model_len)
    low, high = 0, found.max_model_len
    while low < high:
        middle = (low + high + 1) // 2
        if found.layout.needed(middle, in_flight) <= found.tightest.kv_cache:
            low = middle
        else:
            high = middle - 1
    return low


def _weights(subject: Subject, quantization: Quantization | None, settings: Settings, gpu: Gpu, stage: int) -> int:
    """Weights of a stage's GPU: derived, and scaled to the checkpoint's true size where that is known."""
    derived = checkpoint_share(subject.model, quantization, settings, stage)
    if subject.checkpoint_bytes is not None:
        whole = checkpoint_share(subject.model, subject.quantization, Settings(), 0)
        derived = derived * subject.checkpoint_bytes // whole
    return derived + extra_bytes(subject.model, quantization, settings, gpu, stage)
