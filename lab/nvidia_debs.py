"""Stand-ins for NVIDIA's packages, with their names: hosts without GPUs are provisioned as those with GPUs are.

What they hold lies in `lab/nvidia/`: a libnvidia-ml.so.1 that answers from values recorded on a real H200 (`nvml.c`,
`h200`), a module that is "loaded" by booting only, and `nvidia-simulate`, which switches faults on. They are offered as
a flat apt repository with two driver branches, so that a host can be upgraded from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import flat_repository, shell, stand_ins
from lab.stand_ins import UNITS
from lab.topology import NVIDIA_APT_URL, Paths

SOURCES = Path(__file__).with_name("nvidia")
# The first is the one that the values were recorded with.
DRIVERS = ("580.159.04-1", "595.58.01-1")
TOOLKIT = "1.18.0-1"
# The real one pulls in a compiler and the kernel's headers; higher than any of Debian's, so that apt prefers it.
HEADERS = "99-1"

LIBRARIES = "usr/lib/x86_64-linux-gnu"
LIBRARY = "libnvidia-ml.so"


@dataclass(frozen=True)
class Package(stand_ins.Package):
    """Of both driver branches, unless it says otherwise."""

    versions: tuple[str, ...] = DRIVERS


PACKAGES = (
    Package(
        "libnvidia-ml1",
        programs={"usr/bin/nvidia-simulate": "nvidia_simulate.py"},
        files={"usr/share/nvidia-simulate/h200": "h200"},
        links={f"{LIBRARIES}/{LIBRARY}.1": f"{LIBRARY}.@VERSION@"},
    ),
    Package("libcuda1"),
    Package("firmware-nvidia-gsp"),
    Package("nvidia-modprobe"),
    Package("nvidia-kernel-support", depends=("nvidia-modprobe",)),
    Package(
        "nvidia-kernel-open-dkms",
        depends=("nvidia-kernel-support", "firmware-nvidia-gsp"),
        programs={"usr/lib/nvidia-simulate/load-module": "load-module"},
        files={
            f"{UNITS}/nvidia-load-module.service": "nvidia-load-module.service",
            f"{UNITS}/nvidia-kmsg.socket": "nvidia-kmsg.socket",
            f"{UNITS}/systemd-journald.service.d/nvidia-kmsg.conf": "journald-kmsg.conf",
        },
        links={f"{UNITS}/sysinit.target.wants/nvidia-load-module.service": "../nvidia-load-module.service"},
    ),
    Package("nvidia-smi", depends=("libnvidia-ml1",), programs={"usr/bin/nvidia-smi": "nvidia_smi.py"}),
    Package(
        "nvidia-persistenced",
        depends=("libnvidia-ml1",),
        programs={"usr/bin/nvidia-persistenced": "nvidia-persistenced"},
        files={f"{UNITS}/nvidia-persistenced.service": "nvidia-persistenced.service"},
    ),
    Package(
        "nvidia-driver-cuda",
        depends=("nvidia-kernel-open-dkms", "libcuda1", "libnvidia-ml1", "nvidia-smi", "nvidia-persistenced"),
    ),
    Package(
        "nvidia-fabricmanager",
        programs={"usr/bin/nv-fabricmanager": "nv-fabricmanager"},
        files={f"{UNITS}/nvidia-fabricmanager.service": "nvidia-fabricmanager.service"},
    ),
    Package("nvidia-container-toolkit-base", (TOOLKIT,), programs={"usr/bin/nvidia-ctk": "nvidia_ctk.py"}),
    Package("nvidia-container-toolkit", (TOOLKIT,), depends=("nvidia-container-toolkit-base",)),
    Package("linux-headers-amd64", (HEADERS,)),
)


def for_hosts() -> dict[str, Any]:
    """What a host needs to install them."""
    return {"source": flat_repository.source(NVIDIA_APT_URL), "packages": [package.name for package in PACKAGES]}


def key() -> str:
    """Changes when any package would."""
    return stand_ins.key(SOURCES, __file__)


def compile_argv(target: Path, driver: str, root: str = "") -> list[str]:
    """The library for one driver (580.159.04). Plain C11 keeps newer symbols of the machine's libc out of it, which
    older hosts do not have. `root` goes before every path that it reads."""
    return [
        *("gcc", "-shared", "-fPIC", "-O2", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra"),
        *(f'-DVERSION="{driver}"', f'-DROOT="{root}"', f"-Wl,-soname,{LIBRARY}.1"),
        *("-o", str(target), str(SOURCES / "nvml.c")),
    ]


def build(paths: Paths) -> None:
    """The repository, unless it is there and made of the same."""

    def compile_library(package: stand_ins.Package, driver: str, tree: Path) -> None:
        if package.name == "libnvidia-ml1":
            compiled = tree / LIBRARIES / f"{LIBRARY}.{driver}"
            shell.logged(compile_argv(compiled, driver), paths.logs / "nvml.log", "compiling the lab's libnvidia-ml")
            compiled.chmod(0o644)

    log = paths.logs / "nvidia-debs.log"
    stand_ins.build(paths.nvidia_debs, PACKAGES, SOURCES, key(), log, compile_library)
