"""NVIDIA's packages: their names by distribution, their sources, and the pins that hold them to one branch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm_fleet.render.apt import only, pin, preferences_file, source_files
from vllm_fleet.render.files import File
from vllm_fleet.schema import AptRepository, ConfigError, Host, NvidiaNetwork, Versions

FABRIC_MANAGER = "nvidia-fabricmanager"
"""Of one name in both: branches below 580 had theirs in it (NVIDIA's network repositories)."""
SUBNET_MANAGER = "nvlsm"
"""NVSwitches from Blackwell on need it too (Fabric Manager user guide, "fourth generation NVSwitches")."""
TOOLKIT = "nvidia-container-toolkit-base"
"""nvidia-ctk without the runtime's hook: CDI needs no more (NVIDIA Container Toolkit, "CDI support")."""

DRIVER_PACKAGES = ("nvidia-*", "libnvidia-*", "libcuda*", "firmware-nvidia-*")
"""What belongs to a driver, dependencies included; of these only the wanted version counts."""


@dataclass(frozen=True)
class Distribution:
    """What one distribution calls the packages. All are compute-only, with the open kernel modules."""

    driver: Callable[[int], tuple[str, ...]]
    """By branch; the first is that by which a driver's version is told."""
    headers: str
    """Of the kernel a reboot starts; `{arch}` is dpkg's name of the architecture."""


def _debian(_branch: int) -> tuple[str, ...]:
    """NVIDIA driver installation guide, R580, "Debian", compute-only."""
    return "nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced"


def _ubuntu(branch: int) -> tuple[str, ...]:
    """The same guide, "Ubuntu"; names have no branch from 590 on ("Recent updates", Ubuntu 590 package renames)."""
    if branch < 590:
        named = (f"libnvidia-compute-{branch}", f"nvidia-dkms-{branch}-open", f"nvidia-utils-{branch}")
        return (*named, "nvidia-persistenced")
    return "libnvidia-compute", "nvidia-dkms-open", "nvidia-persistenced"


DISTRIBUTIONS = {
    "debian12": Distribution(_debian, "linux-headers-{arch}"),
    "debian13": Distribution(_debian, "linux-headers-{arch}"),
    "ubuntu2204": Distribution(_ubuntu, "linux-headers-generic"),
    "ubuntu2404": Distribution(_ubuntu, "linux-headers-generic"),
}
"""By ID and VERSION_ID of os-release, which is also NVIDIA's name for the directory of its packages."""

_NETWORK_ARCHITECTURES = {"amd64": "x86_64", "arm64": "sbsa"}
_KEYRING = "/etc/apt/keyrings/vllm-fleet-nvidia-{name}.asc"


def distribution(host: str, name: str) -> Distribution:
    """The names on one distribution. Raises ConfigError for one that the table does not have."""
    if name not in DISTRIBUTIONS:
        raise ConfigError(
            f"{host}: runs {name}, and the names of NVIDIA's packages are known for {', '.join(DISTRIBUTIONS)}; add it "
            "to DISTRIBUTIONS in render/nvidia.py, or set versions.nvidia_packages=None and install them yourself"
        )
    return DISTRIBUTIONS[name]


def driver_packages(versions: Versions, host: Host, names: Distribution) -> tuple[str, ...]:
    """What must be of exactly one version on a host: the driver, and the fabric manager where it has NVSwitches."""
    return (*names.driver(versions.nvidia_driver), *((FABRIC_MANAGER,) if host.has_nvswitch else ()))


def other_packages(host: Host, names: Distribution, arch: str) -> tuple[str, ...]:
    """What has versions of its own: kernel headers, the container toolkit, Blackwell's subnet manager."""
    subnet = host.has_nvswitch and host.card is not None and host.card.compute_capability >= (10, 0)
    return (names.headers.format(arch=arch), TOOLKIT, *((SUBNET_MANAGER,) if subnet else ()))


def units(host: Host) -> tuple[str, ...]:
    """What runs beside the driver."""
    return ("nvidia-persistenced.service", *((f"{FABRIC_MANAGER}.service",) if host.has_nvswitch else ()))


def version_pattern(versions: Versions) -> str:
    """How the version of a driver's package looks, for apt and the shell: `580.*`, or `580.159.04-*`."""
    exact = versions.nvidia_driver_version
    return f"{exact}-*" if exact else f"{versions.nvidia_driver}.*"


def package_files(versions: Versions, name: str, arch: str) -> list[File]:
    """Sources and pins for a distribution and dpkg's architecture."""
    repositories = _repositories(versions, name, arch)
    numbered = [("nvidia" if number == 0 else f"nvidia-{number + 1}", each) for number, each in enumerate(repositories)]
    sources = [file for source, each in numbered for file in source_files(source, each)]
    return [*sources, preferences_file("nvidia", _pins(versions, repositories))]


def _repositories(versions: Versions, name: str, arch: str) -> list[AptRepository]:
    packages = versions.nvidia_packages
    if not isinstance(packages, NvidiaNetwork):
        return packages or []
    driver_key, toolkit_key = packages.read_keys()
    driver, toolkit = _KEYRING.format(name="driver"), _KEYRING.format(name="toolkit")
    repos = "https://developer.download.nvidia.com/compute/cuda/repos"
    # Debian 12's and Ubuntu 22.04's own dkms are too old for drivers since 570.148.08, which ask for 3.1.8
    return [
        AptRepository(
            line=f"deb [signed-by={driver}] {repos}/{name}/{_NETWORK_ARCHITECTURES[arch]}/ /",
            packages=["dkms", SUBNET_MANAGER],
            key=driver_key,
        ),
        AptRepository(
            line=f"deb [signed-by={toolkit}] https://nvidia.github.io/libnvidia-container/stable/deb/{arch} /",
            packages=[TOOLKIT],
            key=toolkit_key,
        ),
    ]


def _pins(versions: Versions, repositories: list[AptRepository]) -> list[str]:
    """A driver is never put together from two sources, so the distributions' own is out; then the version decides."""
    own = [pin(DRIVER_PACKAGES, f"release o={name}", -1) for name in ("Debian", "Ubuntu")]
    others = [each for one in repositories for each in only(one, one.packages)]
    # above 1000: back to a lower version, too
    return [*own, pin(DRIVER_PACKAGES, f"version {version_pattern(versions)}", 1001), *others]
