"""Docker's daemon settings and package source."""

from __future__ import annotations

import json

from vllm_fleet.render.apt import only, preferences_file, source_files
from vllm_fleet.render.files import File
from vllm_fleet.schema import AptRepository, Versions


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


def repository_files(repository: AptRepository) -> list[File]:
    """Docker's own source; the named packages win over the distribution's, all others stay out."""
    return [*source_files("docker", repository), preferences_file("docker", only(repository, repository.packages))]
