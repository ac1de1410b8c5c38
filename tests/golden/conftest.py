"""Rendered files compared whole with those in `expected/`; UPDATE_GOLDEN=1 writes them anew, for review in git."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

_EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """`golden("haproxy.cfg", text)` fails unless `expected/haproxy.cfg` holds exactly that text."""

    def compare(name: str, content: str) -> None:
        path = _EXPECTED / name
        if os.environ.get("UPDATE_GOLDEN") == "1":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        assert content == path.read_text(encoding="utf-8"), f"{name} differs; see the diff, or run with UPDATE_GOLDEN=1"

    return compare
