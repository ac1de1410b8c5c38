"""What stands between GPUs and network cards on the PCIe: the IOMMU, and Access Control Services of the bridges."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

from .machine import Machine

DEVICES = "/sys/bus/pci/devices"
NVIDIA = "0x10de"
DISPLAY, INFINIBAND = "0x03", "0x0207"
"""Beginnings of PCI classes: GPUs (VGA or 3D controllers), InfiniBand controllers."""
EXTENDED, ACS, ACS_CONTROL = 0x100, 0x000D, 6
"""Where extended capabilities begin, the number of Access Control Services among them, and its control register's
place in them (PCI Express base specification)."""
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def peers(machine: Machine) -> list[dict[str, Any]] | None:
    """GPUs and HCAs by address: how the IOMMU treats each (`identity` passes it through, None without one), and the
    bridges above it whose ACS is on, which send what two devices exchange the long way through the root complex."""
    found = [_peer(path) for path in sorted(machine.path(DEVICES).glob("*")) if _is_peer(path)]
    return found or None


def _is_peer(path: Path) -> bool:
    kind = _text(path / "class")
    return kind.startswith(INFINIBAND) or (kind.startswith(DISPLAY) and _text(path / "vendor") == NVIDIA)


def _peer(path: Path) -> dict[str, Any]:
    bridges = [each for each in reversed(path.resolve().parents) if _ADDRESS.fullmatch(each.name)]
    return {
        "pci": path.name,
        "iommu": _text(path / "iommu_group" / "type") or None,
        "acs": [bridge.name for bridge in bridges if acs_control(_bytes(bridge / "config"))],
    }


def acs_control(config: bytes) -> int:
    """The ACS control register in a device's configuration space; 0 without one, or where only its head is read."""
    place, seen = EXTENDED, set[int]()
    while place >= EXTENDED and place + 8 <= len(config) and place not in seen:
        seen.add(place)
        header, _, control = struct.unpack_from("<IHH", config, place)
        if header & 0xFFFF == ACS:
            return int(control)
        place = header >> 20
    return 0


def _text(path: Path) -> str:
    return _bytes(path).decode(errors="replace").strip()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a device may go away meanwhile
        return b""
