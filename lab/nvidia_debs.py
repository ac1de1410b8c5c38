"""Stand-ins for NVIDIA's packages, with their names: hosts without GPUs are provisioned as those with GPUs are.

What they hold lies in `lab/nvidia/`: a libnvidia-ml.so.1 that answers from values recorded on a real H200 (`nvml.c`,
`h200`), a module that is "loaded" by booting only, and `nvidia-simulate`, which switches faults on. They are offered as
a flat apt repository with two driver branches, so that a host can be upgraded from one to the other.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import flat_repository, shell
from lab.topology import NVIDIA_APT_URL, Paths

SOURCES = Path(__file__).with_name("nvidia")
# The first is the one that the values were recorded with.
DRIVERS = ("580.159.04-1", "595.58.01-1")
TOOLKIT = "1.18.0-1"
# The real one pulls in a compiler and the kernel's headers; higher than any of Debian's, so that apt prefers it.
HEADERS = "99-1"

LIBRARIES = "usr/lib/x86_64-linux-gnu"
UNITS = "usr/lib/systemd/system"
LIBRARY = "libnvidia-ml.so"
# As debhelper's: systemd knows new units at once, and none is started or restarted by it.
POSTINST = "#!/bin/sh\nset -e\n[ ! -d /run/systemd/system ] || systemctl daemon-reload\n"


@dataclass(frozen=True)
class Package:
    """One package: what it needs at its own version, and what it puts on a host (path: file of `lab/nvidia/`)."""

    name: str
    versions: tuple[str, ...] = DRIVERS
    depends: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


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
    content = [Path(__file__), Path(flat_repository.__file__), *sorted(SOURCES.iterdir())]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in content if file.is_file())).hexdigest()[:12]


def control(package: Package, version: str) -> str:
    """The package's control file."""
    depends = [*(f"{name} (= {version})" for name in package.depends), *(["python3"] if package.programs else [])]
    lines = [
        f"Package: {package.name}",
        f"Version: {version}",
        "Architecture: amd64",
        "Maintainer: vllm-fleet lab <lab@invalid>",
        *([f"Depends: {', '.join(depends)}"] if depends else []),
        f"Description: the lab's stand-in for {package.name}; nothing of NVIDIA's is in it",
    ]
    return "\n".join(lines) + "\n"


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
    target = paths.nvidia_debs
    done = target / "key"
    if done.exists() and done.read_text() == key():
        return
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for package in PACKAGES:
        for version in package.versions:
            _build_package(package, version, half, paths)
    flat_repository.write_index(half)
    (half / "key").write_text(key())
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)


def _build_package(package: Package, version: str, folder: Path, paths: Paths) -> None:
    """One .deb, by way of a tree of its files."""
    upstream = version.split("-")[0]
    tree = folder / "tree"
    _write(tree / "DEBIAN/control", control(package, version))
    if any(path.startswith(UNITS) for path in package.files):
        _write(tree / "DEBIAN/postinst", POSTINST, 0o755)
    for mode, contents in ((0o755, package.programs), (0o644, package.files)):
        for path, source in contents.items():
            _write(tree / path, (SOURCES / source).read_text().replace("@VERSION@", upstream), mode)
    for path, target in package.links.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target.replace("@VERSION@", upstream))
    if package.name == "libnvidia-ml1":
        compiled = tree / LIBRARIES / f"{LIBRARY}.{upstream}"
        shell.logged(compile_argv(compiled, upstream), paths.logs / "nvml.log", "compiling the lab's libnvidia-ml")
        compiled.chmod(0o644)
    for directory in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        directory.chmod(0o755)  # whatever the umask
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(folder / f"{package.name}_{version}_amd64.deb")]
    shell.logged(argv, paths.logs / "nvidia-debs.log", f"packing the lab's {package.name}")
    shutil.rmtree(tree)


def _write(file: Path, text: str, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
