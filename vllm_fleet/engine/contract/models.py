"""What is known of a checkpoint before it is on a host: its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import vllm_fleet.planner
from vllm_fleet.schema.weights import Directory, Weights

_CATALOGUE = Path(vllm_fleet.planner.__file__).parent / "models"


def config_of(model: Weights) -> Mapping[str, Any]:
    """The content of its config.json; empty where it is not known here."""
    path = config_path(model)
    return _read(path) if path else {}


def config_path(model: Weights) -> Path | None:
    """Its config.json: in its own directory where that can be read from here, else the catalogue's."""
    own = [Path(model.path) / "config.json"] if isinstance(model, Directory) else []
    for path in [*own, _CATALOGUE / f"{model.name.replace('/', '--')}.json"]:
        if path.is_file():
            return path
    return None


@cache
def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # `fleet plan` and vLLM say what is wrong with it
    return content if isinstance(content, dict) else {}
