"""Docker's daemon settings."""

from __future__ import annotations

import json

from vllm_fleet.render.files import File
from vllm_fleet.schema import Versions


def daemon_file(versions: Versions) -> File:
    """`daemon.json`: containers outlive the daemon, GPUs come as CDI devices, logs go to the journal alone."""
    settings: dict[str, object] = {
        "live-restore": True,
        # on by default only from Docker 28
        "features": {"cdi": True},
        # an engine runs in the foreground of its unit, whose journal has every line already
        "log-driver": "none",
        "max-concurrent-downloads": 3,
    }
    if versions.insecure_registries:
        settings["insecure-registries"] = versions.insecure_registries
    return File("/etc/docker/daemon.json", json.dumps(settings, indent=2) + "\n")
