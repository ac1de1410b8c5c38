"""What the machine must be and have: Linux, root, a few packages (installed by apt-get when they are missing)."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from lab import apt, cgroup, shell
from lab.errors import LabError
from lab.topology import RELEASES, Paths

# A program or file that is needed -> the Debian package that has it.
NEEDS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    apt.KEYRING: "debian-archive-keyring",
}


def check(release: str) -> None:
    """Refuse a machine, or a wish, that cannot work."""
    if platform.system() != "Linux":
        raise LabError("the lab needs Linux (systemd-nspawn); use a Linux machine or a virtual one", exit_code=2)
    if os.geteuid() != 0:
        raise LabError("the lab needs root (mounts, a bridge, containers); run it with sudo", exit_code=2)
    if release not in RELEASES:
        raise LabError(f"LAB_RELEASE={release}: not known; use {' or '.join(RELEASES)}", exit_code=2)
    cgroup.root()


def missing() -> list[str]:
    """Packages that the machine still needs."""
    return [package for need, package in NEEDS.items() if not (shutil.which(need) or Path(need).is_file())]


def install(packages: list[str], paths: Paths) -> None:
    """Install what is missing; elsewhere than on Debian and Ubuntu a person must."""
    if not shutil.which("apt-get"):
        raise LabError(f"missing on this machine: {', '.join(packages)}; install them with its package manager")
    log = paths.logs / "machine.log"
    mend = f"install by hand: apt-get install {' '.join(packages)}"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    shell.logged(["apt-get", "update"], log, "apt-get update", mend=mend, env=quiet)
    argv = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    shell.logged(argv, log, "apt-get install", mend=mend, env=quiet)


def refresh_index(paths: Paths) -> None:
    """apt names its sources' sites only once it has read their indexes."""
    if shutil.which("apt-get") and not apt.machine_sources("stable"):
        shell.logged(
            ["apt-get", "update"],
            paths.logs / "machine.log",
            "apt-get update",
            mend="mend the machine's apt sources",
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )


def check_pip() -> None:
    """The wheels are downloaded with this Python's own pip, which reads the user's own pip configuration."""
    if not shell.quiet([sys.executable, "-m", "pip", "--version"]):
        raise LabError(f"no pip in {sys.executable}; add it with: {sys.executable} -m ensurepip")
