"""Options against the checkpoint's config.json, where it is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.schema.errors import Problem

_SAME = (
    {"awq", "awq_marlin", "auto_awq", "moe_wna16", "inc", "humming"},
    {"gptq", "gptq_marlin", "auto_gptq", "moe_wna16", "inc", "humming"},
    {"fp8", "deepseek_v4_fp8", "humming"},
    {"modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "humming"},
    {"mxfp4", "gpt_oss_mxfp4", "humming"},
)
"""Methods that serve the same checkpoints (each method's override_quantization_method, 0.33)."""

_ONLY_CHECKPOINTS = {
    *("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "moe_wna16", "compressed-tensors"),
    *("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "quark", "fbgemm_fp8"),
}
"""Methods that cannot quantize on load: their configuration is a file of the checkpoint (get_config_filenames)."""


def checkpoint_method(engine: Engine) -> str | None:
    """How the checkpoint is quantized, by its own word."""
    method = _dict(engine.config.get("quantization_config") or engine.text_config.get("quantization_config"))
    return method.get("quant_method")


_NEVER = re.compile(r"meta-llama/(?!.*FP8)")
"""Repositories of makers that publish no AWQ, GPTQ or other such checkpoint under their own name."""


def quantization(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_quantization and get_quant_config in model_loader/weight_utils.py (0.33)."""
    given, own = engine.get("quantization"), checkpoint_method(engine)
    known = engine.config or _NEVER.match(engine.line.model or "")
    if not known or given not in engine.snapshot.quantization:
        return
    if own is None and given in _ONLY_CHECKPOINTS:
        yield engine.problem(
            "quantization",
            f"{given!r} needs a checkpoint of it, and {_name(engine)} is not quantized",
            "remove it, or use fp8_per_tensor",
        )
    if own and own != given and not any({own, given} <= same for same in _SAME):
        yield engine.problem(
            "quantization", f"{given!r}, but the checkpoint is {own}", "leave it out: the checkpoint says so itself"
        )


def refused_method(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_quantization (0.33), for the checkpoint's own method; met with Llama-3.1-405B-FP8."""
    method = engine.snapshot.quantization.get(checkpoint_method(engine) or "")
    if method and method.deprecated and not engine.get("allow-deprecated-quantization"):
        yield engine.problem(
            "allow-deprecated-quantization",
            f"vLLM refuses {_name(engine)} without it: {checkpoint_method(engine)} is deprecated",
            "add it, or use a checkpoint of another method",
        )


def activation_order(engine: Engine) -> Iterator[Problem]:
    """normalize_and_validate_gptq_desc_act in layers/quantization/utils/gptq_utils.py (0.32, 0.33)."""
    own = _dict(engine.config.get("quantization_config"))
    if checkpoint_method(engine) == "gptq" and own.get("desc_act") is True and own.get("group_size") != -1:
        yield engine.problem(
            "model",
            f"{_name(engine)} has GPTQ groups in activation order (desc_act), which vLLM takes no more",
            "use a checkpoint with desc_act false or static groups",
        )


def expert_parallel(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_with_expert_parallelism (0.33)."""
    keys = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
    if engine.config and engine.get("enable-expert-parallel") and not any(engine.text_config.get(key) for key in keys):
        yield engine.problem("enable-expert-parallel", f"{_name(engine)} has no experts", "remove it")


_NOT_IN_FLOAT16 = {"gemma2", "gemma3", "gemma3_text", "glm4"}


def dtype(engine: Engine) -> Iterator[Problem]:
    """_FLOAT16_NOT_SUPPORTED_MODELS in config/model.py (0.33)."""
    kinds = {engine.config.get("model_type"), engine.text_config.get("model_type")}
    if engine.get("dtype") in ("float16", "half") and kinds & _NOT_IN_FLOAT16:
        yield engine.problem("dtype", f"{_name(engine)} is unstable in float16, and refused", "use auto or bfloat16")


def context(engine: Engine) -> Iterator[Problem]:
    """_get_and_verify_max_len in config/model.py (0.33); a scaled RoPE is left to vLLM, for its rules are many."""
    longest, asked = engine.text_config.get("max_position_embeddings"), engine.get("max-model-len")
    rope = _dict(engine.text_config.get("rope_scaling") or engine.text_config.get("rope_parameters"))
    scaled = rope.get("rope_type", rope.get("type", "default")) not in ("default", "llama3", "mrope")
    allowed = engine.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "").lower() in ("1", "true")
    if not isinstance(longest, int) or not asked or scaled or allowed or engine.get("hf-overrides"):
        return
    if asked > longest:
        yield engine.problem("max-model-len", f"{asked} is more than the {longest} of {_name(engine)}", "lower it")


def runner(engine: Engine) -> Iterator[Problem]:
    """ModelConfig.__post_init__ (0.33): what a model that only pools refuses."""
    names = engine.config.get("architectures") or []
    pools = bool(names) and all(name in engine.snapshot.architectures["pooling"] for name in names)
    if pools and engine.get("runner") == "generate":
        yield engine.problem("runner", f"{_name(engine)} does not generate", "use pooling")


def architecture(engine: Engine) -> Iterator[Problem]:
    """ModelRegistry (0.33); unless it is told otherwise, vLLM runs what it does not know on transformers' code."""
    names = engine.config.get("architectures") or []
    known = frozenset().union(*engine.snapshot.architectures.values())
    if names and not known & set(names) and engine.get("model-impl") == "vllm":
        yield engine.problem("model", f"vLLM {engine.snapshot.version} has no {names[0]}", "use a newer vLLM")


def _name(engine: Engine) -> str:
    return str(engine.config.get("_name_or_path") or engine.line.model or "the model").removeprefix("/")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


RULES: tuple[Rule, ...] = (
    quantization,
    refused_method,
    activation_order,
    expert_parallel,
    dtype,
    context,
    runner,
    architecture,
)
