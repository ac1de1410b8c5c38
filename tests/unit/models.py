"""Models for the planner's tests: those of the catalogue, and a small one whose numbers fit in the head."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from vllm_fleet.planner.catalogue import catalogued, subject_of
from vllm_fleet.planner.memory import Subject
from vllm_fleet.planner.model_config import parse_model_config, read_model_config

COUNTED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "parameters.json").read_text(encoding="utf-8")
)["models"]
"""What transformers' modules of the catalogue's models count to, by the model's name."""


@cache
def shipped(name: str) -> Subject:
    """A model of the catalogue."""
    path = catalogued(name)
    assert path, name
    return subject_of(read_model_config(path, name))


def content(name: str) -> dict[str, Any]:
    """The config.json of a model of the catalogue."""
    path = catalogued(name)
    assert path, name
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def small_config(**changes: Any) -> dict[str, Any]:
    """A Llama of four layers: 8 heads of 16, two heads a key-value head. `changes` add or replace keys."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        **changes,
    }


def small(**changes: Any) -> Subject:
    return subject_of(parse_model_config(small_config(**changes), "small"))
