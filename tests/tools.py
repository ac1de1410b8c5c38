"""The real programs that check rendered files."""

import shutil

import pytest


def tool(name: str) -> str:
    """The path of a program that `make tools` provides; its absence fails the test: a check left out is none."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not on PATH; run `make tools`, and the tests through make")
    return path
