"""What a model is made of: its layers, their matrices, and what each token leaves in the KV cache.

Sizes are in elements; how many bytes each takes is the matter of quantization.py, how they are split over GPUs that of
weights.py. Names follow the checkpoints' own, so that a quantization's list of exceptions can be applied to them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from vllm_fleet.planner.families import Family, family_of
from vllm_fleet.planner.model_config import ModelConfig, TextConfig, UnsizedError
from vllm_fleet.planner.vision import Encoders, encoders_of
from vllm_fleet.schema import ConfigError

Split = Literal["outputs", "inputs", "none"]


@dataclass(frozen=True)
class Linear:
    """A matrix of `outputs` x `inputs`, `copies` times (once an expert), with a bias of `outputs` where it has one."""

    name: str
    inputs: int
    outputs: int
    split: Split = "none"
    """What tensor parallelism divides."""
    heads: int | None = None
    """The units the divided side consists of; fewer heads than GPUs are replicated (vLLM's QKVParallelLinear)."""
    bias: bool = False
    copies: int = 1
    expert: bool = False
    follows_tokens: bool = False
    """Kept whole on each GPU where tokens are divided over tensor parallel ranks (shared experts of some families)."""
    plain: bool = False
    """Never quantized: vLLM builds it without the quantization's configuration (routers, convolutions)."""

    @property
    def parameters(self) -> int:
        return self.copies * self.outputs * (self.inputs + self.bias)


@dataclass(frozen=True)
class Attention:
    """Keys and values of every token, for `window` tokens back (None: all)."""

    kv_heads: int
    head_dim: int
    heads: int
    window: int | None = None
    chunk: int | None = None
    """Llama 4's local layers keep one chunk of this many tokens."""


@dataclass(frozen=True)
class LatentAttention:
    """DeepSeek's MLA: one latent vector a token for all heads, the same on every GPU."""

    rank: int
    rope_dim: int
    heads: int
    nope_dim: int
    value_dim: int
    index_head_dim: int = 0
    """DeepSeek V3.2's indexer keeps this many more (fp8) a token."""


@dataclass(frozen=True)
class LinearState:
    """Gated delta net (Qwen3-Next): a state a request, of the same size however long it is."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    convolution: int
    wide: bool = False
    """Whether the state is kept in float32, whatever the model's type."""


@dataclass(frozen=True)
class Layer:
    """One decoder layer."""

    mixer: Attention | LatentAttention | LinearState
    linears: tuple[Linear, ...]
    other_parameters: int
    """Norms, sinks and the like, on every GPU whole."""
    experts: int = 0
    experts_per_token: int = 0

    @property
    def parameters(self) -> int:
        return sum(linear.parameters for linear in self.linears) + self.other_parameters


@dataclass(frozen=True)
class Model:
    """A language model as its config.json describes it."""

    name: str
    config: TextConfig
    family: Family
    hidden_size: int
    vocab_size: int
    layers: tuple[Layer, ...]
    tied: bool
    encoders: Encoders
    pooling: bool = False
    notes: tuple[str, ...] = field(default=())
    """What an operator should know of how it was counted."""

    @property
    def parameters(self) -> int:
        """All parameters, tied embeddings once."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied or self.pooling else 2)
        return (
            embeddings
            + self.position_parameters
            + self.hidden_size
            + sum(layer.parameters for layer in self.layers)
            + self.encoders.parameters
        )

    @property
    def experts(self) -> int:
        """Experts that the router of a layer chooses from; 0 for a dense model."""
        return self.config.experts

    @property
    def position_parameters(self) -> int:
        """Learned positions; most models compute theirs."""
        return self.config.max_position_embeddings * self.hidden_size if self.family.positions else 0

    @property
    def longest(self) -> int:
        """The longest context, as vLLM derives it (_get_and_verify_max_len): positions, stretched where the file says
        so; with YaRN, Llama 3's way and in Gemma 3 they are stretched already."""
        rope, positions = self.config.rope, self.config.max_position_embeddings
        kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
        stretched = kind in ("linear", "dynamic") and not self.config.model_type.startswith("gemma3")
        if stretched and isinstance(factor, int | float) and 0 < factor <= 1000:
            return int(positions * factor)
        return positions

    @property
    def active_parameters(self) -> int:
        """What every token of a prompt meets: the layers, with the experts it chooses; only the last meets the head."""
        return sum(_active(layer) for layer in self.layers)


def _active(layer: Layer) -> int:
    return sum(
        linear.parameters * layer.experts_per_token // linear.copies if linear.expert else linear.parameters
        for linear in layer.linears
    )


def build_model(config: ModelConfig) -> Model:
    """The model of a config.json. Raises ConfigError where its layers cannot be told from the file."""
    text = config.text
    family = family_of(text.model_type, config.name)
    layers = tuple(_layers(text, family))
    if any(isinstance(layer.mixer, LinearState) for layer in layers) and not (
        text.linear_key_heads and text.linear_value_heads and text.linear_key_head_dim and text.linear_value_head_dim
    ):
        raise ConfigError(
            f"{config.name}.layer_types: names linear layers, and linear_num_key_heads, linear_num_value_heads or "
            "their head dims are missing; take the model's own config.json"
        )
    notes = () if family.known else (f"model_type {text.model_type!r} is new to the planner: counted as a Llama",)
    return Model(
        name=config.name,
        config=text,
        family=family,
        hidden_size=text.hidden_size,
        vocab_size=text.vocab_size,
        layers=layers,
        tied=bool(text.tie_word_embeddings),
        encoders=encoders_of(config),
        pooling=not config.architecture.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")),
        notes=notes,
    )


def _layers(text: TextConfig, family: Family) -> Iterator[Layer]:
    built: dict[tuple[object, ...], Layer] = {}
    for index in range(text.layers):
        window, chunk = _window(text, family, index), _chunk(text, family, index)
        linear = _kind(text, family, index) == "linear_attention"
        moe = _is_moe(text, family, index)
        key = (window, chunk, linear, moe)
        if key not in built:
            built[key] = _layer(text, family, window, chunk, linear, moe)
        yield built[key]


def _layer(text: TextConfig, family: Family, window: int | None, chunk: int | None, linear: bool, moe: bool) -> Layer:
    mixer: Attention | LatentAttention | LinearState
    if linear:
        mixer, linears = _gated_delta_net(text)
    elif text.kv_lora_rank:
        mixer, linears = _latent_attention(text)
    else:
        mixer, linears = _attention(text, family, window, chunk)
    linears += _experts(text, family) if moe else _mlp(text, family)
    return Layer(
        mixer=mixer,
        linears=linears,
        other_parameters=_others(text, family, mixer),
        experts=text.experts if moe else 0,
        experts_per_token=text.experts_per_token if moe else 0,
    )


def _attention(
    text: TextConfig, family: Family, window: int | None, chunk: int | None
) -> tuple[Attention, tuple[Linear, ...]]:
    head_dim = head_dim_of(text)
    kv_heads = text.kv_heads or text.heads
    qkv_bias = family.qkv_bias if text.attention_bias is None else text.attention_bias
    qkv_bias = qkv_bias or text.use_bias
    o_bias = family.o_bias or text.use_bias or (bool(text.attention_bias) and family.bias_on_output)
    hidden, width = text.hidden_size, text.heads * head_dim
    query_outputs = width * (2 if family.gated_attention else 1)
    return Attention(kv_heads, head_dim, text.heads, window, chunk), (
        Linear("self_attn.q_proj", hidden, query_outputs, "outputs", text.heads, qkv_bias),
        Linear("self_attn.k_proj", hidden, kv_heads * head_dim, "outputs", kv_heads, qkv_bias),
        Linear("self_attn.v_proj", hidden, kv_heads * head_dim, "outputs", kv_heads, qkv_bias),
        Linear("self_attn.o_proj", width, hidden, "inputs", text.heads, o_bias),
    )


def _latent_attention(text: TextConfig) -> tuple[LatentAttention, tuple[Linear, ...]]:
    hidden, heads, rank = text.hidden_size, text.heads, text.kv_lora_rank or 0
    query = heads * (text.qk_nope_head_dim + text.qk_rope_head_dim)
    linears = (
        [
            Linear("self_attn.q_a_proj", hidden, text.q_lora_rank),
            Linear("self_attn.q_b_proj", text.q_lora_rank, query, "outputs", heads),
        ]
        if text.q_lora_rank
        else [Linear("self_attn.q_proj", hidden, query, "outputs", heads)]
    )
    linears += [
        Linear("self_attn.kv_a_proj_with_mqa", hidden, rank + text.qk_rope_head_dim),
        Linear("self_attn.kv_b_proj", rank, heads * (text.qk_nope_head_dim + text.v_head_dim), "outputs", heads),
        Linear("self_attn.o_proj", heads * text.v_head_dim, hidden, "inputs", heads),
    ]
    if text.index_heads and text.q_lora_rank:
        linears += [
            Linear("self_attn.indexer.wq_b", text.q_lora_rank, text.index_heads * text.index_head_dim),
            Linear("self_attn.indexer.wk", hidden, text.index_head_dim),
            Linear("self_attn.indexer.weights_proj", hidden, text.index_heads, plain=True),
        ]
    mixer = LatentAttention(
        rank, text.qk_rope_head_dim, heads, text.qk_nope_head_dim, text.v_head_dim, text.index_head_dim
    )
    return mixer, tuple(linears)


def _gated_delta_net(text: TextConfig) -> tuple[LinearState, tuple[Linear, ...]]:
    key_heads, value_heads = text.linear_key_heads, text.linear_value_heads
    keys, values = key_heads * text.linear_key_head_dim, value_heads * text.linear_value_head_dim
    mixer = LinearState(
        key_heads, value_heads, text.linear_key_head_dim, text.linear_value_head_dim, text.linear_conv_kernel,
        wide=text.state_dtype == "float32",
    )  # fmt: skip
    return mixer, (
        Linear("linear_attn.in_proj_qkvz", text.hidden_size, 2 * keys + 2 * values, "outputs"),
        Linear("linear_attn.in_proj_ba", text.hidden_size, 2 * value_heads, "outputs", plain=True),
        Linear("linear_attn.conv1d", text.linear_conv_kernel, 2 * keys + values, "outputs", plain=True),
        Linear("linear_attn.out_proj", values, text.hidden_size, "inputs"),
    )


def _mlp(text: TextConfig, family: Family) -> tuple[Linear, ...]:
    size = text.intermediate_size_mlp or text.intermediate_size
    return _feed_forward("mlp", text.hidden_size, size, family, bias=text.mlp_bias or text.use_bias or family.mlp_bias)


def _experts(text: TextConfig, family: Family) -> tuple[Linear, ...]:
    size = text.moe_intermediate_size or text.intermediate_size
    linears = _feed_forward(
        "mlp.experts.0", text.hidden_size, size, family, bias=family.expert_bias, copies=text.experts, expert=True
    )
    linears += (Linear("mlp.gate", text.hidden_size, text.experts, bias=family.expert_bias, plain=True),)
    shared = text.shared_intermediate_size or text.shared_experts * size
    if not shared and family.shared_expert:
        shared = size
    if shared:
        follows = family.shared_expert_follows_tokens
        linears += _feed_forward("mlp.shared_experts", text.hidden_size, shared, family, follows_tokens=follows)
        if text.shared_intermediate_size and family.shared_expert_gate:
            linears += (Linear("mlp.shared_expert_gate", text.hidden_size, 1, plain=True),)
    return linears


def _feed_forward(
    name: str,
    hidden: int,
    size: int,
    family: Family,
    bias: bool = False,
    copies: int = 1,
    expert: bool = False,
    follows_tokens: bool = False,
) -> tuple[Linear, ...]:
    into = ("gate_proj", "up_proj") if family.gated else ("up_proj",)
    return (
        *(
            Linear(f"{name}.{each}", hidden, size, "outputs", None, bias, copies, expert, follows_tokens)
            for each in into
        ),
        Linear(f"{name}.down_proj", size, hidden, "inputs", None, bias, copies, expert, follows_tokens),
    )


def _others(text: TextConfig, family: Family, mixer: Attention | LatentAttention | LinearState) -> int:
    norms = family.norms * text.hidden_size
    match mixer:
        case Attention():
            heads = text.heads if family.sinks else 0
            if family.qk_norm == "head" or text.use_qk_norm:
                return norms + heads + 2 * mixer.head_dim
            if family.qk_norm == "all":
                return norms + heads + (mixer.heads + mixer.kv_heads) * mixer.head_dim
            return norms + heads
        case LatentAttention():
            return norms + mixer.rank + (text.q_lora_rank or 0) + (text.experts or 0)
        case LinearState():
            return norms + 2 * mixer.value_heads + mixer.value_dim


def head_dim_of(text: TextConfig) -> int:
    """The size of a head, which many files leave to hidden_size / heads."""
    return text.head_dim or text.hidden_size // text.heads


def _window(text: TextConfig, family: Family, index: int) -> int | None:
    """The sliding window of a layer, None where it attends to everything.

    Without layer types of any kind a window is every layer's (vLLM 0.33, EngineArgs.create_engine_config).
    """
    if not text.sliding_window or not text.use_sliding_window:
        return None
    return text.sliding_window if _kind(text, family, index) in ("sliding_attention", None) else None


def _chunk(text: TextConfig, family: Family, index: int) -> int | None:
    """The chunk that a layer's attention stays within (Llama 4), None for the others."""
    return text.attention_chunk_size if _kind(text, family, index) == "chunked_attention" else None


_KINDS = {"full_attention", "sliding_attention", "chunked_attention", "linear_attention"}


def _kind(text: TextConfig, family: Family, index: int) -> str | None:
    """A layer's type as transformers names it: from the file, else by the pattern of its family."""
    if text.layer_types:
        kind = text.layer_types[index] if index < len(text.layer_types) else "full_attention"
        if kind not in _KINDS:
            raise UnsizedError(
                f"{text.model_type}.layer_types: {reprlib.repr(kind)} layers have no sizes in the planner; "
                "start it once and read `GPU KV cache size` in its log"
            )
        return kind
    pattern = text.sliding_window_pattern if isinstance(text.sliding_window_pattern, int) else family.pattern
    if pattern:  # every pattern-th layer is global
        return family.local if (index + 1) % pattern else "full_attention"
    if text.max_window_layers is not None:
        return "sliding_attention" if index >= text.max_window_layers else "full_attention"
    return None


def _is_moe(text: TextConfig, family: Family, index: int) -> bool:
    if not text.experts or index < text.first_dense_layers or index in text.mlp_only_layers:
        return False
    if index < text.moe_layer_start or index > text.moe_layer_end:
        return False
    if text.moe_layers is not None:
        return index in text.moe_layers
    if isinstance(text.moe_layer_freq, list):
        return bool(text.moe_layer_freq[index]) if index < len(text.moe_layer_freq) else False
    if family.interleaved_experts:
        return (index + 1) % text.interleave_moe_layer_step == 0
    return index % text.moe_layer_freq == 0 and (index + 1) % text.decoder_sparse_step == 0
