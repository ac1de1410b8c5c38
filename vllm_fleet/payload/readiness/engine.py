"""An engine's files: what its current release says, and whether its process was started with that.

The package `engine_facts` has it, too, by a link of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .journal import Unit

ENGINES = Path("/etc/vllm-fleet/engines")


@dataclass(frozen=True)
class Engine:
    """What `current/engine.json` says of an engine, and where that stands."""

    directory: Path
    instance: str
    unit: str
    service: str
    replica: int
    head: bool
    """Whether it answers for its replica."""
    release: str
    url: str
    model_name: str
    start_seconds: int


def load(instance: str, engines: Path) -> Engine:
    """The engine of `current`. Raises OSError, ValueError or KeyError when its files are missing or broken."""
    directory = engines / instance
    # the link is read once: a deploy may switch it meanwhile
    release = Path(os.readlink(directory / "current")).name
    values = json.loads((directory / "releases" / release / "engine.json").read_text(encoding="utf-8"))
    names = ("instance", "unit", "service", "replica", "head", "url", "model_name", "start_seconds")
    return Engine(directory=directory, release=release, **{name: values[name] for name in names})


def switched(directory: Path) -> float:
    """When the engine's release or key last changed, in seconds since the epoch."""
    return max((directory / "current").lstat().st_mtime, (directory / "secret.yaml").stat().st_mtime)


def runs_current(unit: Unit, directory: Path) -> bool:
    """Whether the main process was started after the last switch: ExecStart goes through the link `current`."""
    return unit.pid > 0 and unit.started is not None and unit.started.timestamp() >= switched(directory)
