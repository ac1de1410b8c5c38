"""What a GPU holds beyond its share of the checkpoint once vLLM has loaded it.

Measured on an H200 (docs/measurements/memory-h200.json): a model's parameters and buffers agree with these to the MiB.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from vllm_fleet.planner.model import Attention, LatentAttention, Layer, Linear, Model
from vllm_fleet.planner.quantization import Format, Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import dtype_bytes, format_of, share, stages
from vllm_fleet.schema.gpu import Gpu

MIB = 2**20

_ONE_TENSOR = {
    "q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up",
    "q_a_proj": "qkv_a", "kv_a_proj_with_mqa": "qkv_a",
}  # fmt: skip
"""Matrices that vLLM keeps as one tensor."""


def extra_bytes(model: Model, quantization: Quantization | None, settings: Settings, gpu: Gpu, stage: int) -> int:
    """Bytes beyond the checkpoint on each GPU of a pipeline stage."""
    wide = dtype_bytes(model, settings)
    total = _rope_bytes(model, wide)
    for index in stages(len(model.layers), settings.pipeline_parallel_size)[stage]:
        layer = model.layers[index]
        total += sum(_layer_extras(layer, index, quantization, settings, gpu, wide))
    return total


def _layer_extras(
    layer: Layer, index: int, quantization: Quantization | None, settings: Settings, gpu: Gpu, wide: int
) -> Iterator[int]:
    if isinstance(layer.mixer, LatentAttention):
        yield _absorbed_bytes(layer.mixer, settings, wide)
    tensors: dict[str, int] = defaultdict(int)
    for linear in layer.linears:
        form = format_of(linear, index, quantization)
        yield _kernel_bytes(linear, form, settings, gpu) if form else 0
        owner, _, last = linear.name.rpartition(".")
        tensors[f"{owner}.{_ONE_TENSOR.get(last, last)}"] += _numbers_bytes(linear, form, settings, wide)
    yield sum(_rounded_up(size) - size for size in tensors.values())


def _numbers_bytes(linear: Linear, form: Format | None, settings: Settings, wide: int) -> int:
    """The tensor of a matrix's numbers; scales and biases are tensors of their own."""
    inputs, outputs, copies = share(linear, settings)
    return copies * (inputs * outputs * form.bits // 8 if form else inputs * outputs * wide)


def _rounded_up(size: int) -> int:
    """What torch's allocator takes for a tensor: whole 2 MiB above 10 MiB, of which it gives back a rest of more than
    1 MiB only below 20 MiB (c10/cuda/CUDACachingAllocator.cpp, and vLLM's max_split_size)."""
    whole = _multiple(size, 2 * MIB)
    if size < 10 * MIB or (size < 20 * MIB and whole - size > MIB):
        return size
    return whole


def _kernel_bytes(linear: Linear, form: Format, settings: Settings, gpu: Gpu) -> int:
    """What the kernels of this GPU want beside the checkpoint's own layout."""
    inputs, outputs, copies = share(linear, settings)
    if form.asymmetric and gpu.compute_capability[0] == 9:
        # Machete takes zero points in 16 bits
        groups = -(-inputs // (form.group or inputs))
        return int(copies * groups * outputs * (2 - form.bits / 8))
    if form.microscaled and linear.expert:
        inside, outside = (64, 1) if gpu.compute_capability == (9, 0) else (128, 256)
        if linear.split == "outputs":
            padded = form.weight_bytes(_multiple(inputs, outside), _multiple(outputs, inside))
        else:
            padded = form.weight_bytes(_multiple(inputs, inside), _multiple(outputs, outside))
        return copies * (padded - form.weight_bytes(inputs, outputs))
    return 0


def _multiple(length: int, step: int) -> int:
    return -(-length // step) * step


def _absorbed_bytes(mixer: LatentAttention, settings: Settings, wide: int) -> int:
    """Copies of kv_b_proj by head for decoding (W_UK_T and W_UV in vLLM's mla_attention.py), never quantized."""
    heads = -(-mixer.heads // settings.tensor_parallel_size)
    return heads * (mixer.nope_dim + mixer.value_dim) * mixer.rank * wide


def _rope_bytes(model: Model, wide: int) -> int:
    """The tables of sines and cosines, each shared by all layers with the same angles."""
    if model.family.positions:
        return 0
    mixer = next((each.mixer for each in model.layers if isinstance(each.mixer, Attention | LatentAttention)), None)
    if mixer is None:
        return 0
    width = mixer.rope_dim if isinstance(mixer, LatentAttention) else int(mixer.head_dim * model.config.rotary_share)
    return sum(_positions(table, model) for table in _rope_tables(model)) * width * wide


def _rope_tables(model: Model) -> list[dict[str, Any]]:
    """One entry for each table; newer files have one for each type of layer."""
    rope = model.config.rope
    by_type = [each for each in rope.values() if isinstance(each, dict)]
    return by_type or [rope, *[{}] * (model.family.rope_tables - 1)]


def _positions(table: dict[str, Any], model: Model) -> int:
    """How many positions a table has."""
    positions = model.config.max_position_embeddings
    factor = table.get("factor")
    kind = table.get("rope_type", table.get("type"))
    if kind == "linear" and isinstance(factor, int | float) and 1 < factor <= 1000:
        return int(positions * factor)
    # MRotaryEmbedding: videos have positions beyond the text's
    return positions * 4 if "mrope_section" in table else positions
