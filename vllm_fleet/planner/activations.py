"""Memory beside weights and cache: the peak of a step's own tensors, the sampler's buffers, CUDA graphs, the rest.

What is alive at the peak was read from allocator snapshots of vLLM's profile run (docs/measurements/memory-h200.json,
vLLM 0.26 on an H200); where vLLM 0.33 differs, its source is followed and named.
"""

from __future__ import annotations

from vllm_fleet.planner.model import Attention, LatentAttention, Layer, LinearState, Model
from vllm_fleet.planner.quantization import Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import dtype_bytes, format_of, share, stages
from vllm_fleet.schema.gpu import Gpu

MIB = 2**20

_CUBLAS_WORKSPACE = 32 * MIB

_GATHERED_COPIES = 2
"""Hidden states of all data parallel ranks' tokens, which meet at each rank's experts: as they come, and as they leave
(0.33, prepare_finalize/naive_dp_ep.py; all2all backends other than allgather_reducescatter have their own buffers)."""

_LATENT_CONTEXT = 64 * 1024
"""Tokens of context that MLA expands at once (mla_attention.py, determine_chunked_prefill_workspace_size)."""


def activation_bytes(
    model: Model, quantization: Quantization | None, settings: Settings, gpu: Gpu, model_len: int, stage: int
) -> int:
    """The most that one step of `max_num_batched_tokens` holds at once on a GPU of a pipeline stage."""
    wide = dtype_bytes(model, settings)
    tokens, sequences = settings.batched_tokens(gpu, model_len), settings.sequences(gpu)
    context = _latent_context(model, settings, model_len, sequences)
    kept = peak = 0  # elements
    seen = set[int]()
    for index in stages(len(model.layers), settings.pipeline_parallel_size)[stage]:
        layer = model.layers[index]
        if id(layer) in seen:  # layers of one kind are one object
            continue
        seen.add(id(layer))
        at_experts = tokens * settings.data_parallel_size if layer.experts else 0
        # the experts' workspace is made when the first layer with experts runs, and stays
        kept = max(kept, at_experts * _expert_workspace(layer, index, quantization, settings))
        mixer = tokens * _mixer(layer, model, settings) + context
        products = at_experts * _expert_products(layer, index, quantization, settings)
        feed_forward = max(tokens * _feed_forward(layer, model, settings), products)
        gathered = at_experts * _GATHERED_COPIES * model.hidden_size if settings.data_parallel_size > 1 else 0
        peak = max(peak, kept + mixer, kept + feed_forward + gathered)
    if stage == 0:
        peak = max(peak, model.encoders.elements(tokens, settings.tensor_parallel_size))
    if stage == settings.pipeline_parallel_size - 1 and not model.pooling:
        logits = _sampling(model, tokens, sequences, wide)
        return _CUBLAS_WORKSPACE + max(peak * wide, kept * wide + logits)
    return _CUBLAS_WORKSPACE + peak * wide


def buffer_bytes(model: Model, settings: Settings, gpu: Gpu, stage: int) -> int:
    """What the sampler keeps for every sequence: a count and a bit for each word of the vocabulary (0.33,
    v1/worker/gpu/sample/penalties.py), on the stage that samples."""
    if stage != settings.pipeline_parallel_size - 1 or model.pooling:
        return 0
    return settings.sequences(gpu) * model.vocab_size * 33 // 8 + 24 * MIB


def _sampling(model: Model, tokens: int, sequences: int, wide: int) -> int:
    """The last hidden states, and logits in the model's type and in float32 (0.33, v1/worker/gpu/sample/sampler.py)."""
    return tokens * model.hidden_size * wide + sequences * (model.vocab_size * (wide + 4) + model.hidden_size * wide)


