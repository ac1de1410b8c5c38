"""Memory beside weights and cache: the peak of a step's own tensors, CUDA graphs, and what is not torch's."""

from __future__ import annotations

from vllm_fleet.planner.model import Layer, Model
from vllm_fleet.planner.quantization import Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import dtype_bytes, share, stages
from vllm_fleet.schema.gpu import Gpu

MIB = 2**20


def activation_bytes(
    model: Model, quantization: Quantization | None, settings: Settings, gpu: Gpu, model_len: int, stage: int
) -> int:
    wide = dtype_bytes(model, settings)
    tokens = settings.batched_tokens(gpu, model_len)
    layers = [model.layers[index] for index in stages(len(model.layers), settings.pipeline_parallel_size)[stage]]
    step = (
        max(_feed_forward(layer, settings, tokens) for layer in layers) * wide + 3 * tokens * model.hidden_size * wide
    )
    sampling = 0
    if stage == settings.pipeline_parallel_size - 1:
        sampling = settings.sequences(gpu) * model.vocab_size * 10 + tokens * model.hidden_size * wide
    return max(step, sampling)


def _feed_forward(layer: Layer, settings: Settings, tokens: int) -> int:
    """Elements of gate, up and their product for a step's tokens."""
    parts = [l for l in layer.linears if l.name.startswith("mlp.") and l.split == "outputs"]
    width = sum(share(l, settings)[1] * (layer.experts_per_token if l.expert else 1) for l in parts)
    return tokens * (width + width // 2)


def non_torch_bytes(settings: Settings) -> int:
    return int(0.22 * 2**30)


def graph_bytes(model: Model, settings: Settings, gpu: Gpu, layers: range) -> int:
    return 0 if settings.enforce_eager else 2**30
