"""What is known of a checkpoint before it is on a host: its config.json, as it stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vllm_fleet.planner.catalogue import config_path
from vllm_fleet.schema.weights import Weights


def config_of(model: Weights) -> Mapping[str, Any]:
    """The content of its config.json; empty where it is not known here."""
    path = config_path(model)
    return _read(path) if path else {}


@cache
def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # `fleet plan` and vLLM say what is wrong with it
    return content if isinstance(content, dict) else {}
