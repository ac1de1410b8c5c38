"""What slows GPUDirect RDMA down on a host that uses it: between hosts, GPUs and network cards exchange data alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_fleet.schema.host import RDMA

from .finding import Case, Finding, Rule, some

PASSTHROUGH = "identity"
"""As the kernel calls it (sysfs, iommu_group/type)."""


def _peers(case: Case) -> list[Mapping[str, Any]]:
    spans = any(len(placement.members) > 1 for placement in case.placements)
    return case.facts["peers"] or [] if spans and case.host.joined_by in RDMA else []


def iommu(case: Case) -> Iterator[Finding]:
    """It looks up each address that a device writes to (NCCL troubleshooting, "PCI Access Control Services")."""
    translated = [peer["pci"] for peer in _peers(case) if peer["iommu"] not in (None, PASSTHROUGH)]
    if translated:
        yield case.warning(
            "pci.iommu",
            f"the IOMMU translates what {some(translated)} send, which slows GPUDirect RDMA",
            "boot with iommu=pt, or turn the IOMMU off in the firmware",
        )


def acs(case: Case) -> Iterator[Finding]:
    """The same page: peers behind one switch then meet at the root complex."""
    bridges = list(dict.fromkeys(bridge for peer in _peers(case) for bridge in peer["acs"]))
    if bridges:
        yield case.warning(
            "pci.acs",
            f"ACS is on at {some(bridges)} above GPUs or HCAs, which slows GPUDirect RDMA",
            "turn it off in the firmware (ACS, or IO virtualisation)",
        )


RULES: tuple[Rule, ...] = (iommu, acs)
