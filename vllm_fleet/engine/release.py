"""A release: the files that decide how an engine runs, in a directory named by their content."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, replace

from vllm_fleet import paths
from vllm_fleet.engine.command import FOLLOW_PROGRAM, container_name, start_command, stop_command
from vllm_fleet.engine.environment import environment
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Container, Host


@dataclass(frozen=True)
class Release:
    """Files by name, each with its mode. The same placement always gives the same release."""

    instance: str
    files: tuple[tuple[str, str, str], ...]
    """(name, mode, content)"""

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps(self.files).encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        return f"{paths.engine(self.instance)}/releases/{self.id}"


def release(placement: Placement) -> Release:
    """The release of one engine: `start` (what runs), `environment`, and `engine.json` for probes and people."""
    lines = [f"{name}={value}\n" for name, value in sorted(environment(placement).items())]
    return Release(
        instance=placement.instance,
        files=(
            ("environment", "0644", "".join(lines)),
            ("engine.json", "0644", json.dumps(_facts(placement), indent=2) + "\n"),
            ("start", "0755", _start_script(placement)),
        ),
    )


def configuration(placement: Placement) -> str:
    """The same for all engines of a service that run alike, on whatever host: a digest of what rank 0 would run on a
    host without an address. (Releases differ from engine to engine, for addresses and GPUs are in them.)"""
    nowhere = tuple(Host(name="any", address="0.0.0.0") for _ in placement.members)
    return _digest(replace(placement, host=nowhere[0], members=nowhere, replica=0, head_slot=0))


def release_id(placement: Placement) -> str:
    """The name of an engine's release."""
    return release(placement).id


def _start_script(placement: Placement) -> str:
    """What the unit runs, with one option a line, so that a person on call can read and try it."""
    command = _lines(start_command(placement))
    if isinstance(placement.service.runtime, Container):
        # the unit follows the container rather than being it: a restart of the Docker daemon leaves it running
        return f"#!/bin/sh\nset -e\n{command} > /dev/null\nexec {FOLLOW_PROGRAM} {container_name(placement)}\n"
    return f"#!/bin/sh\nexec {command}\n"


def _lines(argv: list[str]) -> str:
    words = [shlex.quote(word) for word in argv]
    lines = [words[0]]
    for word in words[1:]:
        if word.startswith("-") or not lines[-1].startswith("-") or " " in lines[-1]:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return " \\\n  ".join(lines)


def _facts(placement: Placement) -> dict[str, object]:
    service = placement.service
    return {
        "instance": placement.instance,
        "unit": placement.unit,
        "service": service.name,
        "replica": placement.replica,
        "rank": placement.rank,
        "head": placement.head,
        "url": f"http://{placement.endpoint}",
        "model_name": service.model_name,
        "model": service.model.name,
        "revision": service.model.revision_id,
        "runtime": service.runtime.kind,
        "start_seconds": service.start_seconds,
        "group": _group(placement) if placement.spans_hosts else None,
    }


def _group(placement: Placement) -> dict[str, object]:
    """What payload/group reads."""
    drain_seconds = placement.service.drain_seconds
    return {
        "members": [{"name": member.name, "address": member.address} for member in placement.members],
        "port": placement.group_port,
        "version": _version(placement),
        "drain": stop_command(placement),
        "patience_seconds": drain_seconds + 60,
    }


def _version(placement: Placement) -> str:
    """The same for all ranks of a replica: a digest of what rank 0 runs, without what only its host decides."""
    return _digest(replace(placement, host=placement.members[0]))


def _digest(placement: Placement) -> str:
    """Of what rank 0 would run on this host if it were alone there."""
    first = replace(placement, rank=0, slot=0, slots=1, gpus=())
    made_of = json.dumps([start_command(first), environment(first)])
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]
