"""What would make a service faster or roomier on its hardware, why, and by how much.

Gains are ratios of the planner's own ceilings, so they bound what one will see. Sources of the rules: vLLM's
quantization table (docs, "Supported Hardware"), NVIDIA's data sheets, and measurements in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vllm_fleet.planner.fitting import AWQ
from vllm_fleet.planner.memory import Estimate, effective_quantization, estimate
from vllm_fleet.planner.model import Attention
from vllm_fleet.planner.quantization import ON_LOAD, Quantization

NVFP4 = Quantization("nvfp4", ON_LOAD["nvfp4_per_token"].formats)
"""A checkpoint in NVIDIA's 4-bit floats, groups of 16."""


@dataclass(frozen=True)
class Advice:
    """One suggestion: what to change, why, and what it is worth."""

    change: str
    reason: str
    gain: str


def advice(found: Estimate) -> list[Advice]:
    """Suggestions for a service as it is sized; none where the planner knows nothing better."""
    return [each for each in (*_weights(found), *_cache(found), *_parallel(found)) if each.gain]


def _weights(found: Estimate) -> Iterator[Advice]:
    gpu, quantization = found.gpu, effective_quantization(found.subject, found.settings)
    if quantization is None:
        if gpu.fp8:
            made = estimate(found.subject, replace(found.settings, quantization="fp8_per_tensor"), gpu)
            reason = f"{gpu.name} multiplies FP8 in its tensor cores, and each token reads half the bytes"
            yield Advice('quantization="fp8_per_tensor", or an FP8 checkpoint', reason, _gain(found, made))
            if gpu.fp4:
                made = estimate(replace(found.subject, quantization=NVFP4, checkpoint_bytes=None), found.settings, gpu)
                reason = f"{gpu.name} multiplies FP4 too; check answers, for 4 bits lose more than 8"
                yield Advice("an NVFP4 checkpoint", reason, _gain(found, made))
        else:
            made = estimate(replace(found.subject, quantization=AWQ, checkpoint_bytes=None), found.settings, gpu)
            reason = f"{gpu.name} has no FP8, but 4-bit weights (Marlin kernels) are a quarter of the bytes to read"
            yield Advice("a 4-bit AWQ or GPTQ checkpoint", reason, _gain(found, made))
    elif quantization.format.compute == "fp8" and not gpu.fp8:
        yield Advice(
            "a 4-bit AWQ or W8A8 INT8 checkpoint",
            f"{gpu.name} has no FP8 tensor cores: vLLM expands FP8 weights before each product (Marlin), so they save "
            "memory but no time in prefill",
            "none from FP8 in prefill",
        )
    elif quantization.method == "bitsandbytes":
        yield Advice(
            "an AWQ, GPTQ or FP8 checkpoint",
            "bitsandbytes needs a plugin since vLLM 0.32 and has no fast kernels for batches",
            "the same memory, faster",
        )


def _cache(found: Estimate) -> Iterator[Advice]:
    if (
        found.settings.kv_cache_dtype == "auto"
        and found.gpu.fp8
        and any(isinstance(layer.mixer, Attention) for layer in found.subject.model.layers)
    ):
        made = estimate(found.subject, replace(found.settings, kv_cache_dtype="fp8"), found.gpu)
        yield Advice(
            'kv_cache_dtype="fp8"',
            "a token's keys and values take half the bytes; check answers on your own prompts, for models differ",
            _gain(found, made),
        )


def _parallel(found: Estimate) -> Iterator[Advice]:
    settings, gpu = found.settings, found.gpu
    size = settings.tensor_parallel_size
    kv_heads = found.subject.model.config.kv_heads or found.subject.model.config.heads
    if size > kv_heads and any(isinstance(layer.mixer, Attention) for layer in found.subject.model.layers):
        yield Advice(
            f"tensor_parallel_size={kv_heads}",
            f"the model has {kv_heads} key-value heads: on {size} GPUs each is kept {size // kv_heads} times",
            "fewer GPUs for the same KV cache",
        )
    if size > 1:
        alone = replace(settings, tensor_parallel_size=size // 2)
        made = estimate(found.subject, alone, gpu) if size % 2 == 0 else None
        if made and made.fits and made.max_concurrency >= 8 and settings.pipeline_parallel_size == 1:
            yield Advice(
                f"tensor_parallel_size={size // 2} and twice the replicas",
                "it fits, and replicas need no all-reduce: better where throughput counts more than one stream",
                f"{made.ceilings.decode / found.ceilings.decode:.1f}x decode for one stream",
            )
        elif gpu.nvlink_bandwidth is None:
            yield Advice(
                "hosts with NVLink, or pipeline_parallel_size",
                f"{gpu.name} has no NVLink: every layer's two all-reduces cross PCIe",
                "prefill above all",
            )


def _gain(before: Estimate, after: Estimate) -> str:
    """How two estimates compare, in words."""
    parts = []
    if after.ceilings.decode > before.ceilings.decode * 1.05:
        parts.append(f"{after.ceilings.decode / before.ceilings.decode:.1f}x decode for one stream")
    if before.kv_cache_tokens and after.kv_cache_tokens > before.kv_cache_tokens * 1.05:
        parts.append(f"{after.kv_cache_tokens / before.kv_cache_tokens:.1f}x KV-cache tokens")
    if not before.fits and after.fits:
        parts.append("then it fits")
    return ", ".join(parts)
