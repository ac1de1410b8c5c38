"""How the kernel and NVML name a PCI device."""

from __future__ import annotations


def pci_slot(bus_id: str) -> str:
    """`0000:3b:00` for NVML's `00000000:3B:00.0` and for the kernel's `0000:3b:00`."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest.split('.')[0]}"
