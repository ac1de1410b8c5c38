"""The real programs that check rendered files."""

from __future__ import annotations

import shutil

import pytest

from lab.topology import PATHS


def tool(name: str, release: str | None = None) -> str:
    """The path of a program that `make tools` provides, of a Debian release or as it is on PATH; its absence fails the
    test: a check left out is none."""
    path = shutil.which(name, path=str(PATHS.tools(release)) if release else None)
    if path is None:
        pytest.fail(
            f"{name} is not {f'there for {release}' if release else 'on PATH'}; run `make tools`, and the tests "
            "through make"
        )
    return path
