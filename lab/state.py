"""`.lab/state.json`: the facts about a complete lab that an inventory needs. Written last, and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab import docker_debs, engine_image, grafana_debs, nvidia_debs, tiny_model
from lab.topology import (
    APT_PROXY,
    BRIDGE,
    HOSTS,
    HUB_ENDPOINT,
    MODEL_REPO,
    NODES,
    PATHS,
    PYTHON,
    REGISTRY,
    SUBNET,
    USER,
    WEBHOOKS_URL,
    WHEELS_URL,
    Paths,
)  # fmt: skip


def facts(release: str, paths: Paths) -> dict[str, Any]:
    """Everything, as one JSON object; of plain hosts (LAB_NODES) only what reaches them."""
    hosts = {
        "release": release,
        "bridge": BRIDGE,
        "hosts": HOSTS,
        "subnet": SUBNET,
        "ssh": {
            "user": USER,
            "key": str(paths.ssh / "id_ed25519"),
            "known_hosts": str(paths.ssh / "known_hosts"),
            "config": str(paths.ssh_config),
        },
    }
    if NODES:
        return hosts
    return hosts | {
        "registry": REGISTRY,
        "wheels_url": WHEELS_URL,
        "engine_requirements": str(paths.engine_requirements.relative_to(paths.repo)),
        "apt_proxy": APT_PROXY,
        "docker_apt": docker_debs.for_release(release),
        "nvidia_apt": nvidia_debs.for_hosts(),
        "grafana_apt": grafana_debs.for_hosts(),
        "hub_endpoint": HUB_ENDPOINT,
        "webhooks": WEBHOOKS_URL,
        "engine_image": engine_image.reference(paths),
        "model": {
            "repo": MODEL_REPO,
            "revision": tiny_model.revision(paths),
            "archive": str(tiny_model.archive(paths).relative_to(paths.repo)),
            "archive_sha256": tiny_model.archive_sha256(paths),
            "directory": str(tiny_model.directory(paths).relative_to(paths.repo)),
        },
        "python": PYTHON,
    }


def write(release: str, paths: Paths) -> None:
    """Replace the file in one step."""
    half = paths.state.with_suffix(".half")
    half.write_text(json.dumps(facts(release, paths), indent=2) + "\n")
    half.replace(paths.state)


def read(paths: Paths = PATHS) -> dict[str, Any] | None:
    """The facts, or nothing if no lab is complete."""
    return _read(paths.state)


def read_nodes(paths: Paths = PATHS) -> dict[str, Any] | None:
    """The facts about the plain hosts of LAB_NODES, or nothing if they are not up."""
    return _read(paths.nodes)


def _read(file: Path) -> dict[str, Any] | None:
    return dict(json.loads(file.read_text())) if file.exists() else None
