"""What config.json does not say: the traits that a model type has in its code.

Source: the models' `modeling_*.py` in transformers 5.19 and vLLM 0.33's `model_executor/models`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vllm_fleet.planner.model_config import UnsizedError


@dataclass(frozen=True)
class Family:
    """Traits of a model type; the defaults are Llama's."""

    known: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    bias_on_output: bool = True
    """Whether `attention_bias` is about the output projection too."""
    mlp_bias: bool = False
    expert_bias: bool = False
    gated: bool = True
    """gate, up and down; False: up and down."""
    norms: int = 2
    """Norms of hidden_size a layer."""
    qk_norm: Literal["head", "all"] | None = None
    hidden_copies: int = 4
    """Tensors of hidden_size alive at the peak of a step: measured for the types named with other numbers."""
    rope_tables: int = 1
    """Tables of angles: Gemma 3 has one for its windows and a stretched one for the whole context."""
    causal: bool = True
    """False: an encoder, every token attends to every other, and nothing is kept for later."""
    sinks: bool = False
    positions: bool = False
    """Learned positions: one vector of hidden_size for each of max_position_embeddings."""
    gated_attention: bool = False
    """The query projection carries an output gate of the same size (Qwen3-Next)."""
    pattern: int | None = None
    """Every pattern-th layer attends to everything, the others are `local`; where the file has no layer_types."""
    local: str = "sliding_attention"
    shared_expert: bool = False
    """One shared expert of the experts' size, unnamed in the file (Llama 4)."""
    shared_expert_gate: bool = False
    shared_expert_follows_tokens: bool = False
    """Whether the model's code passes is_sequence_parallel on to its shared expert, which is then not divided."""
    interleaved_experts: bool = False
    even_experts: bool = False
    """Whether the code that loads the checkpoint hands each GPU the same number of experts, and leaves a rest out."""


_LLAMA = Family(hidden_copies=3)
_DEEPSEEK = replace(_LLAMA, shared_expert_follows_tokens=True)
_QWEN3_NEXT = Family(
    qk_norm="head",
    gated_attention=True,
    pattern=4,
    local="linear_attention",
    shared_expert_follows_tokens=True,
)
_BERT = Family(causal=False, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False, norms=4, positions=True)
_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        ("llama", "mistral", "ministral3", "mixtral", "phi3", "granitemoe", "granitemoeshared", "internlm3",
         "seed_oss", "smollm3", "exaone", "minicpm", "phimoe", "stablelm", "glm4v_text", "ernie4_5", "ernie4_5_moe",
         "hunyuan_v1_dense"),
        _LLAMA,
    ),
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "mistral4"), _DEEPSEEK
    ),
    "granite": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen2_vl": Family(qkv_bias=True),
    "qwen2_vl_text": Family(qkv_bias=True),
    "qwen2_5_vl": Family(qkv_bias=True, hidden_copies=3),
    "qwen2_5_vl_text": Family(qkv_bias=True, hidden_copies=3),
    "qwen2_moe": Family(qkv_bias=True, shared_expert_gate=True),
    "qwen3": Family(qk_norm="head"),
    "qwen3_moe": Family(qk_norm="head"),
    "qwen3_vl_text": Family(qk_norm="head"),
    "qwen3_vl_moe_text": Family(qk_norm="head"),
    "qwen3_next": replace(_QWEN3_NEXT, shared_expert_gate=True),
    "qwen3_5_text": _QWEN3_NEXT,
    "qwen3_5_moe_text": replace(_QWEN3_NEXT, shared_expert_gate=True),
    "gemma": _LLAMA,
    "gemma2": Family(norms=4, hidden_copies=5, pattern=2),
    "gemma3_text": Family(rope_tables=2, norms=4, hidden_copies=5, qk_norm="head", pattern=6),
    "gpt_oss": Family(qkv_bias=True, o_bias=True, expert_bias=True, sinks=True, pattern=2, even_experts=True),
    "llama4_text": Family(
        pattern=4, local="chunked_attention", shared_expert=True, shared_expert_follows_tokens=True,
        interleaved_experts=True,
    ),
    "glm4": Family(norms=4),
    "glm": _LLAMA,
    "glm4_moe": Family(bias_on_output=False),
    "olmo": Family(norms=0),
    "olmo2": Family(hidden_copies=7, qk_norm="all"),
    "olmo3": Family(hidden_copies=7, qk_norm="all", pattern=4),
    "olmoe": Family(qk_norm="all"),
    "cohere": Family(norms=1, hidden_copies=5),
    "cohere2": Family(norms=1, hidden_copies=5, pattern=4),
    "starcoder2": Family(gated=False, qkv_bias=True, o_bias=True, mlp_bias=True),
    "phi": Family(qkv_bias=True, o_bias=True, mlp_bias=True, gated=False, norms=1),
    "falcon": Family(gated=False),
    "gpt_neox": Family(qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "gpt2": Family(positions=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "opt": Family(positions=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False),
    "nemotron": Family(gated=False),
    "arcee": Family(gated=False),
    "apertus": Family(gated=False, qk_norm="head"),
    "exaone4": Family(qk_norm="head", pattern=4),
    "minimax_m2": Family(qk_norm="all"),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}  # fmt: skip

# layers that keep other state than these are not counted here
_OTHER_STATE = {
    "mamba", "mamba2", "falcon_mamba", "jamba", "zamba2", "falcon_h1", "bamba", "nemotron_h", "granitemoehybrid",
    "lfm2", "lfm2_moe", "kimi_linear", "minimax", "recurrent_gemma", "rwkv", "plamo2", "bailing_moe_linear",
    "deepseek_v4", "gemma3n_text", "gemma4_text",
}  # fmt: skip


def family_of(model_type: str, name: str) -> Family:
    """The traits of a model type; a new one is taken for a Llama and says so (`known`).

    Raises UnsizedError for those whose layers are known to be of another kind.
    """
    if model_type in _OTHER_STATE:
        raise UnsizedError(
            f"{name}.model_type: {model_type!r} has layers the planner cannot size (state-space or shared caches); "
            "start it once and read `GPU KV cache size` in its log"
        )
    return _FAMILIES.get(model_type, Family(known=False))
