"""Docker's daemon settings and package source."""

from __future__ import annotations

import json

from vllm_fleet.render.files import File
from vllm_fleet.schema import AptRepository, Versions
from vllm_fleet.schema.versions import KEYRING


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
    """The source, its key, and pins: the named packages win over the distribution's, all others stay out."""

    def pin(packages: str, priority: int) -> str:
        return f'Package: {packages}\nPin: origin "{repository.origin}"\nPin-Priority: {priority}\n'

    files = [
        File("/etc/apt/sources.list.d/vllm-fleet-docker.list", f"{repository.line}\n"),
        # 1: known, but never chosen by itself
        File("/etc/apt/preferences.d/vllm-fleet-docker", pin("*", 1) + "\n" + pin(" ".join(repository.packages), 990)),
    ]
    return [*files, File(KEYRING, repository.key)] if repository.key else files
