"""Quantized weights: bytes of a matrix and of published checkpoints, and which matrices stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import COUNTED, content, shipped, small
from vllm_fleet.planner.quantization import ON_LOAD, Quantization, parse_quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.weights import checkpoint_share

INPUTS, OUTPUTS = 1024, 512


def group(**weights: Any) -> dict[str, Any]:
    """A compressed-tensors quantization with one group."""
    activations = weights.pop("activations", None)
    targets = weights.pop("targets", ["Linear"])
    one = {"targets": targets, "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": one}}


@pytest.mark.parametrize(
    "values, expected, compute",
    [
        # 4 bits an element; 8 groups of 128 inputs an output, each with 2 bytes of scale and half one of zero point
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 262144 + 8 * 512 * 2 + 8 * 512 // 2, "fp16"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 262144 + 16 * 512 * 2 + 16 * 512 // 2, "fp16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, 262144 + 8192 + 2048, "fp16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False}, 262144 + 8192 + 2048, "fp16"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 524288 + 512 * 2 + 512, "fp16"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, 262144 + 8192 + 2048, "fp16"),
        ({"quant_method": "fp8"}, 524288 + 512 * 4, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, 524288 + 512 * 4, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 524288 + 8 * 4 * 4, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": None}, 524288 + 512 * 4, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 262144 + 16 * 512 * 4, "fp16"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 524288 + 512 * 4, "int8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, 524288 + 512 * 4, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 262144 + 64 * 512, "fp4"),
        # compressed-tensors: W8A8 INT8, FP8 (whole, by channel, in blocks), W4A16, NVFP4
        (group(num_bits=8, type="int", strategy="channel", activations={"num_bits": 8}), 524288 + 512 * 4, "int8"),
        (group(num_bits=8, type="float", strategy="tensor", activations={"num_bits": 8}), 524288 + 512 * 4, "fp8"),
        (
            group(num_bits=8, type="float", strategy="block", block_structure=[128, 128], activations={"num_bits": 8}),
            524288 + 8 * 4 * 4,
            "fp8",
        ),
        (group(num_bits=4, type="int", strategy="group", group_size=128), 262144 + 8 * 512 * 2, "fp16"),
        (
            group(num_bits=4, type="int", strategy="group", group_size=128, symmetric=False),
            262144 + 8 * 512 * 2 + 8 * 512 // 2,
            "fp16",
        ),
        (
            group(num_bits=4, type="float", strategy="tensor_group", group_size=16, activations={"num_bits": 4}),
            262144 + 64 * 512,
            "fp4",
        ),
    ],
)
def test_bytes_of_a_matrix_and_the_type_it_is_multiplied_in(values, expected, compute):
    form = parse_quantization(values, "m").format_of("model.layers.0.mlp.up_proj")
    assert form is not None
    assert (form.weight_bytes(INPUTS, OUTPUTS), form.compute) == (expected, compute)


def test_sizes_that_groups_and_blocks_do_not_divide_have_one_more_scale():
    awq = parse_quantization({"quant_method": "awq", "bits": 4, "group_size": 128}, "m").format
    assert awq.weight_bytes(130, 8) == 130 * 8 // 2 + 2 * 8 * 2 + 2 * 8 // 2
    blocks = parse_quantization({"quant_method": "fp8", "weight_block_size": [128, 128]}, "m").format
    assert blocks.weight_bytes(129, 129) == 129 * 129 + 2 * 2 * 4


def test_mxfp4_is_for_experts_only():
    made = parse_quantization({"quant_method": "mxfp4"}, "m")
    assert made.format_of("model.layers.0.self_attn.q_proj") is None
    form = made.format_of("model.layers.0.mlp.experts.0.up_proj", expert=True)
    assert form is not None
    assert form.weight_bytes(INPUTS, OUTPUTS) == 262144 + 32 * 512


def bytes_of(name: str) -> int:
    subject = shipped(name)
    return checkpoint_share(subject.model, subject.quantization, Settings(), 0)


@pytest.mark.parametrize(
    "name", ["hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "openai/gpt-oss-20b", "openai/gpt-oss-120b"]
)
def test_a_checkpoint_has_the_size_that_was_published(name):
    assert bytes_of(name) == pytest.approx(COUNTED[name]["published_bytes"], rel=1e-4)


def test_of_symmetric_gptq_zero_points_stay_behind():
    name = "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16"
    zero_points = COUNTED[name]["linear"] // 128 // 2  # in the files, and not in the engine
    assert bytes_of(name) + zero_points == pytest.approx(COUNTED[name]["published_bytes"], rel=0.005)


def test_deepseeks_files_hold_one_more_layer_for_multi_token_prediction():
    subject = shipped("deepseek-ai/DeepSeek-V3")
    hidden, vocabulary = 7168, 129280
    sixty, sixty_one = (
        checkpoint_share(small_by(layers).model, subject.quantization, Settings(), 0) for layers in (60, 61)
    )
    more = (sixty_one - sixty) + 2 * vocabulary * hidden * 2 + 2 * hidden * hidden * 2
    published = COUNTED["deepseek-ai/DeepSeek-V3"]["published_bytes"]
    assert bytes_of("deepseek-ai/DeepSeek-V3") + more == pytest.approx(published, rel=0.0005)


def small_by(layers: int):
    return small(**{**content("deepseek-ai/DeepSeek-V3"), "num_hidden_layers": layers})


@pytest.mark.parametrize(
    "name", [name for name in COUNTED if shipped(name).quantization is None and name != "BAAI/bge-m3"]
)
def test_unquantized_weights_take_two_bytes_each(name):
    assert bytes_of(name) == pytest.approx(2 * COUNTED[name]["parameters"], rel=0.002)


def test_quantizing_on_load_halves_and_quarters_the_matrices():
    model = shipped("meta-llama/Llama-3.1-8B-Instruct").model
    matrices = 2 * COUNTED["meta-llama/Llama-3.1-8B-Instruct"]["linear"]
    plain, fp8, nf4 = (
        checkpoint_share(model, made, Settings(), 0) for made in (None, ON_LOAD["fp8"], ON_LOAD["bitsandbytes"])
    )
    assert plain - fp8 == pytest.approx(matrices / 2, rel=0.001)
    # NF4: half a byte, and 4 bytes a block of 64
    assert plain - nf4 == pytest.approx(matrices * (1 - 1 / 4 - 1 / 32), rel=0.001)


# ---- exceptions and targets ---------------------------------------------------------------------------------------


def excepting(*names: str, key: str = "modules_to_not_convert") -> Quantization:
    return parse_quantization({"quant_method": "fp8", key: list(names)}, "m")


@pytest.mark.parametrize("key", ["modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules"])
def test_every_name_of_the_list_of_exceptions_is_known(key):
    made = excepting("mlp.down_proj", key=key)
    assert made.format_of("model.layers.3.mlp.down_proj") is None
    assert made.format_of("model.layers.3.mlp.up_proj")


@pytest.mark.parametrize(
    "entry, name, excepted",
    [
        ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj", True),
        ("model.layers.0.mlp.up_proj", "model.layers.10.mlp.up_proj", False),
        ("model.layers.1", "model.layers.1.self_attn.q_proj", True),
        ("model.layers.1", "model.layers.11.self_attn.q_proj", False),
        ("self_attn", "model.layers.0.self_attn.q_proj", True),
        ("o_proj", "model.layers.7.self_attn.o_proj", True),
        ("proj", "model.layers.7.self_attn.o_proj", False),
        ("lm_head", "model.layers.7.self_attn.o_proj", False),
        # wildcards
        ("model.layers.*.self_attn", "model.layers.5.self_attn.v_proj", True),
        ("model.layers.*.self_attn", "model.layers.5.mlp.up_proj", False),
        ("*.shared_expert*", "model.layers.5.mlp.shared_experts.up_proj", True),
        # patterns of compressed-tensors, from the name's beginning
        ("re:.*mlp.down_proj", "model.layers.5.mlp.down_proj", True),
        (r"re:.*self_attn\..*", "model.layers.5.mlp.down_proj", False),
        ("re:self_attn", "model.layers.5.self_attn.q_proj", False),
        ("re:(", "model.layers.5.self_attn.q_proj", False),
        # multimodal checkpoints put a prefix before the language model's names
        ("language_model.model.layers.2.mlp.up_proj", "model.layers.2.mlp.up_proj", True),
        ("model.language_model.layers.2", "model.layers.2.mlp.up_proj", True),
        ("vision_tower.encoder.layers.2.mlp", "model.layers.2.mlp.up_proj", False),
        ("model.visual.layers.2.mlp.up_proj", "model.layers.2.mlp.up_proj", False),
    ],
)
def test_an_exception_means_what_the_checkpoints_tool_meant(entry, name, excepted):
    assert (excepting(entry).format_of(name) is None) is excepted


def test_llama_405b_keeps_its_attention_and_its_outer_layers():
    subject = shipped("meta-llama/Llama-3.1-405B-Instruct-FP8")
    made = subject.quantization
    assert made is not None

    def quantized(index: int, name: str) -> bool:
        return made.format_of(f"model.layers.{index}.{name}") is not None

    assert [index for index in range(126) if not quantized(index, "mlp.up_proj")] == [0, 125]
    assert not any(quantized(index, "self_attn.q_proj") for index in range(126))
    assert bytes_of("meta-llama/Llama-3.1-405B-Instruct-FP8") < 0.65 * bytes_of("meta-llama/Llama-3.1-405B-Instruct")


def test_groups_of_compressed_tensors_have_their_own_targets():
    eight = {"num_bits": 8, "type": "float", "strategy": "channel"}
    four = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    groups = {
        "group_0": {"targets": ["re:.*self_attn.*"], "weights": eight, "input_activations": {"num_bits": 8}},
        "group_1": {"targets": ["re:.*mlp.*"], "weights": four},
    }
    made = parse_quantization(
        {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["up_proj"]}, "m"
    )
    found = {
        name: form and form.bits
        for name in ("self_attn.q_proj", "mlp.down_proj", "mlp.up_proj", "other.linear")
        for form in [made.format_of(f"model.layers.0.{name}")]
    }
    assert found == {"self_attn.q_proj": 8, "mlp.down_proj": 4, "mlp.up_proj": None, "other.linear": None}


def test_routers_and_biases_are_never_quantized():
    values = {"num_local_experts": 2, "num_experts_per_tok": 1, "attention_bias": True}
    plain = small(**values)
    quantized = small(**values, quantization_config={"quant_method": "fp8"})
    layer = plain.model.layers[0]
    matrices = sum(each.copies * each.inputs * each.outputs for each in layer.linears if not each.plain)
    scales = sum(each.copies * each.outputs * 4 for each in layer.linears if not each.plain)
    one, other = (checkpoint_share(each.model, each.quantization, Settings(), 0) for each in (plain, quantized))
    assert one - other == 4 * (matrices - scales)
    assert any(each.plain for each in layer.linears)
