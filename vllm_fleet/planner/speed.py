"""Ceilings of speed: what the card's memory and tensor cores allow, whatever the software does.

Decoding reads every weight that a token meets, and the caches of the sequences, once a step; prefill computes two
operations a weight and token. Real engines reach 60 to 80 % of the first (one H200, Llama-3.1-8B: 4.86 ms where the
ceiling is 3.13 ms) and less of the second.
"""

from __future__ import annotations

from dataclasses import dataclass

from vllm_fleet.planner.model import Linear, Model
from vllm_fleet.planner.quantization import Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import dtype_bytes
from vllm_fleet.schema.gpu import Gpu


@dataclass(frozen=True)
class Ceilings:
    """Tokens a second of one replica, all its data parallel ranks together."""

    decode: float
    """One stream with a short context."""
    decode_full: float
    """All streams that the KV cache holds at full length, together."""
    streams: int
    """How many those are."""
    prefill: float


def ceilings(
    model: Model, quantization: Quantization | None, settings: Settings, gpu: Gpu, concurrency: float, cache_bytes: int
) -> Ceilings:
    """The ceilings of one replica; `cache_bytes` (of all its GPUs) and `concurrency` are those of a data parallel rank.

    A rank reads its own attention and cache; what its GPUs read of the experts serves the tokens of all ranks.
    """
    ranks = settings.data_parallel_size
    streams = max(1, min(int(concurrency), settings.sequences(gpu)))
    reach = gpu.bandwidth * settings.tensor_parallel_size  # stages take turns for one stream
    own, experts = _read_bytes(model, quantization, settings, 1)
    all_own, all_experts = _read_bytes(model, quantization, settings, streams * ranks)
    used = cache_bytes * min(1.0, streams / concurrency) if concurrency else 0.0
    by_memory = ranks * streams * reach * settings.pipeline_parallel_size / (all_own + used + all_experts / ranks)
    rate = _flops(gpu, quantization) * settings.gpus
    by_compute = rate / (2 * (model.active_parameters + model.vocab_size * model.hidden_size))
    return Ceilings(
        decode=reach / (own + experts / ranks),
        decode_full=min(by_memory, by_compute),
        streams=streams * ranks,
        prefill=rate / (2 * model.active_parameters),
    )


def _flops(gpu: Gpu, quantization: Quantization | None) -> float:
    """Dense operations a second in the type that the matrices are multiplied in; bf16 where the card lacks it."""
    plain = gpu.flops.get("bf16") or gpu.flops["fp16"]
    return gpu.flops.get(quantization.format.compute, plain) if quantization else plain


def _read_bytes(
    model: Model, quantization: Quantization | None, settings: Settings, streams: int
) -> tuple[float, float]:
    """Bytes of weights that one step of so many streams reads, once: of what all tokens meet, and of experts."""
    wide = dtype_bytes(model, settings)
    own, experts = float(model.vocab_size * model.hidden_size * wide), 0.0
    for index, layer in enumerate(model.layers):
        met = _experts_met(layer.experts, layer.experts_per_token, streams) if layer.experts else 0.0
        for linear in layer.linears:
            one = _bytes(linear, f"model.layers.{index}.{linear.name}", quantization, wide)
            if linear.expert:
                experts += one * met
            else:
                own += one * linear.copies
    return own, experts


def _bytes(linear: Linear, name: str, quantization: Quantization | None, wide: int) -> float:
    form = None if linear.plain or not quantization else quantization.format_of(name, linear.expert)
    return form.weight_bytes(linear.inputs, linear.outputs) if form else linear.inputs * linear.outputs * wide


def _experts_met(experts: int, chosen: int, streams: int) -> float:
    """Experts that at least one of so many tokens goes to, when each chooses at random."""
    return experts * (1 - (1 - min(chosen, experts) / experts) ** streams)
