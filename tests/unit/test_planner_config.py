"""A bad config.json is one ConfigError, whatever is wrong with it; what is left out has its family's default."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.models import small, small_config
from vllm_fleet.planner.catalogue import subject_of
from vllm_fleet.planner.memory import estimate
from vllm_fleet.planner.model_config import TextConfig, parse_model_config, read_model_config
from vllm_fleet.planner.report import summary
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema import ConfigError
from vllm_fleet.schema.gpu import gpu

L4 = gpu("l4")


def refused(path: Path) -> str:
    """The message of the one error that this file is, within a second."""
    start = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        subject_of(read_model_config(path, "m"))
    assert time.perf_counter() - start < 1
    check_lines(caught.value.message)
    return caught.value.message.replace(str(path), "PATH")


def check_lines(message: str) -> None:
    for line in message.split("\n"):
        assert re.fullmatch(r"[^\s:][^:]*: .+; .+", line), line


@pytest.fixture
def write(tmp_path: Path):
    def written(content: str | bytes | dict[str, Any]) -> Path:
        path = tmp_path / "config.json"
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


# ---- files that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, what",
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("<html></html>", "is not JSON"),
        ("\ufeff{}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a":' * 100_000, "is not JSON"),
        ('{"hidden_size": ' + "1" * 5000 + "}", "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not text"),
        (b"\x80\x04\x95pickle", "is not text"),
        ("[]", "is not a JSON object"),
        ("3", "is not a JSON object"),
        ('"llama"', "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("{}", "is missing"),
    ],
)
def test_what_is_no_configuration_is_refused(write, content, what):
    assert re.match(rf"(PATH|m|m\.model_type): {what}", refused(write(content)))


def test_nesting_below_the_readers_limit_does_no_harm(write):
    deep = "[" * 900 + "]" * 900
    good = json.dumps(small_config())
    assert subject_of(read_model_config(write(good[:-1] + f', "future_key": {deep}}}'))).model.parameters
    assert refused(write(good[:-1] + f', "hidden_size": {deep}}}')).startswith("m.hidden_size: ")


def test_a_gigabyte_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    path.touch()
    os.truncate(path, 2**30)
    assert refused(path) == ("PATH: is larger than 16 MiB, a config.json has kilobytes; give the model's config.json")


def test_a_device_without_end_is_not_read_to_its_end():
    assert "is larger than 16 MiB" in refused(Path("/dev/zero"))


def test_paths_that_lead_nowhere(tmp_path):
    assert refused(tmp_path) == (
        "PATH: cannot be read (No such file or directory); give a directory with a config.json"
    )
    assert "(No such file or directory)" in refused(tmp_path / "missing.json")
    (tmp_path / "config.json").mkdir()
    assert "(Is a directory)" in refused(tmp_path)


def test_a_file_whose_reading_fails():
    # root may read every file, whatever its mode; the memory at address 0 nobody may
    assert refused(Path("/proc/self/mem")) == (
        "PATH: cannot be read (Input/output error); give a directory with a config.json"
    )


# ---- keys and values ----------------------------------------------------------------------------------------------

REQUIRED = ["model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("how", ["missing", "null"])
def test_a_key_that_is_missing_or_null_is_named(write, key, how):
    values = small_config(model_type="olmo2")  # a type without defaults
    values[key] = None
    if how == "missing":
        del values[key]
    message = refused(write(values))
    assert re.fullmatch(rf"m\.{key}: is (required|missing); .+", message)


def test_all_that_is_missing_is_listed_at_once(write):
    lines = refused(write({"model_type": "olmo2", "text_config": {}})).split("\n")
    assert sorted(lines) == sorted(f"m.{key}: is required; add it" for key in REQUIRED[1:])


ABSURD = [0, -1, 10**30, -(10**30), 1.5, 4096.0, 1e30, math.nan, math.inf, "4096", True, [4096], {"a": 1}]


@pytest.mark.parametrize("key", REQUIRED[1:])
@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_a_size_that_is_none_is_refused(write, key, value):
    message = refused(write(small_config(**{key: value})))
    assert message.startswith(f"m.{key}: ")
    assert message.count("\n") == 0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_key_value_heads": 3}, "m.num_key_value_heads: 3 does not divide 8 attention heads"),
        ({"num_key_value_heads": 16}, "m.num_key_value_heads: 16 does not divide 8 attention heads"),
        ({"num_attention_heads": 12}, "m.num_attention_heads: 12 does not divide hidden_size 128"),
        ({"moe_layer_freq": 0, "num_experts": 4}, "m.moe_layer_freq.constrained-int: "),
        ({"decoder_sparse_step": 0, "num_experts": 4}, "m.decoder_sparse_step: "),
        ({"sliding_window": -5}, "m.sliding_window: "),
        ({"layer_types": [1, 2, 3, 4]}, "m.layer_types.0: "),
        ({"layer_types": "sliding_attention"}, "m.layer_types: "),
        ({"rope_scaling": "yarn"}, "m.rope_scaling: "),
        ({"tie_word_embeddings": "yes"}, "m.tie_word_embeddings: "),
        ({"num_hidden_layers": 10**4}, "m.num_hidden_layers: "),
        ({"is_encoder_decoder": True}, "m.is_encoder_decoder: encoder-decoder models cannot be sized; "),
        ({"model_type": 7}, "m.model_type: "),
    ],
)
def test_values_that_contradict_each_other_or_their_type(write, changes, message):
    assert refused(write(small_config(**changes))).startswith(message)


def test_a_text_config_is_where_the_text_model_is(write):
    part = small_config()
    whole = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "text_config": part}
    assert subject_of(read_model_config(write(whole))).model.parameters == small().model.parameters
    del part["hidden_size"]
    assert refused(write(whole)) == "m.hidden_size: is required; add it"


@pytest.mark.parametrize(
    "quantization, message",
    [
        ([], r"m\.quantization_config: is no object; "),
        ("awq", r"m\.quantization_config: is no object; "),
        (4, r"m\.quantization_config: is no object; "),
        ({"bits": 4}, r"m\.quantization_config\.quant_method: 'nothing' has no sizes"),
        ({"quant_method": "aqlm"}, r"m\.quantization_config\.quant_method: 'aqlm' has no sizes"),
        ({"quant_method": ["awq"]}, r"m\.quantization_config\.quant_method: .* has no sizes"),
        ({"quant_method": "awq", "bits": "four"}, r"m\.quantization_config\.bits: 'four' is no width"),
        ({"quant_method": "gptq", "bits": 5}, r"m\.quantization_config\.bits: 5 is no width"),
        ({"quant_method": "gptq", "bits": [4]}, r"m\.quantization_config\.bits: \[4\] is no width"),
        ({"quant_method": "gptq", "group_size": "128"}, r"m\.quantization_config\.group_size: '128' is no group"),
        ({"quant_method": "gptq", "group_size": 10**30}, r"m\.quantization_config\.group_size: 10+ is no group"),
        ({"quant_method": "fp8", "weight_block_size": [0, 0]}, r"m\.quantization_config\.weight_block_size: "),
        ({"quant_method": "fp8", "weight_block_size": ["a", "a"]}, r"m\.quantization_config\.weight_block_size: "),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"m\.quantization_config\.weight_block_size: "),
        ({"quant_method": "fp8", "weight_block_size": 128}, r"m\.quantization_config\.weight_block_size: "),
        ({"quant_method": "compressed-tensors"}, r"m\.quantization_config\.config_groups: is missing"),
        ({"quant_method": "compressed-tensors", "config_groups": []}, r"m\.quantization_config\.config_groups: "),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": "Linear"}},
            r"m\.quantization_config\.config_groups\.group_0\.weights: is missing",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 7}}}},
            r"m\.quantization_config\.config_groups\.group_0\.weights\.num_bits: 7 is no width",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"strategy": "block", "block_structure": [64, 128]}}},
            },
            r"m\.quantization_config\.config_groups\.group_0\.weights\.block_structure: ",
        ),
    ],
)
def test_a_quantization_of_an_odd_shape_is_refused(write, quantization, message):
    found = refused(write(small_config(quantization_config=quantization)))
    assert re.match(message, found), found
    assert found.count("\n") == 0


# ---- anything else ------------------------------------------------------------------------------------------------

GROUP = {"weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 16]}}
GOOD: list[dict[str, Any]] = [
    small_config(rope_scaling={"rope_type": "linear", "factor": 2.0}, sliding_window=64, dtype="bfloat16"),
    small_config(
        model_type="deepseek_v3", kv_lora_rank=32, q_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4,
        v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
        first_k_dense_replace=1, moe_layer_freq=1, index_n_heads=2, index_head_dim=8,
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128], "ignored_layers": ["lm_head"]},
    ),
    small_config(
        model_type="qwen3_next", full_attention_interval=2, linear_num_key_heads=2, linear_num_value_heads=4,
        linear_key_head_dim=8, linear_value_head_dim=8, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=16, mlp_only_layers=[0], decoder_sparse_step=1,
    ),
    small_config(
        model_type="gemma3", text_config={**small_config(model_type="gemma3_text"), "sliding_window": 64},
        vision_config={"model_type": "siglip", "hidden_size": 8, "num_hidden_layers": 2, "image_size": 28},
    ),
    small_config(
        layer_types=["sliding_attention", "full_attention"] * 2, sliding_window=32,
        quantization_config={"quant_method": "compressed-tensors", "ignore": ["lm_head"],
                             "config_groups": {"group_0": {**GROUP, "targets": ["Linear"]}}},
    ),
    small_config(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False}),
]  # fmt: skip

KEYS = sorted(
    {name for field in TextConfig.model_fields.values() if field.validation_alias
     for name in field.validation_alias.choices}
    | {name for name, field in TextConfig.model_fields.items() if not field.validation_alias}
)  # fmt: skip

AWKWARD = st.sampled_from(
    [None, *ABSURD, 1, 2, 7, 100_000, 10**8, 10**400, "", "re:(", "full_attention", [], [0, 0], [-1], ["a"], [None], {},
     ["linear_attention"] * 4, ["sliding_attention"], ["unheard_of"] * 9, {"rope_type": "linear", "factor": 1e300},
     {"type": "dynamic", "factor": 10**400}, {"rope_type": "yarn", "original_max_position_embeddings": -1}]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def keys_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every key and element below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, below in pairs for found in ((*path, key), *keys_of(below, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good configuration with one to three of its keys replaced, added or deleted."""
    values = copy.deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(
            st.sampled_from(keys_of(values) or [("model_type",)]) | st.sampled_from(KEYS).map(lambda key: (key,))
        )
        place: Any = values
        for key in path[:-1]:
            place = place[key]
        if draw(st.integers(0, 4)) == 0 and (path[-1] in place if isinstance(place, dict) else True):
            del place[path[-1]]
        else:
            place[path[-1]] = copy.deepcopy(draw(AWKWARD | JSON))  # what is drawn may not be changed
    return values


def changed(number: int, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD[number]), **changes}


@settings(max_examples=150, deadline=None, derandomize=True)
@example(changed(0, rope_scaling={"rope_type": "linear", "factor": math.inf}))
@example(changed(0, rope_scaling={"rope_type": "linear", "factor": 10**400}))
@example(changed(0, layer_types=["linear_attention"] * 4))
@example(changed(1, moe_layer_freq=0))
@example(changed(2, linear_conv_kernel_dim=0))
@example(
    changed(
        4,
        quantization_config={
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {**GROUP, "targets": 5}},
        },
    )
)
@given(damaged())
def test_a_damaged_configuration_is_sized_or_refused(values):
    try:
        found = estimate(subject_of(parse_model_config(values, "m")), Settings(), L4)
        json.dumps(summary(found), allow_nan=False)
    except ConfigError as error:
        check_lines(error.message)
    else:
        assert found.tightest.weights > 0
        assert found.kv_cache_tokens >= 0


@pytest.mark.parametrize("name", ["model.gguf", ""])
def test_gguf_is_named_with_what_to_take_instead(tmp_path, name):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"is GGUF, which this engine is not for; take the model's safetensors"):
        read_model_config(tmp_path / name)
