"""A small mirror of a newer Docker for bookworm hosts, whose own Docker (20.10) is too old.

Trixie's docker.io, docker-cli and containerd (26.1, 1.7) ask for nothing that bookworm has not: libc6 >= 2.34 and any
runc since 1.0. They are offered as a flat apt repository, which is how a person behind a firewall would do it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import flat_repository, shell
from lab.errors import LabError
from lab.topology import DOCKER_APT_URL, Paths

FROM_RELEASE = "trixie"
PACKAGES = ("docker.io", "docker-cli", "containerd")


def for_release(release: str) -> dict[str, Any] | None:
    """What a host of this release needs to have Docker >= 25: nothing on trixie."""
    if release == FROM_RELEASE:
        return None
    return {"source": flat_repository.source(DOCKER_APT_URL), "packages": ["docker.io", "docker-cli"]}


def build(root: Path, paths: Paths) -> None:
    """Download the packages with the keys of a root of that release, and write the repository's index."""
    target = paths.docker_debs
    if target.exists():
        return
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    _download(half, root, paths)
    flat_repository.write_index(half)
    half.rename(target)


def _download(folder: Path, root: Path, paths: Paths) -> None:
    """`apt-get download` with lists of its own, so that the machine's apt is not touched."""
    scratch = paths.cache / "docker-apt"
    (scratch / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (scratch / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    sources = scratch / "sources.list"
    # The root's own sources: on a machine without Debian sources they are mmdebstrap's choice.
    sources.write_text((root / "etc/apt/sources.list").read_text())
    options = [
        f"-oDir::Etc::SourceList={sources}",
        "-oDir::Etc::SourceParts=-",
        f"-oDir::Etc::TrustedParts={root / 'etc/apt/trusted.gpg.d'}",
        f"-oDir::State::Lists={scratch / 'lists'}",
        "-oDir::State::Status=/dev/null",
        f"-oDir::Cache={scratch}",
        "-oAPT::Sandbox::User=root",
    ]
    log = paths.logs / "docker-apt.log"
    with log.open("w") as out:
        for argv in (["apt-get", *options, "update"], ["apt-get", *options, "download", *PACKAGES]):
            code = subprocess.run(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False
            ).returncode
            if code != 0:
                raise LabError(f"downloading Docker's packages failed; log: {log}", detail=shell.tail(log))
    shutil.rmtree(scratch)
