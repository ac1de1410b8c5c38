"""What the fleet is pinned to outside its services."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import Model

KEYRING = "/etc/apt/keyrings/vllm-fleet-docker.asc"


class AptRepository(Model):
    """An extra package source, from which only the named packages are taken."""

    line: Annotated[
        str,
        Field(
            pattern=r"^deb (\[[^]]*\] )?https?://[^/\s]+\S* \S",
            description="a line of sources.list: deb [options] http://host/path release component",
        ),
    ]
    packages: Annotated[list[str], Field(min_length=1)]
    key: str | None = None
    """The armoured signing key itself, placed where KEYRING says; name that in the line as `signed-by`."""

    @property
    def origin(self) -> str:
        """The host the packages come from, by which apt pins them (apt_preferences(5), `Pin: origin`)."""
        return self.line.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]


class Versions(Model):
    """Floors and extra sources; CDI needs Docker 25 (Docker's release notes), Debian 12 ships 20.10."""

    nvidia_driver: Annotated[int, Field(ge=470)] = 580
    """The driver branch of the GPU hosts."""
    docker_minimum: Annotated[int, Field(ge=25)] = 25
    docker_repository: AptRepository | None = None
    """Docker's own repository or a mirror, for hosts whose distribution's Docker is too old."""
    docker_packages: list[str] = ["docker.io", "docker-cli"]
    insecure_registries: list[str] = []
    """Registries on a trusted network that speak plain HTTP (`host:port`)."""
