"""What the fleet is pinned to outside its services."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Model


class AptRepository(Model):
    """An extra package source: a line for sources.list, and the packages that may come from it."""

    line: Annotated[str, Field(pattern=r"^deb ")]
    packages: Annotated[list[str], Field(min_length=1)]
    key: str | None = None
    """The armoured signing key itself; None when the machine already trusts it (or the line says so)."""


class Versions(Model):
    """Floors and extra sources; CDI needs Docker 25 (Docker's release notes), Debian 12 ships 20.10."""

    docker_minimum: Annotated[int, Field(ge=25)] = 25
    docker_repository: AptRepository | None = None
    """Docker's own repository or a mirror, for hosts whose distribution's Docker is too old."""
    docker_packages: list[str] = ["docker.io", "docker-cli"]
    insecure_registries: list[str] = []
    """Registries on a trusted network that speak plain HTTP (`host:port`)."""
