"""The NVIDIA driver: its module, its library, and what must be of the same version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .finding import Case, Finding, Rule, same_version, some

FABRIC_MANAGER = "nvidia-fabricmanager.service"


def module_loaded(case: Case) -> Iterator[Finding]:
    """Without the module there is no GPU (/proc/driver/nvidia/version is the module's own)."""
    if case.module is None and not case.unread("module"):
        yield case.error(
            "driver.module",
            f"no NVIDIA module is loaded, but {case.host.gpus} GPUs are declared",
            f"install the driver of branch {case.fleet.versions.nvidia_driver} and reboot, or read "
            "`journalctl -k -b | grep NVRM` for why it does not load",
        )


def branch(case: Case) -> Iterator[Finding]:
    """CUDA 13 needs R580 (CUDA 13.0 release notes), so the fleet declares the branch its runtimes were built for."""
    declared = case.fleet.versions.nvidia_driver
    if case.module and int(case.module.split(".")[0]) != declared:
        yield case.error(
            "driver.branch",
            f"the loaded module {case.module} is not of the declared branch {declared}",
            f"install the driver of branch {declared} and reboot, or set versions.nvidia_driver",
        )


def library(case: Case) -> Iterator[Finding]:
    """A library apart from its module refuses to start (NVML_ERROR_LIB_RM_VERSION_MISMATCH): the next engine fails."""
    version = (case.facts["nvml"] or {}).get("library")
    if case.module and version and not same_version(version, case.module):
        yield case.error(
            "driver.library",
            f"is {version}, the loaded module {case.module}",
            "drain and reboot, so that the installed module is loaded",
        )


def fabric_manager(case: Case) -> Iterator[Finding]:
    """It refuses a driver of another version, and without it NVSwitches join no GPUs (Fabric Manager user guide)."""
    unit, version = (case.facts["units"] or {}).get(FABRIC_MANAGER), case.facts["fabric_manager"]
    if not unit or unit["load"] != "loaded":
        return
    nvlink = case.host.card is not None and case.host.card.nvlink_bandwidth is not None
    if unit["active"] == "active":
        if case.module and version and version != case.module:
            yield case.error(
                "driver.fabric_manager",
                f"is {version}, the loaded module {case.module}",
                f"install nvidia-fabricmanager {case.module}, hold it, and restart it when the host is drained",
            )
    elif unit["active"] == "failed" or (nvlink and case.host.gpus > 1):
        yield case.error(
            "driver.fabric_manager",
            f"its unit is {unit['active']}",
            f"read `journalctl -u {FABRIC_MANAGER}`, then start it",
        )


def persistence(case: Case) -> Iterator[Finding]:
    """Else the driver is torn down with the last process, and the next start waits for every GPU
    (NVIDIA driver persistence documentation)."""
    off = [str(gpu["index"]) for gpu in case.gpus if gpu.get("persistence") == 0]
    if off:
        yield case.warning(
            "driver.persistence",
            f"is off on GPU {', '.join(off)}",
            "run `systemctl enable --now nvidia-persistenced`",
        )


def packages_held(case: Case) -> Iterator[Finding]:
    """An unattended upgrade leaves library and module apart. Those of the driver carry its version (580.159.04-1);
    the container toolkit (1.18.0-1) may move by itself."""
    packages = case.facts["packages"] or {}
    free = [
        name
        for name, package in sorted(packages.items())
        if not package["held"] and re.match(r"(\d+:)?\d{3}\.\d+", package["version"])
    ]
    if free:
        yield case.warning(
            "driver.packages",
            f"not held, so an upgrade would part library and module: {some(free)}",
            f"run `apt-mark hold {' '.join(free)}`",
        )


RULES: tuple[Rule, ...] = (module_loaded, branch, library, fabric_manager, persistence, packages_held)