def _mixer(layer: Layer, model: Model, settings: Settings) -> int:
    """Queries, keys, values and the output, beside the hidden states; normed queries and keys are copies."""
    projected = sum(
        share(linear, settings)[1] for linear in layer.linears if _is_mixer(linear.name) and linear.split != "inputs"
    )
    hidden = 3 * model.hidden_size
    match layer.mixer:
        case Attention() as attention:
            heads = max(1, attention.heads // settings.tensor_parallel_size)
            out = heads * attention.head_dim
            copies = projected - _kv_heads(attention, settings) * attention.head_dim if model.family.qk_norm else 0
            return projected + out + copies + hidden
        case LatentAttention() as latent:
            # kv_b_proj's output is not among them: it is made for the context, see _latent_context
            expanded = latent.heads * (latent.nope_dim + latent.value_dim) // settings.tensor_parallel_size
            out = latent.heads * latent.value_dim // settings.tensor_parallel_size
            return projected - expanded + out + hidden
        case LinearState():
            return 2 * projected + hidden


def _is_mixer(name: str) -> bool:
    return name.startswith(("self_attn.", "linear_attn."))


def _kv_heads(attention: Attention, settings: Settings) -> int:
    return max(1, attention.kv_heads // settings.tensor_parallel_size)


def _feed_forward(layer: Layer, model: Model, settings: Settings) -> int:
    """Gate, up and their product, beside the hidden states that a family keeps."""
    dense = sum(
        share(linear, settings)[1]
        for linear in layer.linears
        if not _is_mixer(linear.name) and not linear.expert and linear.split == "outputs"
    )
    halves = 2 if model.family.gated else 1
    return dense + dense // halves + model.family.hidden_copies * model.hidden_size


def _expert_products(layer: Layer, index: int, quantization: Quantization | None, settings: Settings) -> int:
    """Elements a token where the experts' kernels keep no workspace (OpenAI's Triton kernels, for MXFP4): the products
    of all chosen experts stand beside each other."""
    if not layer.experts or not _microscaled(layer, index, quantization):
        return 0
    return layer.experts_per_token * 3 * _expert_width(layer, settings)


def _expert_workspace(layer: Layer, index: int, quantization: Quantization | None, settings: Settings) -> int:
    """Elements a token of the buffers that expert kernels keep (0.33, fused_moe, TritonExperts.workspace_shapes)."""
    if not layer.experts or _microscaled(layer, index, quantization):
        return 0
    inside = _expert_width(layer, settings)
    hidden = next(linear.inputs for linear in layer.linears if linear.expert)
    return layer.experts_per_token * (max(inside, hidden) + max(2 * inside, hidden))


def _expert_width(layer: Layer, settings: Settings) -> int:
    return next(share(linear, settings)[1] for linear in layer.linears if linear.expert)


def _microscaled(layer: Layer, index: int, quantization: Quantization | None) -> bool:
    form = next(format_of(linear, index, quantization) for linear in layer.linears if linear.expert)
    return form is not None and form.microscaled


def _latent_context(model: Model, settings: Settings, model_len: int, sequences: int) -> int:
    """Elements of keys and values that MLA expands from the latent cache of earlier chunks."""
    latent = next((layer.mixer for layer in model.layers if isinstance(layer.mixer, LatentAttention)), None)
    if latent is None:
        return 0
    rows = min(max(8 * model_len, 4 * sequences * 64), _LATENT_CONTEXT)
    return rows * latent.heads * (latent.nope_dim + latent.value_dim) // settings.tensor_parallel_size


def non_torch_bytes(model: Model, settings: Settings) -> int:
    """CUDA's context, kernels, and NCCL with the buffers of the all-reduce: measured, whatever the model (0.33)."""
    talks = settings.expert_gpus if model.experts else settings.tensor_parallel_size
    return 830 * MIB if talks > 1 else 80 * MIB


def graph_bytes(model: Model, settings: Settings, layers: range) -> int:
    """CUDA graphs for all batch sizes, as vLLM 0.33 estimates them and takes them off the KV cache: each graph holds
    nodes for each layer, for MLA and linear attention about twice as many. Measured for eight models on an H200."""
    if settings.enforce_eager:
        return 0
    plain = sum(isinstance(model.layers[index].mixer, Attention) for index in layers)
    return (130 + 25 * plain + 50 * (len(layers) - plain)) * MIB
