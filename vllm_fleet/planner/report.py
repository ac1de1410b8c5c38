"""The findings of a plan as data: what `fleet plan --json` prints, and the tables show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vllm_fleet.planner.advice import advice
from vllm_fleet.planner.fitting import Remedy, remedies
from vllm_fleet.planner.memory import Estimate, GpuMemory, effective_quantization
from vllm_fleet.schema import Problem

GIB = 2**30


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def summary(found: Estimate) -> dict[str, Any]:
    """One service or model: sizes in bytes a GPU (of the stage with least room), rates in tokens a second a replica."""
    tightest = found.tightest
    return {
        "model": found.subject.model.name,
        "gpu": found.gpu.name,
        "gpus": found.settings.gpus,
        "max_model_len": found.max_model_len,
        "parameters": found.subject.model.parameters,
        **_bytes_of(tightest),
        "kv_cache_tokens": found.kv_cache_tokens,
        "max_concurrency": round(found.max_concurrency, 2),
        "decode_tokens_per_second_ceiling": round(found.ceilings.decode, 1),
        "full_batch_decode_tokens_per_second_ceiling": round(found.ceilings.decode_full, 1),
        "full_batch_streams": found.ceilings.streams,
        "prefill_tokens_per_second_ceiling": round(found.ceilings.prefill, 1),
        "fits": found.fits,
        "stages": [
            {"stage": each.stage, "layers": [each.layers.start, each.layers.stop - 1], **_bytes_of(each)}
            for each in found.stages
        ],
        "reasons": list(reasons(found)),
        "advice": [vars(each) for each in advice(found)],
        "remedies": [_remedy(each) for each in remedies(found)] if not found.fits else [],
    }


def _bytes_of(memory: GpuMemory) -> dict[str, int]:
    return {
        "weights_bytes": memory.weights,
        "activation_bytes": memory.activation,
        "buffer_bytes": memory.buffers,
        "non_torch_bytes": memory.non_torch,
        "cuda_graph_bytes": memory.cuda_graphs,
        "kv_cache_bytes": max(memory.kv_cache, 0),
    }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    found = remedy.estimate
    return {
        "changes": list(remedy.changes),
        "gpus": found.settings.gpus,
        "max_model_len": found.max_model_len,
        "weights_bytes": found.tightest.weights,
        "kv_cache_bytes": found.tightest.kv_cache,
        "kv_cache_tokens": found.kv_cache_tokens,
        "max_concurrency": round(found.max_concurrency, 2),
        "decode_tokens_per_second_ceiling": round(found.ceilings.decode, 1),
    }


def memory_problem(found: Estimate, model_path: str, length_path: str) -> Problem | None:
    """The line for a model that does not fit: how much is missing, and the changes that make it fit.

    It names the model where its weights alone are too large, else the length that has no room.
    """
    if found.fits:
        return None
    tightest, path = found.tightest, length_path
    if tightest.kv_cache <= 0:
        path = model_path
        have = found.gpu.memory_bytes * found.settings.gpu_memory_utilization
        what = f"weights take {gib(tightest.weights)} of the {gib(have)} a GPU, which leaves no KV cache"
    else:
        what = (
            f"one request of {found.max_model_len} tokens needs {gib(found.needed_kv_cache)} of KV cache a GPU, "
            f"{gib(tightest.kv_cache)} are left"
        )
    ways = [" with ".join(each.changes) for each in remedies(found)]
    return Problem(path, what, f"use {', or '.join(ways)}" if ways else "use larger GPUs or a smaller model")


def surely_too_large(found: Estimate) -> bool:
    """Whether a model misses by more than the planner may be wrong: 3 % of the card (docs/planning.md)."""
    return not found.fits and found.tightest.kv_cache + 0.03 * found.gpu.memory_bytes < found.needed_kv_cache


def reasons(found: Estimate) -> Iterator[str]:
    """Why the numbers are what they are, one line each."""
    settings, gpu, model = found.settings, found.gpu, found.subject.model
    if settings.max_model_len is None:
        yield f"max_model_len {found.max_model_len}: the model's own, none is set"
    if settings.max_num_batched_tokens is None:
        tokens = settings.batched_tokens(gpu, found.max_model_len)
        yield f"max_num_batched_tokens {tokens}: vLLM's default on a GPU of this size; bounds activations"
    quantization = effective_quantization(found.subject, settings)
    if quantization:
        yield f"weights in {quantization.format.bits} bits ({quantization.method})"
    source = "the safetensors headers" if found.subject.checkpoint_bytes is not None else "config.json"
    yield f"weights from {source}: {model.parameters / 1e9:.2f} billion parameters"
    groups = len(found.layout.groups)
    if groups > 1:
        yield f"KV cache in {groups} groups: layers with a window keep less than the whole context"
    if settings.tensor_parallel_size > (model.config.kv_heads or model.config.heads) and not model.config.kv_lora_rank:
        yield f"key-value heads are replicated: {settings.tensor_parallel_size} GPUs share {model.config.kv_heads}"
    ranks = settings.data_parallel_size
    if ranks > 1:
        yield f"KV-cache tokens and requests are those of each of {ranks} data parallel ranks, ceilings those of all"
    if model.experts and settings.expert_gpus > 1:
        size = settings.expert_gpus
        whole = f"{-(-model.experts // size)} of {model.experts} experts"
        yield f"each GPU holds {whole if settings.enable_expert_parallel else f'1/{size} of each expert'}"
    if settings.tensor_parallel_size > 1 and model.config.kv_lora_rank:
        yield "the latent KV cache (MLA) is the same on every GPU of a tensor parallel group"
    yield from model.notes
