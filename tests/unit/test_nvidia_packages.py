"""What NVIDIA's packages are called on each distribution, and what is said of those that are not known."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_fleet.render.nvidia import DISTRIBUTIONS, distribution, driver_packages, other_packages, package_files, units
from vllm_fleet.schema import AptRepository, ConfigError, Host, NvidiaNetwork, Versions


def host(**values: Any) -> Host:
    return Host(name="gpu-1", address="10.0.0.1", groups=("gpu",), **{"gpus": 8, "gpu": "h100-sxm"} | values)


DEBIAN = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced", "nvidia-fabricmanager")


@pytest.mark.parametrize(
    "name, branch, packages",
    [
        ("debian12", 580, DEBIAN),
        ("debian13", 595, DEBIAN),
        (
            "ubuntu2204", 580,
            ("libnvidia-compute-580", "nvidia-dkms-580-open", "nvidia-utils-580", "nvidia-persistenced",
             "nvidia-fabricmanager"),
        ),
        ("ubuntu2404", 595, ("libnvidia-compute", "nvidia-dkms-open", "nvidia-persistenced", "nvidia-fabricmanager")),
    ],
)  # fmt: skip
def test_driver_packages(name: str, branch: int, packages: tuple[str, ...]) -> None:
    assert driver_packages(Versions(nvidia_driver=branch), host(), distribution("gpu-1", name)) == packages


@pytest.mark.parametrize(
    "values, switched",
    [
        ({}, True),
        ({"gpus": 4}, False),  # HGX boards of 4 join their GPUs directly
        ({"gpus": 4, "nvswitch": True}, True),  # four of eight
        ({"gpu": "l40s"}, False),
        ({"gpu": None}, False),
        ({"nvswitch": False}, False),
    ],
)
def test_the_fabric_manager_only_where_nvswitches_are(values: dict[str, Any], switched: bool) -> None:
    packages = driver_packages(Versions(), host(**values), DISTRIBUTIONS["debian13"])
    assert ("nvidia-fabricmanager" in packages) is switched
    assert ("nvidia-fabricmanager.service" in units(host(**values))) is switched


def test_what_has_versions_of_its_own() -> None:
    debian, ubuntu = DISTRIBUTIONS["debian13"], DISTRIBUTIONS["ubuntu2404"]
    assert other_packages(host(), debian, "arm64") == ("linux-headers-arm64", "nvidia-container-toolkit-base")
    assert other_packages(host(gpu="b200"), ubuntu, "amd64") == (
        "linux-headers-generic", "nvidia-container-toolkit-base", "nvlsm",
    )  # fmt: skip


def error_of(build: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build()
    return caught.value.message


def test_an_unknown_distribution_is_told_with_the_mend() -> None:
    assert error_of(lambda: distribution("gpu-1", "debian11")) == (
        "gpu-1: runs debian11, and the names of NVIDIA's packages are known for debian12, debian13, ubuntu2204, "
        "ubuntu2404; add it to DISTRIBUTIONS in render/nvidia.py, or set versions.nvidia_packages=None and install "
        "them yourself"
    )


@pytest.mark.parametrize("content, reason", [(None, "No such file or directory"), ("\xff", "no armoured key")])
def test_a_key_that_is_none_is_told_with_the_mend(tmp_path: Any, content: str | None, reason: str) -> None:
    key = tmp_path / "nvidia.asc"
    if content:
        key.write_text(content, encoding="latin-1")
    versions = Versions(nvidia_packages=NvidiaNetwork(driver_key=str(key), toolkit_key=str(key)))
    assert error_of(lambda: package_files(versions, "debian13", "amd64")) == (
        f"versions.nvidia_packages.driver_key: cannot use {key} ({reason}); download https://developer.download."
        "nvidia.com/compute/cuda/repos/DISTRIBUTION/x86_64/*.pub, compare its fingerprint with NVIDIA's, and keep it "
        "there"
    )


def test_a_version_of_another_branch_is_refused() -> None:
    assert error_of(lambda: Versions(nvidia_driver_version="595.58.03")) == (
        "versions.nvidia_driver_version: 595.58.03 is not of nvidia_driver=580; change one of them"
    )


def test_a_key_needs_a_place() -> None:
    assert error_of(lambda: AptRepository(line="deb http://mirror.example ./", packages=["dkms"], key="KEY")) == (
        "aptrepository.key: has no place; name one in the line: deb [signed-by=/etc/apt/keyrings/NAME.asc] http://..."
    )
