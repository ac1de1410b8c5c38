"""A model's config.json: read with care, checked, and the keys that decide its size in one typed object.

The same number has several names (`num_local_experts`, `n_routed_experts`); here each has one. Keys that a file leaves
out have the default of its model type in transformers 5.19 (the models' `configuration_*.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from vllm_fleet.schema import ConfigError
from vllm_fleet.schema.errors import findings

LARGEST_FILE = 16 * 2**20
"""A config.json has kilobytes; what is larger is something else."""

_Count = Annotated[int, Field(ge=0, le=10**6)]
_Size = Annotated[int, Field(ge=1, le=10**8)]


def _named(*names: str, default: Any = ...) -> Any:
    return Field(default, validation_alias=AliasChoices(*names))


class UnsizedError(ConfigError):
    """A model that may be fine, but of a kind that the planner has no sizes for."""


class TextConfig(BaseModel):
    """The language model's part of a config.json. Lengths are in elements, layers and experts are counts."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, protected_namespaces=())

    model_type: str
    hidden_size: _Size = _named("hidden_size", "n_embd", "d_model", "dim")
    layers: Annotated[int, Field(ge=1, le=1000)] = _named("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads: Annotated[int, Field(ge=1, le=10**5)] = _named("num_attention_heads", "n_head", "n_heads")
    kv_heads: Annotated[int, Field(ge=1, le=10**5)] | None = _named(
        "num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", default=None
    )
    head_dim: _Size | None = _named("head_dim", "attention_head_dim", default=None)
    intermediate_size: _Size = _named("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
    vocab_size: _Size
    max_position_embeddings: _Size = _named(
        "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", default=2048
    )
    rope: dict[str, Any] = _named("rope_parameters", "rope_scaling", default={})
    rotary_share: Annotated[float, Field(gt=0, le=1)] = _named("partial_rotary_factor", "rotary_pct", default=1.0)
    tie_word_embeddings: bool | None = None
    dtype: str | None = _named("dtype", "torch_dtype", default=None)

    attention_bias: bool | None = _named("attention_bias", "use_qkv_bias", "qkv_bias", default=None)
    mlp_bias: bool = False
    use_bias: bool = False
    use_qk_norm: bool = False
    hidden_act: str = _named("hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act", default="silu")

    sliding_window: _Count | None = None
    use_sliding_window: bool = True
    max_window_layers: int | None = None
    sliding_window_pattern: _Count | list[Any] | str | None = _named(
        "sliding_window_pattern", "_sliding_window_pattern", "full_attention_interval", default=None
    )
    layer_types: list[str] | None = None
    attention_chunk_size: _Size | None = None

    experts: _Count = _named(
        "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts", default=0
    )
    experts_per_token: Annotated[int, Field(ge=1, le=10**5)] = _named(
        "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k_experts", "moe_k", default=1
    )
    moe_intermediate_size: _Size | None = _named("moe_intermediate_size", "expert_ffn_hidden_size", default=None)
    shared_experts: _Count = _named("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", default=0)
    shared_intermediate_size: _Count = _named(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size", default=0
    )
    first_dense_layers: _Count = _named("first_k_dense_replace", "num_dense_layers", default=0)
    moe_layer_freq: Annotated[int, Field(ge=1, le=1000)] | list[int] = 1
    decoder_sparse_step: Annotated[int, Field(ge=1, le=10**4)] = 1
    mlp_only_layers: list[int] = []
    interleave_moe_layer_step: Annotated[int, Field(ge=1, le=10**4)] = 1
    moe_layers: list[int] | None = None
    moe_layer_start: _Count = _named("moe_layer_start_index", default=0)
    moe_layer_end: int = _named("moe_layer_end_index", default=10**6)
    intermediate_size_mlp: _Size | None = None

    kv_lora_rank: _Size | None = None
    q_lora_rank: _Size | None = None
    qk_nope_head_dim: _Count = 0
    qk_rope_head_dim: _Count = 0
    v_head_dim: _Count = 0
    index_heads: _Count = _named("index_n_heads", default=0)
    index_head_dim: _Count = 0

    linear_key_heads: _Count = _named("linear_num_key_heads", default=0)
    linear_value_heads: _Count = _named("linear_num_value_heads", default=0)
    linear_key_head_dim: _Count = 0
    linear_value_head_dim: _Count = 0
    state_dtype: str | None = _named("mamba_ssm_dtype", default=None)
    linear_conv_kernel: Annotated[int, Field(ge=1, le=1000)] = _named("linear_conv_kernel_dim", default=4)


class ModelConfig(BaseModel):
    """A whole config.json: the text model, how it is quantized, and the encoders beside it."""

    model_config = ConfigDict(frozen=True, strict=True, protected_namespaces=())

    name: str
    """What to call the model in messages."""
    architecture: str
    text: TextConfig
    vision: dict[str, Any] | None = None
    """The vision tower's own configuration, as it stands in the file."""
    audio: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None
    projector: dict[str, Any] = {}
    """Top-level keys that describe what joins vision and text."""


# keys a config.json may leave out, by model type, as transformers 5.19 fills them in
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
        "max_position_embeddings": 131072, "sliding_window": 4096,
    },
    "gemma2": {"sliding_window": 4096, "head_dim": 256},
    "gemma": {"head_dim": 256},
    "llama": {"vocab_size": 32000, "max_position_embeddings": 2048, "num_attention_heads": 32},
    "mistral": {
        "vocab_size": 32000, "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
        "hidden_size": 4096, "intermediate_size": 14336, "sliding_window": 4096,
    },
    "qwen2": {"vocab_size": 151936, "max_position_embeddings": 32768},
    "qwen3": {"head_dim": 128},
    "gpt_oss": {"head_dim": 64},
}  # fmt: skip

