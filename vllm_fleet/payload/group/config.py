"""What the current release says of the group, and the engine's process commands."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

ENGINES = Path("/etc/vllm-fleet/engines")


@dataclass(frozen=True)
class Member:
    """A host of the group."""

    name: str
    address: str


@dataclass(frozen=True)
class Group:
    """The group as one member sees it (engine.json of its release)."""

    rank: int
    members: tuple[Member, ...]
    """In rank order."""
    port: int
    """Where rank 0 waits for the others."""
    version: str
    """The same on all members that run the same release."""
    drain: tuple[str, ...]
    """The command that lets the engine finish its requests and end; empty: SIGINT to its process does."""
    patience_seconds: int
    """How long another member may run another release: a deploy restarts all, but each drains first."""
    start_seconds: int
    start: str
    """The program that becomes the engine."""
    url: str
    """Where rank 0 answers."""
    model_name: str
    directory: Path
    """The engine's: its releases, links and secret."""

    @property
    def own(self) -> Member:
        return self.members[self.rank]

    @property
    def leader(self) -> Member:
        return self.members[0]

    def name_of(self, rank: int) -> str:
        return f"rank {rank} ({self.members[rank].name})"


def load(instance: str, engines: Path) -> Group:
    """The group of the release that `current` names. Raises OSError, ValueError or KeyError for broken files."""
    # the link is read once: a deploy may switch it meanwhile
    directory = engines / instance
    release = directory / os.readlink(directory / "current")
    engine = json.loads((release / "engine.json").read_text(encoding="utf-8"))
    group = engine["group"]
    return Group(
        rank=engine["rank"],
        members=tuple(Member(**member) for member in group["members"]),
        port=group["port"],
        version=group["version"],
        drain=tuple(group["drain"]),
        patience_seconds=group["patience_seconds"],
        start_seconds=engine["start_seconds"],
        start=str(release / "start"),
        url=engine["url"],
        model_name=engine["model_name"],
        directory=directory,
    )
