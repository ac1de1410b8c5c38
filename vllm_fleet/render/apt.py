"""Package sources, and the pins that keep a source to what is wanted of it (apt_preferences(5))."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_fleet.render.files import File
from vllm_fleet.schema import AptRepository


def source_files(name: str, repository: AptRepository) -> list[File]:
    """The source, and its key where it has one."""
    source = File(f"/etc/apt/sources.list.d/vllm-fleet-{name}.list", f"{repository.line}\n")
    if repository.key and repository.keyring:
        return [source, File(repository.keyring, repository.key)]
    return [source]


def preferences_file(name: str, pins: Iterable[str]) -> File:
    """Pins in the order in which they count: of those that name a package, its first one."""
    return File(f"/etc/apt/preferences.d/vllm-fleet-{name}", "\n".join(pins))


def pin(packages: Iterable[str], wanted: str, priority: int) -> str:
    """One record: `wanted` is the value of Pin, as in `version 580.*`."""
    return f"Package: {' '.join(packages)}\nPin: {wanted}\nPin-Priority: {priority}\n"


def only(repository: AptRepository, packages: Iterable[str]) -> list[str]:
    """The named packages of a source win over the distribution's, all others stay out."""
    origin = f'origin "{repository.origin}"'
    # 1: known, but never chosen by itself
    return [pin(["*"], origin, 1), pin(packages, origin, 990)]
