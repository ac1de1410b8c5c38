"""Options that a model itself contradicts, whatever the GPU: what the plan and the contract refuse in the same words.

Paths are fields of Settings.
"""

from __future__ import annotations

from vllm_fleet.schema import Problem

_SAME = (
    {"awq", "awq_marlin", "auto_awq", "moe_wna16", "inc", "humming"},
    {"gptq", "gptq_marlin", "auto_gptq", "moe_wna16", "inc", "humming"},
    {"fp8", "deepseek_v4_fp8", "humming"},
    {"modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "humming"},
    {"mxfp4", "gpt_oss_mxfp4", "humming"},
)
"""Methods that serve the same checkpoints (each method's override_quantization_method, 0.33)."""

ONLY_CHECKPOINTS = {
    *("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "moe_wna16", "compressed-tensors"),
    *("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "quark", "fbgemm_fp8"),
}
"""Methods that cannot quantize on load: their configuration is a file of the checkpoint (get_config_filenames)."""


def too_long(asked: int | None, longest: int, model: str) -> Problem | None:
    """A context longer than the model's own (_get_and_verify_max_len in config/model.py, 0.33)."""
    if not asked or asked <= longest:
        return None
    return Problem("max_model_len", f"{asked} is more than the {longest} of {model}", f"use {longest} or less")


def other_quantization(asked: str | None, own: str | None, model: str) -> Problem | None:
    """A quantization that is not the checkpoint's `own` (ModelConfig._verify_quantization and get_quant_config in
    model_loader/weight_utils.py, 0.33)."""
    if own is None and asked in ONLY_CHECKPOINTS:
        what = f"{asked!r} needs a checkpoint of it, and {model} is not quantized"
        return Problem("quantization", what, "remove it, or use fp8_per_tensor")
    if asked and own and asked != own and not any({asked, own} <= same for same in _SAME):
        what = f"{asked!r}, but the checkpoint is {own}"
        return Problem("quantization", what, "leave it out: the checkpoint says so itself")
    return None
