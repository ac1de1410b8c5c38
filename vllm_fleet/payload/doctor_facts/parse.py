"""From the text of files and commands to facts; None where the text does not say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

VERSION = r"\d{3,}\.\d+(?:\.\d+)*"
"""A driver's: 580.159.04."""


def module(text: str) -> dict[str, Any] | None:
    """The loaded module in /proc/driver/nvidia/version, and whether it is the open one."""
    found = re.search(rf"^NVRM version: .*Kernel Module.*?\s({VERSION})\s", text, re.MULTILINE)
    return {"version": found[1], "open": "Open Kernel Module" in found[0]} if found else None


def fabric_manager(text: str) -> str | None:
    """`Fabric Manager version is : 580.159.04`, from `nv-fabricmanager --version`."""
    found = re.search(VERSION, text)
    return found[0] if found else None


def toolkit(text: str) -> str | None:
    """`NVIDIA Container Toolkit CLI version 1.18.0`, from `nvidia-ctk --version`."""
    found = re.search(r"version (\d+\.\d+\.\d+)", text)
    return found[1] if found else None


def nvml_version(text: str) -> str | None:
    """The driver's version in NVML's own: `13.580.159.04`, CUDA's major version first (nvmlSystemGetNVMLVersion)."""
    found = re.search(rf"(?:^|\.)({VERSION})$", text)
    return found[1] if found else None


def nvidia_smi(text: str) -> str | None:
    """The library's version in nvidia-smi's output, also in that of one which fails: then only `580.159` of it."""
    found = re.search(rf"(?:NVML library version|Driver Version|DRIVER version)\s*:\s*({VERSION})", text)
    return found[1] if found else None


def cdi(text: str) -> dict[str, Any] | None:
    """The devices of a CDI specification for NVIDIA's GPUs, and the driver whose libraries it mounts.

    There is no YAML in Python's library: this reads the layout that `nvidia-ctk cdi generate` writes.
    """
    if text.lstrip().startswith("{"):
        specification = json.loads(text)
        kind, names = specification.get("kind"), [device["name"] for device in specification.get("devices", [])]
    else:
        kinds = re.findall(r"^kind: \"?([^\"\s]+)", text, re.MULTILINE)
        kind = kinds[0] if kinds else None
        names = re.findall(r"^(?:- |  )name: [\"']?([^\"'\s]+)", text, re.MULTILINE)
    if kind != "nvidia.com/gpu":
        return None
    driver = re.search(rf"/lib(?:nvidia-ml|cuda)\.so\.({VERSION})", text)
    return {"driver": driver[1] if driver else None, "devices": names}


def packages(text: str) -> dict[str, dict[str, Any]]:
    """Installed packages in lines of `name version want status` (dpkg-query(1), db:Status-Want)."""
    rows = [line.split() for line in text.splitlines()]
    return {
        name: {"version": version, "held": want == "hold"}
        for name, version, want, status in (row for row in rows if len(row) == 4)
        if status == "installed"
    }


def units(text: str) -> dict[str, dict[str, str]]:
    """Units by name in the output of `systemctl show`, one paragraph a unit."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    return {
        block["Id"]: {
            "load": block.get("LoadState", ""),
            "active": block.get("ActiveState", ""),
            "sub": block.get("SubState", ""),
            "memlock": block.get("LimitMEMLOCK", ""),
        }
        for block in blocks
        if "Id" in block
    }


def clock(text: str) -> dict[str, bool | None]:
    """Whether the clock is synchronised, and whether a service keeps it so, in the output of `timedatectl show`."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    meaning = {"yes": True, "no": False}
    return {"synchronized": meaning.get(values.get("NTPSynchronized", "")), "ntp": meaning.get(values.get("NTP", ""))}


def containers(text: str) -> dict[str, dict[str, str]]:
    """Containers by name in lines of `/name image status` (docker inspect)."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0].lstrip("/"): {"image": row[1], "status": row[2]} for row in rows if len(row) == 3}


# `NVRM: Xid (PCI:0000:3b:00): 79, pid=...`; old drivers leave PCI: out
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)(?:\.\d)?\): (\d+)")
_UNIX_TIME = re.compile(r"^(\d{9,}\.\d+) ")
_ISO_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:,.]+[+-]\d\d:?\d\d) ")


def xids(text: str) -> list[dict[str, Any]]:
    """XIDs in kernel lines, each once a GPU: how often, and when last in seconds since the epoch.

    Lines are those of `journalctl -o short-unix` or `dmesg --time-format iso`, in any order.
    """
    seen: dict[tuple[str, int], dict[str, Any]] = {}
    for pci, number, when in _xid_lines(text):
        entry = seen.setdefault((pci, number), {"pci": pci, "xid": number, "count": 0, "last": None})
        entry["count"] += 1
        entry["last"] = max((time for time in (when, entry["last"]) if time is not None), default=None)
    return [seen[key] for key in sorted(seen)]


def _xid_lines(text: str) -> Iterator[tuple[str, int, float | None]]:
    for line in text.splitlines():
        if found := _XID.search(line):
            yield pci_slot(found[1]), int(found[2]), _time(line)


def _time(line: str) -> float | None:
    if unix := _UNIX_TIME.match(line):
        return float(unix[1])
    iso = _ISO_TIME.match(line)
    return datetime.fromisoformat(iso[1]).timestamp() if iso else None


def pci_slot(bus_id: str) -> str:
    """`0000:3b:00` for NVML's `00000000:3B:00.0` and for the kernel's `0000:3b:00`."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest.split('.')[0]}"