_WINDOW_ASKED_FOR = ("qwen2", "qwen3", "smollm3")
"""Model types (by their beginning) whose sliding_window counts only with use_sliding_window."""

_TIED = {
    "gemma",
    "gemma2",
    "gemma3_text",
    "cohere",
    "cohere2",
    "gpt2",
    "falcon",
    "starcoder2",
    "opt",
    "bloom",
    "smollm3",
}
"""Model types whose embeddings are tied unless their file says otherwise."""

_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


def read_model_config(path: Path, name: str | None = None) -> ModelConfig:
    """The config.json at `path` (or in that directory).

    Raises ConfigError, one line, for a file that is missing, too large, not JSON, or not a language model's.
    """
    if path.suffix == ".gguf" or (path.is_dir() and not (path / "config.json").exists() and any(path.glob("*.gguf"))):
        raise ConfigError(
            f"{path}: is GGUF, which this engine is not for; take the model's safetensors (AWQ, GPTQ, FP8)"
        )
    file = path / "config.json" if path.is_dir() else path
    shown = str(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigError(
                f"{shown}: is larger than 16 MiB, a config.json has kilobytes; give the model's config.json"
            )
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read ({error.strerror}); give a directory with a config.json") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown}: is not text; give the model's config.json") from None
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{shown}: is not JSON ({_first_line(error)}); give the model's config.json") from None
    return parse_model_config(values, name or shown)


def parse_model_config(values: Any, name: str) -> ModelConfig:
    """The typed form of a config.json's content; `name` begins every error line. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: is not a JSON object; give the model's config.json")
    whole = {key: value for key, value in values.items() if value is not None or key == "sliding_window"}
    if whole.get("is_encoder_decoder") is True:
        raise UnsizedError(
            f"{name}.is_encoder_decoder: encoder-decoder models cannot be sized; vLLM's log tells instead"
        )
    text = _text_part(whole, name)
    for part in (whole, text):
        if not isinstance(part.get("quantization_config", {}), dict):
            raise ConfigError(f"{name}.quantization_config: is no object; take the config.json of the checkpoint")
    try:
        config = TextConfig.model_validate(_without_nulls(_with_defaults(text)))
    except ValidationError as error:
        raise ConfigError(*findings(error, name, {})) from None
    _check_heads(config, name)
    return ModelConfig(
        name=name,
        architecture=_architecture(whole),
        text=config,
        vision=_dict(whole, "vision_config"),
        audio=_dict(whole, "audio_config"),
        quantization=_dict(whole, "quantization_config") or _dict(text, "quantization_config"),
        projector={key: value for key, value in whole.items() if not isinstance(value, dict)},
    )


def _text_part(whole: dict[str, Any], name: str) -> dict[str, Any]:
    """The part that describes the language model, with what only the top level says."""
    for key in _TEXT_PARTS:
        part = whole.get(key)
        if isinstance(part, dict):
            if key == "thinker_config":
                return _text_part(part, name)
            shared = {k: whole[k] for k in ("dtype", "torch_dtype", "tie_word_embeddings") if k in whole}
            return {"model_type": whole.get("model_type", ""), **shared, **part}
    if "model_type" not in whole:
        raise ConfigError(f"{name}.model_type: is missing; give the config.json of a language model")
    return whole


def _with_defaults(text: dict[str, Any]) -> dict[str, Any]:
    kind = str(text.get("model_type"))
    values = {**_DEFAULTS.get(kind, {}), **text}
    if kind == "gpt2" and "n_inner" not in values and isinstance(values.get("n_embd"), int):
        values["n_inner"] = 4 * values["n_embd"]
    if kind in ("falcon", "bloom") and "ffn_hidden_size" not in values and isinstance(values.get("hidden_size"), int):
        values["intermediate_size"] = 4 * values["hidden_size"]
    if kind == "falcon" and values.get("multi_query") and not values.get("new_decoder_architecture"):
        values["num_kv_heads"] = 1
    if not any(key in values for key in ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")):
        sizes = {"intermediate_size": values.get("moe_intermediate_size")}  # every layer has experts
        values |= {key: value for key, value in sizes.items() if value is not None}
    values.setdefault("tie_word_embeddings", kind in _TIED)
    if kind.startswith(_WINDOW_ASKED_FOR):
        values.setdefault("use_sliding_window", False)
    return values


def _check_heads(config: TextConfig, name: str) -> None:
    if config.kv_lora_rank is None and config.kv_heads and config.heads % config.kv_heads:
        raise ConfigError(
            f"{name}.num_key_value_heads: {config.kv_heads} does not divide {config.heads} attention heads; "
            "give the model's own config.json"
        )
    if config.head_dim is None and config.kv_lora_rank is None and config.hidden_size % config.heads:
        raise ConfigError(
            f"{name}.num_attention_heads: {config.heads} does not divide hidden_size {config.hidden_size} and there "
            "is no head_dim; give the model's own config.json"
        )


def _architecture(whole: dict[str, Any]) -> str:
    names = whole.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _dict(values: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = values.get(key)
    return _without_nulls(value) if isinstance(value, dict) else None


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """A null says the same as a missing key."""
    return {key: value for key, value in values.items() if value is not None}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
