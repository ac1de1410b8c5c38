"""Whether a model can be split so at all: what vLLM demands of heads, layers and quantization groups.

Source: vLLM 0.33, ModelConfig.verify_with_parallel_config, QKVParallelLinear, and the checks of the quantized linear
methods (`create_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.planner.memory import Subject, effective_quantization
from vllm_fleet.planner.model import Linear, Model
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import share
from vllm_fleet.schema import Problem


def split_problems(subject: Subject, settings: Settings) -> list[Problem]:
    """What keeps this model from being split so; the paths are fields of Settings."""
    return [*_tensor(subject.model, settings), *_pipeline(subject.model, settings), *_groups(subject, settings)]


def tensor_parallel_sizes(model: Model, most: int = 16) -> list[int]:
    """The tensor parallel sizes up to `most` that divide the attention heads and fit the key-value heads."""
    heads, kv_heads = model.config.heads, model.config.kv_heads or model.config.heads
    if model.config.kv_lora_rank:
        kv_heads = heads  # one latent vector, the same everywhere
    most = min(most, heads)
    return [size for size in range(1, most + 1) if heads % size == 0 and (kv_heads % size == 0 or size % kv_heads == 0)]


def _tensor(model: Model, settings: Settings) -> Iterator[Problem]:
    size, heads = settings.tensor_parallel_size, model.config.heads
    allowed = tensor_parallel_sizes(model, max(16, size))
    if size in allowed:
        return
    sizes = [str(each) for each in allowed if each <= 16]
    use = f"use {', '.join(sizes[:-1])} or {sizes[-1]}" if len(sizes) > 1 else "use 1"
    if heads % size:
        yield Problem("tensor_parallel_size", f"{size} does not divide {heads} attention heads ({model.name})", use)
    else:
        kv_heads = model.config.kv_heads
        yield Problem(
            "tensor_parallel_size",
            f"{size} neither divides nor is divided by {kv_heads} key-value heads ({model.name})",
            use,
        )


def _pipeline(model: Model, settings: Settings) -> Iterator[Problem]:
    if settings.pipeline_parallel_size > len(model.layers):
        yield Problem(
            "pipeline_parallel_size",
            f"{settings.pipeline_parallel_size} is more than the {len(model.layers)} layers of {model.name}",
            "lower it",
        )


def _groups(subject: Subject, settings: Settings) -> Iterator[Problem]:
    """Quantized matrices must be cut between groups, and FP8 blocks between blocks."""
    quantization = effective_quantization(subject, settings)
    if not quantization or subject.model.config.heads % settings.tensor_parallel_size:
        return
    for linear in subject.model.layers[-1].linears:
        form = None if linear.plain else quantization.format_of(f"model.layers.0.{linear.name}", linear.expert)
        if not form:
            continue
        step = form.block or (form.group if linear.split == "inputs" else 0)
        side = _cut_side(linear, settings)
        if step and side and side % step:
            yield Problem(
                "tensor_parallel_size",
                f"{settings.tensor_parallel_size} cuts {linear.name.split('.')[-1]} into parts of {side}, not a "
                f"multiple of the quantization's {step}",
                "use a smaller tensor_parallel_size (with enable-expert-parallel experts stay whole)"
                if linear.expert
                else "use a smaller tensor_parallel_size",
            )
            return


def _cut_side(linear: Linear, settings: Settings) -> int:
    """The length of the divided side on one GPU, 0 where nothing is divided."""
    inputs, outputs, _ = share(linear, settings)
    whole = {"outputs": linear.outputs, "inputs": linear.inputs, "none": 0}[linear.split]
    mine = {"outputs": outputs, "inputs": inputs, "none": 0}[linear.split]
    return mine if mine != whole else 0
