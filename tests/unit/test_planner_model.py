"""What a config.json says of a model: its parameters, part by part, and what each layer keeps of a token."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.models import COUNTED, shipped, small
from vllm_fleet.planner.model import Attention, LatentAttention, LinearState, Model
from vllm_fleet.schema import ConfigError

POOLER = 1024 * 1024 + 1024
"""bge-m3's checkpoint holds a dense layer that vLLM does not load (RobertaEmbeddingModel)."""


def parts(model: Model) -> dict[str, int]:
    """The parameters by the parts that tests/data/parameters.json tells apart."""
    counted: Counter[str] = Counter()
    for layer in model.layers:
        for linear in layer.linears:
            router = linear.plain and linear.name.endswith(("gate", "shared_expert_gate"))
            counted["expert" if linear.expert else "router" if router else "linear"] += linear.parameters
    embedding = model.vocab_size * model.hidden_size
    counted["embedding"] = embedding + model.position_parameters
    counted["lm_head"] = 0 if model.tied or model.pooling else embedding
    counted["vision"] = model.encoders.parameters
    return {name: counted[name] for name in ("embedding", "lm_head", "expert", "linear", "router", "vision")}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_those_of_the_modules(name):
    expected = dict(COUNTED[name])
    if name == "BAAI/bge-m3":
        expected["parameters"] -= POOLER
    model = shipped(name).model
    assert model.parameters == pytest.approx(expected["parameters"], rel=1e-3)
    for part, size in parts(model).items():
        assert size == pytest.approx(expected[part], rel=1e-3), part


def test_every_model_of_the_catalogue_is_counted():
    assert all(shipped(name).model.family.known for name in COUNTED)
    assert not any(shipped(name).model.notes for name in COUNTED)
    assert len(COUNTED) >= 60


def windows(name: str) -> list[int | None]:
    return [layer.mixer.window for layer in shipped(name).model.layers]


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("google/gemma-2-9b-it", [4096, None]),
        ("google/gemma-3-12b-it", [1024, 1024, 1024, 1024, 1024, None]),
        ("google/gemma-3-1b-it", [512, 512, 512, 512, 512, None]),
        ("openai/gpt-oss-20b", [128, None]),
        ("mistralai/Mistral-7B-Instruct-v0.1", [4096]),
        ("mistralai/Mistral-7B-Instruct-v0.3", [None]),
        ("microsoft/Phi-3-mini-4k-instruct", [2047]),
        ("Qwen/Qwen2.5-7B-Instruct", [None]),  # the file names a window, and switches it off
        ("Qwen/Qwen3-8B", [None]),
    ],
)
def test_windows_repeat_in_the_pattern_of_the_family(name, pattern):
    found = windows(name)
    assert found == (pattern * len(found))[: len(found)]


def test_the_first_layers_of_deepseek_are_dense():
    layers = shipped("deepseek-ai/DeepSeek-V3").model.layers
    assert [layer.experts for layer in layers] == [0] * 3 + [256] * 58
    mixer = layers[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert (mixer.rank, mixer.rope_dim, mixer.heads) == (512, 64, 128)


def test_three_of_four_layers_of_qwen3_next_keep_a_state():
    kinds = [type(layer.mixer) for layer in shipped("Qwen/Qwen3-Next-80B-A3B-Instruct").model.layers]
    assert kinds == [LinearState, LinearState, LinearState, Attention] * 12


def test_experts_and_how_many_of_them_a_token_meets():
    layer = shipped("mistralai/Mixtral-8x7B-Instruct-v0.1").model.layers[0]
    assert (layer.experts, layer.experts_per_token) == (8, 2)
    # of 8 experts 2 are met: 12.9 billion parameters, as Mistral says, less the embedding and the head
    assert shipped("mistralai/Mixtral-8x7B-Instruct-v0.1").model.active_parameters == pytest.approx(12.62e9, rel=0.005)


def test_embeddings_are_tied_where_the_file_or_the_family_says_so():
    assert shipped("meta-llama/Llama-3.2-1B-Instruct").model.tied
    assert shipped("google/gemma-2-9b-it").model.tied
    assert not shipped("meta-llama/Llama-3.1-8B-Instruct").model.tied
    once, twice = (small(tie_word_embeddings=tied).model.parameters for tied in (True, False))
    assert twice - once == 1000 * 128


def test_a_head_is_hidden_size_over_heads_unless_the_file_says_otherwise():
    assert {layer.mixer.head_dim for layer in small().model.layers} == {16}
    assert {layer.mixer.head_dim for layer in small(head_dim=64).model.layers} == {64}
    assert {layer.mixer.kv_heads for layer in small(num_key_value_heads=None).model.layers} == {8}


def test_layer_types_of_the_file_win_over_the_family():
    types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    model = small(model_type="gemma2", head_dim=16, sliding_window=64, layer_types=types).model
    assert [layer.mixer.window for layer in model.layers] == [None, 64, 64, None]


def test_llama_4_keeps_chunks_in_three_of_four_layers():
    changes = {"model_type": "llama4_text", "attention_chunk_size": 512, "num_local_experts": 2}
    model = small(**changes, interleave_moe_layer_step=2).model
    assert [layer.mixer.chunk for layer in model.layers] == [512, 512, 512, None]
    assert [layer.experts for layer in model.layers] == [0, 2, 0, 2]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 8192),
        # these have stretched max_position_embeddings already (vLLM 0.33, _get_and_verify_max_len)
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}}, 4096),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": float("inf")}}, 4096),
    ],
)
def test_the_longest_context_is_vllms(changes, expected):
    assert small(**changes).model.longest == expected


def test_gemma_3_has_the_context_its_card_names():
    assert shipped("google/gemma-3-27b-it").model.longest == 131072


def test_a_new_model_type_counts_as_a_llama_and_says_so():
    new = small(model_type="llama9").model
    assert new.parameters == small().model.parameters
    assert new.notes == ("model_type 'llama9' is new to the planner: counted as a Llama",)


@pytest.mark.parametrize("kind", ["mamba2", "jamba", "nemotron_h", "granitemoehybrid", "rwkv", "lfm2", "gemma3n_text"])
def test_layers_of_another_kind_are_refused(kind):
    with pytest.raises(ConfigError) as caught:
        small(model_type=kind)
    assert caught.value.message == (
        f"small.model_type: {kind!r} has layers the planner cannot size (state-space or shared caches); "
        "start it once and read `GPU KV cache size` in its log"
    )


def test_linear_layers_without_their_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"^small\.layer_types: names linear layers, and .* are missing; "):
        small(layer_types=["linear_attention"] * 4)


def test_a_vision_tower_counts():
    tower = {"model_type": "siglip_vision_model", "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 16}
    assert small().model.encoders.parameters == 0
    both = small(vision_config=tower).model
    two_layers = 2 * (4 * 8 * 8 + 2 * 8 * 16)
    assert both.encoders.parameters > two_layers
    assert both.parameters - small().model.parameters == both.encoders.parameters
    assert small(vision_config={**tower, "num_hidden_layers": 4}).model.encoders.parameters > both.encoders.parameters
