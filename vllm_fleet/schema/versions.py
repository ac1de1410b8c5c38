"""What the fleet is pinned to outside its services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from .base import Model
from .errors import ConfigError, FieldError


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
    """The armoured signing key itself, placed where the line's `signed-by` says."""

    @model_validator(mode="after")
    def _key_has_a_place(self) -> AptRepository:
        if self.key and not self.keyring:
            raise FieldError(
                "key", "has no place; name one in the line: deb [signed-by=/etc/apt/keyrings/NAME.asc] http://..."
            )
        return self

    @property
    def keyring(self) -> str | None:
        """Where apt looks for the key, from the line's options."""
        found = re.search(r"\[[^]]*\bsigned-by=([^]\s]+)", self.line)
        return found[1] if found else None

    @property
    def origin(self) -> str:
        """The host the packages come from, by which apt pins them (apt_preferences(5), `Pin: origin`)."""
        return re.split(r"[/:\s]", self.line.split("://", 1)[1], maxsplit=1)[0]


class NvidiaNetwork(Model):
    """NVIDIA's own package repositories, those of each host's distribution (render/nvidia.py).

    The keys are files on the machine that deploys: download them once, compare their fingerprints with NVIDIA's, and
    keep them beside the inventory.
    """

    driver_key: str
    """The armoured key of developer.download.nvidia.com/compute/cuda/repos/DISTRIBUTION/x86_64 (the .pub there)."""
    toolkit_key: str
    """The armoured key of nvidia.github.io/libnvidia-container (gpgkey there)."""

    def read_keys(self) -> tuple[str, str]:
        """The driver's and the toolkit's key, read now. Raises ConfigError for a file that is none."""
        driver = "https://developer.download.nvidia.com/compute/cuda/repos/DISTRIBUTION/x86_64/*.pub"
        toolkit = "https://nvidia.github.io/libnvidia-container/gpgkey"
        return _key("driver_key", self.driver_key, driver), _key("toolkit_key", self.toolkit_key, toolkit)


def _key(field: str, path: str, url: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="ascii")
        reason = "" if text.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----") else "no armoured key"
    except (OSError, UnicodeDecodeError) as error:
        text, reason = "", getattr(error, "strerror", None) or "no armoured key"
    if reason:
        raise ConfigError(
            f"versions.nvidia_packages.{field}: cannot use {path} ({reason}); download {url}, compare its fingerprint "
            "with NVIDIA's, and keep it there"
        )
    return text


class Versions(Model):
    """Floors and extra sources; CDI needs Docker 25 (Docker's release notes), Debian 12 ships 20.10."""

    nvidia_driver: Annotated[int, Field(ge=470)] = 580
    """The driver branch of the GPU hosts."""
    nvidia_driver_version: Annotated[
        str | None, Field(pattern=r"^\d{3}\.\d+(\.\d+)?$", description="a driver's version: 580.159.04")
    ] = None
    """One version of that branch for all hosts. None: what a host has of the branch, else the newest there is."""
    nvidia_packages: NvidiaNetwork | list[AptRepository] | None = None
    """Where driver and container toolkit come from: NVIDIA, or mirrors. None: you install both yourself."""
    docker_minimum: Annotated[int, Field(ge=25)] = 25
    docker_repository: AptRepository | None = None
    """Docker's own repository or a mirror, for hosts whose distribution's Docker is too old."""
    docker_packages: list[str] = ["docker.io", "docker-cli"]
    insecure_registries: list[str] = []
    """Registries on a trusted network that speak plain HTTP (`host:port`)."""

    @model_validator(mode="after")
    def _version_of_branch(self) -> Versions:
        version = self.nvidia_driver_version
        if version and int(version.split(".")[0]) != self.nvidia_driver:
            raise FieldError(
                "nvidia_driver_version", f"{version} is not of nvidia_driver={self.nvidia_driver}; change one of them"
            )
        return self
