"""Bytes of weights on each GPU: matrices split as vLLM splits them over tensor and pipeline ranks."""

from __future__ import annotations

from vllm_fleet.planner.model import Layer, Linear, Model
from vllm_fleet.planner.quantization import DTYPE_BYTES, Format, Quantization
from vllm_fleet.planner.settings import Settings

_VOCABULARY_PADDING = 64
"""vLLM pads the vocabulary to a multiple of this, so that it divides (VocabParallelEmbedding)."""


def dtype_bytes(model: Model, settings: Settings) -> int:
    """Bytes of an unquantized weight: `--dtype`, else the checkpoint's, where float32 becomes 16 bits wide."""
    if settings.dtype != "auto":
        return DTYPE_BYTES[settings.dtype]
    return 2


def stages(layers: int, size: int) -> list[range]:
    """The layers of each pipeline stage; what is left over goes to the stages before the last (get_pp_indices)."""
    counts = [layers // size] * size
    for back in range(2, layers % size + 2):
        counts[-back] += 1
    starts = [sum(counts[:stage]) for stage in range(size)]
    return [range(start, start + count) for start, count in zip(starts, counts, strict=True)]


def checkpoint_share(model: Model, quantization: Quantization | None, settings: Settings, stage: int) -> int:
    """Bytes of the checkpoint on each GPU of a pipeline stage."""
    wide = dtype_bytes(model, settings)
    mine = stages(len(model.layers), settings.pipeline_parallel_size)[stage]
    total = sum(_layer_bytes(model.layers[index], index, quantization, settings, wide) for index in mine)
    first, last = stage == 0, stage == settings.pipeline_parallel_size - 1
    embedding = vocabulary_share(model, settings) * model.hidden_size * wide
    total += embedding * (first + (last and not model.pooling and (not model.tied or not first)))
    if first:
        total += model.position_parameters * wide + model.encoders.parameters * wide // settings.tensor_parallel_size
    return total


def vocabulary_share(model: Model, settings: Settings) -> int:
    """Rows of the embedding on one GPU, padding included."""
    padded = -(-model.vocab_size // _VOCABULARY_PADDING) * _VOCABULARY_PADDING
    return -(-padded // settings.tensor_parallel_size)


def _layer_bytes(layer: Layer, index: int, quantization: Quantization | None, settings: Settings, wide: int) -> int:
    return layer.other_parameters * wide + sum(
        linear_bytes(linear, format_of(linear, index, quantization), settings, wide) for linear in layer.linears
    )


def format_of(linear: Linear, index: int, quantization: Quantization | None) -> Format | None:
    """How a matrix of the layer with this index is quantized, None where it is not."""
    if linear.plain or not quantization:
        return None
    return quantization.format_of(f"model.layers.{index}.{linear.name}", linear.expert)


def linear_bytes(linear: Linear, form: Format | None, settings: Settings, wide: int) -> int:
    """A matrix on one GPU, with its bias."""
    inputs, outputs, copies = share(linear, settings)
    one = form.weight_bytes(inputs, outputs) if form else inputs * outputs * wide
    return copies * (one + (outputs * wide if linear.bias else 0))


def share(linear: Linear, settings: Settings) -> tuple[int, int, int]:
    """(inputs, outputs, copies) of a matrix on one GPU."""
    size = settings.tensor_parallel_size
    copies = linear.copies
    if linear.expert:
        size = settings.expert_gpus
        if settings.enable_expert_parallel:
            return linear.inputs, linear.outputs, -(-copies // size)
    if linear.follows_tokens and settings.tokens_divided:
        return linear.inputs, linear.outputs, copies
    match linear.split:
        case "outputs":
            return linear.inputs, _part(linear.outputs, linear.heads, size), copies
        case "inputs":
            return _part(linear.inputs, linear.heads, size), linear.outputs, copies
        case "none":
            return linear.inputs, linear.outputs, copies


def _part(length: int, heads: int | None, size: int) -> int:
    """A GPU's part of a side: whole heads, at least one."""
    if heads:
        return length // heads * max(1, -(-heads // size))
    return -(-length // size)
