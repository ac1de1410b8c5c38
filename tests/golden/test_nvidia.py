"""GPU hosts: kernel settings, and where NVIDIA's packages come from, whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vllm_fleet.render import tuning
from vllm_fleet.render.files import File
from vllm_fleet.render.nvidia import package_files
from vllm_fleet.schema import AptRepository, NvidiaNetwork, Versions

ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{name}\n-----END PGP PUBLIC KEY BLOCK-----\n"


def joined(files: Sequence[File]) -> str:
    return "\n".join(f"==> {file.path}\n{file.content}" for file in files)


def test_kernel_settings(golden: Callable[[str, str], None]) -> None:
    files = [tuning.SYSCTL, tuning.LIMITS, tuning.NOUVEAU, tuning.unit_file()]
    golden("gpu-host-settings.txt", joined(files))


@pytest.fixture
def network(tmp_path: Path) -> NvidiaNetwork:
    for name in ("driver", "toolkit"):
        (tmp_path / name).write_text(ARMOUR.format(name=name))
    return NvidiaNetwork(driver_key=str(tmp_path / "driver"), toolkit_key=str(tmp_path / "toolkit"))


@pytest.mark.parametrize("distribution, architecture", [("debian13", "amd64"), ("ubuntu2404", "arm64")])
def test_packages_from_nvidia(
    network: NvidiaNetwork, distribution: str, architecture: str, golden: Callable[[str, str], None]
) -> None:
    files = package_files(Versions(nvidia_packages=network), distribution, architecture)
    golden(f"nvidia-{distribution}-{architecture}.txt", joined(files))


def test_packages_from_two_mirrors_and_one_exact_version(golden: Callable[[str, str], None]) -> None:
    mirrors = [
        AptRepository(
            line="deb [signed-by=/etc/apt/keyrings/mirror.asc] https://mirror.example/nvidia ./",
            packages=["dkms"],
            key=ARMOUR.format(name="mirror"),
        ),
        AptRepository(
            line="deb [trusted=yes] http://toolkit.example stable main", packages=["nvidia-container-toolkit-base"]
        ),
    ]
    versions = Versions(nvidia_driver=595, nvidia_driver_version="595.58.03", nvidia_packages=mirrors)
    golden("nvidia-mirrors.txt", joined(package_files(versions, "debian12", "amd64")))
