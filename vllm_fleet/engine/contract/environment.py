"""The environment of an engine against what vLLM reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vllm_fleet.engine.contract import removed
from vllm_fleet.engine.contract.snapshot import Kind, Snapshot
from vllm_fleet.engine.contract.values import Refused, in_range, meant, read
from vllm_fleet.schema.errors import Problem


def check(snapshot: Snapshot, environment: Mapping[str, str], prefix: str) -> Iterator[Problem]:
    """Problems of the variables that begin with VLLM_, and of others that vLLM reads; the rest is not vLLM's.

    Each stands at `prefix` and its name.
    """
    for name, value in environment.items():
        kind = snapshot.environment.get(name)
        if kind is None and name.startswith("VLLM_"):
            yield _unknown(snapshot, name, f"{prefix}{name}")
        elif kind is not None:
            try:
                _take(kind, value)
            except Refused as refused:
                yield refused.at(f"{prefix}{name}")


def _unknown(snapshot: Snapshot, name: str, path: str) -> Problem:
    if gone := removed.ENVIRONMENT.get(name):
        return Problem(path, gone.what, gone.instead)
    fix = meant(name, snapshot.environment)
    fix = fix if fix.startswith("did you") else "remove it"
    return Problem(path, f"vLLM {snapshot.version} does not read it", fix)


def _take(kind: Kind, text: str) -> None:
    """Raises Refused for a value that vLLM's reader of the variable refuses, or takes for something else."""
    if kind.type == "bool":
        words = ("0", "1", "true", "false") if kind.words else ("0", "1")
        if text.lower() not in words:
            raise Refused(f"must be 0 or 1, got {text!r}", "change it")
    elif kind.choices:
        for part in text.split(",") if kind.many else [text]:
            in_range(kind, part.strip())
    elif text:
        read(kind, text)
