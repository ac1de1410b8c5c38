"""An engine's files: its release, its unit, its secret."""

from __future__ import annotations

import shlex

import yaml

from vllm_fleet import paths
from vllm_fleet.engine.command import container_name, stop_command
from vllm_fleet.engine.release import Release
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File, fill
from vllm_fleet.schema import Container


def release_files(release: Release) -> list[File]:
    """The files of a release, in its own directory; a release never changes once it is there."""
    return [File(f"{release.directory}/{name}", content, mode) for name, mode, content in release.files]


def unit_file(placement: Placement) -> File:
    """The systemd unit: what differs between releases is behind the link `current`, so this rarely changes."""
    service = placement.service
    return File(
        f"{paths.UNITS}/{placement.unit}",
        fill(
            "vllm-engine.service.j2",
            instance=placement.instance,
            directory=paths.engine(placement.instance),
            group=f"{paths.GROUP_COMMAND} {placement.instance}" if placement.spans_hosts else None,
            cache=paths.cache(placement.instance),
            container=container_name(placement) if isinstance(service.runtime, Container) else None,
            stop=shlex.join(stop_command(placement)),
            user=paths.SERVICE_USER,
            drain_seconds=service.drain_seconds,
            gpus=service.device == "cuda",
        ),
    )


def secret_file(placement: Placement, api_key: str) -> File:
    """The configuration file with the API key; read by the engine's own user only."""
    content = yaml.safe_dump({"api-key": api_key})
    return File(paths.secret(placement.instance), content, "0600", owner=paths.SERVICE_USER, secret=True)
