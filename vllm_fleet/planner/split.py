"""Whether a model can be split so at all: what vLLM demands of heads, layers and quantization groups.

Source: vLLM 0.33, ModelConfig.verify_with_parallel_config, QKVParallelLinear, FusedMoEConfig, and the checks of the
quantized linear methods (`create_weights`).
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
    model = subject.model
    return [
        *_tensor(model, settings), *_pipeline(model, settings), *_experts(model, settings), *_groups(subject, settings)
    ]  # fmt: skip


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


def _experts(model: Model, settings: Settings) -> Iterator[Problem]:
    """Whole experts for every GPU with expert parallelism, else slices of one width."""
    size = settings.expert_gpus
    expert = next((linear for layer in model.layers for linear in layer.linears if linear.expert), None)
    if expert is None:
        if settings.enable_expert_parallel:
            yield Problem("enable_expert_parallel", f"{model.name} has no experts", "remove it")
        return
    if not settings.enable_expert_parallel:
        if expert.outputs % size:
            yield Problem(
                _size_field(settings),
                f"the experts of {model.name}, {expert.outputs} wide, do not divide over {_gpus(settings)}",
                f"change it{_OR_WHOLE}",
            )
    elif size > model.experts:
        yield Problem(_size_field(settings), f"{_gpus(settings)} are more than the {model.experts} experts", "lower it")
    elif model.family.even_experts and model.experts % size:
        yield Problem(
            _size_field(settings),
            f"{model.experts} experts do not divide over {_gpus(settings)}, and vLLM would load {model.name} without "
            "the last ones",
            "change it",
        )


_OR_WHOLE = ", or use expert parallelism, which leaves experts whole"


def _size_field(settings: Settings) -> str:
    """The setting to change where experts do not go over the GPUs."""
    return "data_parallel_size" if settings.data_parallel_size > 1 else "tensor_parallel_size"


def _gpus(settings: Settings) -> str:
    beside = " (tensor x data parallel)" if settings.data_parallel_size > 1 else ""
    return f"{settings.expert_gpus} GPUs{beside}"


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
            field = _size_field(settings) if linear.expert else "tensor_parallel_size"
            cuts = settings.expert_gpus if linear.expert else settings.tensor_parallel_size
            yield Problem(
                field,
                f"{linear.name.split('.')[-1]} cut {cuts} times has parts of {side}, not a multiple of the "
                f"quantization's {step}",
                f"use a smaller {field}{_OR_WHOLE if linear.expert else ''}",
            )
            return


def _cut_side(linear: Linear, settings: Settings) -> int:
    """The length of the divided side on one GPU, 0 where nothing is divided."""
    inputs, outputs, _ = share(linear, settings)
    whole = {"outputs": linear.outputs, "inputs": linear.inputs, "none": 0}[linear.split]
    mine = {"outputs": outputs, "inputs": inputs, "none": 0}[linear.split]
    return mine if mine != whole else 0
