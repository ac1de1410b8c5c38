"""The facts of a host, each from its own source: `python3 -m doctor_facts` prints them as one JSON object.

A fact is null where the host does not have it (no GPU, no Docker) or where its source failed; `unread` says why for
the latter. Times are seconds since the epoch, sizes bytes.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import nvml, parse, pci
from .deadline import Source, ask
from .machine import Machine

ENGINES = "/etc/vllm-fleet/engines"
MODULE = "/proc/driver/nvidia/version"
DISKS = ("/", "/var/lib/vllm-fleet", "/var/cache/vllm-fleet")
# by rising priority: a device of a later directory hides the same one of an earlier (CDI, default directories)
CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
NVIDIA_UNITS = ("nvidia-fabricmanager.service", "nvidia-persistenced.service")
XID_LINES = 20_000
"""Newest kernel lines with an XID that are counted; a fault can write hundreds of thousands."""
XID_SECONDS = 4
"""After which what was found until then counts."""


def kernel(_machine: Machine) -> str:
    """The release of the running kernel."""
    return os.uname().release


def module(machine: Machine) -> dict[str, Any] | None:
    """The NVIDIA module that is loaded: version, and whether it is the open one."""
    return parse.module(machine.read(MODULE) or "")


def nvml_facts(machine: Machine) -> dict[str, Any] | None:
    """What NVML says: the library's version and every GPU."""
    library = nvml.library()
    if library is None:
        return None
    found = nvml.read(library)
    if found["library"] is None:
        found["library"] = parse.nvidia_smi(machine.run("nvidia-smi") or "")
    return found


def fabric_manager(machine: Machine) -> str | None:
    """The version of the fabric manager that is installed."""
    return parse.fabric_manager(machine.run("nv-fabricmanager", "--version") or "")


def toolkit(machine: Machine) -> str | None:
    """The version of the NVIDIA container toolkit."""
    return parse.toolkit(machine.run("nvidia-ctk", "--version") or "")


def cdi(machine: Machine) -> list[dict[str, Any]] | None:
    """CDI specifications of NVIDIA's GPUs by rising priority: path, time, devices, driver."""
    found = []
    for directory in CDI_DIRECTORIES:
        for file in sorted(machine.path(directory).glob("*")):
            path = f"{directory}/{file.name}"
            if file.suffix in (".yaml", ".json") and (what := parse.cdi(machine.read(path) or "")):
                found.append({"path": path, "modified": file.stat().st_mtime, **what})
    return found or None


def packages(machine: Machine) -> dict[str, dict[str, Any]] | None:
    """Installed packages of NVIDIA's: version, and whether they are held."""
    form = "${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\n"
    text = machine.run("dpkg-query", "--show", f"--showformat={form}", "nvidia-*", "libnvidia-*")
    return parse.packages(text or "") or None


def reboot(machine: Machine) -> dict[str, Any]:
    """Whether a package asks for a reboot, and which."""
    names = machine.read("/run/reboot-required.pkgs") or ""
    return {
        "required": machine.path("/run/reboot-required").exists(),
        "packages": list(dict.fromkeys(names.split())),
    }


def xids(machine: Machine) -> dict[str, Any] | None:
    """XIDs since boot, once a GPU and number; `complete` is False where older ones were not read."""
    if machine.read(MODULE) is None:
        return None
    begin = time.monotonic()
    limit = ("timeout", str(XID_SECONDS))  # coreutils'; what was printed until then is read all the same
    text = machine.run(
        *(*limit, "journalctl", "--quiet", "--no-pager", "--dmesg", "--boot", "--output=short-unix"),
        *("--grep=NVRM: Xid", "--reverse", f"--lines={XID_LINES}"),
    )
    if not text:  # also where there is no journal
        text = machine.run(*limit, "dmesg", "--time-format=iso")
    seen = parse.xids(text or "")
    counted = sum(entry["count"] for entry in seen)
    return {"complete": counted < XID_LINES and time.monotonic() - begin < XID_SECONDS, "seen": seen}


def clock(machine: Machine) -> dict[str, bool | None] | None:
    """Whether the clock is synchronised."""
    text = machine.run("timedatectl", "show")
    return parse.clock(text) if text else None


def disks(machine: Machine) -> dict[str, dict[str, int] | None]:
    """By path: its file system (a number), what it holds and what is left to users that are not root."""
    return {path: _disk(machine.path(path)) for path in DISKS}


def _disk(path: Path) -> dict[str, int] | None:
    try:
        found, device = os.statvfs(path), path.stat().st_dev
    except FileNotFoundError:
        return None
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return {"file_system": device, "used": used, "free": found.f_bavail * found.f_frsize}


def memlock(_machine: Machine) -> dict[str, int | None]:
    """The limit of locked memory of this session; None is none. Units have their own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return {
        "soft": None if soft == resource.RLIM_INFINITY else soft,
        "hard": None if hard == resource.RLIM_INFINITY else hard,
    }


def _instances(machine: Machine) -> list[str]:
    return sorted(path.name for path in machine.path(ENGINES).glob("*") if path.is_dir())


def units(machine: Machine) -> dict[str, dict[str, str]] | None:
    """The state of NVIDIA's units and of every engine's."""
    names = [*NVIDIA_UNITS, *(f"vllm-{instance}.service" for instance in _instances(machine))]
    text = machine.run("systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,LimitMEMLOCK", *names)
    return parse.units(text) if text else None


def engines(machine: Machine) -> dict[str, dict[str, str | None]]:
    """Engines by instance: the release that `current` names, and that of `good`."""
    return {
        instance: {link: _release(machine.path(f"{ENGINES}/{instance}/{link}")) for link in ("current", "good")}
        for instance in _instances(machine)
    }


def _release(link: Path) -> str | None:
    return Path(os.readlink(link)).name if link.is_symlink() else None


def containers(machine: Machine) -> dict[str, dict[str, str]] | None:
    """The engines' containers by name: the image each was made of, and its state."""
    names = [f"vllm-{instance}" for instance in _instances(machine)]
    if not names:
        return None
    form = "{{.Name}} {{.Config.Image}} {{.State.Status}}"
    text = machine.run("docker", "container", "inspect", f"--format={form}", *names)
    return None if text is None else parse.containers(text)


FACTS: dict[str, tuple[Callable[[Machine], Any], float]] = {
    "kernel": (kernel, 4),
    "module": (module, 4),
    # without nvidia-persistenced the driver wakes each GPU first, which takes a second or two
    "nvml": (nvml_facts, 8),
    "fabric_manager": (fabric_manager, 4),
    "toolkit": (toolkit, 4),
    "cdi": (cdi, 4),
    "packages": (packages, 4),
    "peers": (pci.peers, 4),
    "reboot": (reboot, 4),
    "xids": (xids, 2 * XID_SECONDS + 1),
    "clock": (clock, 4),
    "disks": (disks, 4),
    "memlock": (memlock, 4),
    "units": (units, 4),
    "engines": (engines, 4),
    "containers": (containers, 5),
}
"""Each fact, and the seconds its source may take: all are asked at once, so the whole takes less than 10."""


def gather(machine: Machine) -> dict[str, Any]:
    """Every fact, and `unread`: why a source failed, by the fact's name."""
    values, unread = ask({name: Source(partial(look, machine), seconds) for name, (look, seconds) in FACTS.items()})
    return {**values, "unread": unread}


def main() -> int:
    print(json.dumps(gather(Machine()), separators=(",", ":")))
    return 0
