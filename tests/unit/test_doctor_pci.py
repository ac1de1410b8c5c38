"""The IOMMU and Access Control Services, from a made-up /sys to the doctor's lines."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.fleets import example_fleet
from tests.unit.gpu_host import healthy_facts
from vllm_fleet.observe.doctor import diagnose
from vllm_fleet.payload.doctor_facts.machine import Machine
from vllm_fleet.payload.doctor_facts.pci import acs_control, peers
from vllm_fleet.planner.placement import on_host, place
from vllm_fleet.schema import Host

AER, ACS = 0x0001, 0x000D


def config(*capabilities: tuple[int, int]) -> bytes:
    """A configuration space with extended capabilities: number, and what stands at +6."""
    space = bytearray(4096)
    for index, (number, value) in enumerate(capabilities):
        place = 0x100 + 0x40 * index
        after = place + 0x40 if index + 1 < len(capabilities) else 0
        struct.pack_into("<IHH", space, place, number | 1 << 16 | after << 20, 0, value)
    return bytes(space)


@pytest.mark.parametrize(
    "space, control",
    [
        (config((ACS, 0x1D)), 0x1D),
        (config((AER, 0xFFFF), (ACS, 0x1D)), 0x1D),
        (config((AER, 0xFFFF), (ACS, 0)), 0),
        (config((AER, 0xFFFF)), 0),
        (config((ACS, 0x1D))[:256], 0),  # what a user who is not root reads
        (b"\xff" * 4096, 0),  # a device that is gone
        (b"", 0),
    ],
)
def test_the_control_register_is_found(space: bytes, control: int) -> None:
    assert acs_control(space) == control


def device(root: Path, path: str, kind: str, vendor: str = "0x15b3", space: bytes = b"", iommu: str = "") -> None:
    """A PCI device below its bridges, as sysfs shows it."""
    place = root / "sys/devices/pci0000:00" / path
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (("class", f"{kind}\n"), ("vendor", f"{vendor}\n")):
        (place / name).write_text(content)
    (place / "config").write_bytes(space)
    if iommu:
        (place / "iommu_group").mkdir()
        (place / "iommu_group" / "type").write_text(f"{iommu}\n")
    listed = root / "sys/bus/pci/devices"
    listed.mkdir(parents=True, exist_ok=True)
    (listed / place.name).symlink_to(place)


def test_gpus_and_hcas_with_the_bridges_above_them(tmp_path: Path) -> None:
    root_port, switch = "0000:00:01.0", "0000:00:01.0/0000:04:00.0"
    device(tmp_path, root_port, "0x060400", "0x8086", config((ACS, 0x1D)))
    device(tmp_path, switch, "0x060400", "0x1000", config((AER, 1), (ACS, 0)))
    device(tmp_path, f"{switch}/0000:06:00.0", "0x030200", "0x10de", iommu="DMA-FQ")
    device(tmp_path, f"{switch}/0000:07:00.0", "0x020700", iommu="identity")
    device(tmp_path, "0000:00:02.0", "0x030000", "0x1a03")  # the board's own display
    device(tmp_path, "0000:00:03.0", "0x020000")  # Ethernet
    assert peers(Machine(tmp_path)) == [
        {"pci": "0000:06:00.0", "iommu": "DMA-FQ", "acs": ["0000:00:01.0"]},
        {"pci": "0000:07:00.0", "iommu": "identity", "acs": ["0000:00:01.0"]},
    ]


def test_a_machine_without_such_devices(tmp_path: Path) -> None:
    assert peers(Machine(tmp_path)) is None


PEERS = [{"pci": f"0000:0{slot}:00.0", "iommu": "DMA", "acs": ["0000:00:01.0"]} for slot in range(6, 10)]


def lines(found: Any, **values: Any) -> list[str]:
    """What the doctor says of the first of two hosts that one model spans."""
    hosts = [
        Host(name=name, address=f"10.0.0.{number}", groups=("gpu",), gpus=8, gpu="h200", interface="eth0", **values)
        for number, name in enumerate(("gpu1", "gpu2"), 11)
    ]
    fleet = example_fleet(hosts=[*hosts, Host(name="edge1", address="10.0.0.10", groups=("gateway", "monitoring"))])
    placements = place(fleet)
    engines = {one.instance: {"release": "1"} for one in on_host(placements, "gpu1")}
    facts = healthy_facts(8, engines) | {"peers": found}
    return [str(each) for each in diagnose(fleet, placements, hosts[0], facts, dict.fromkeys(engines, "1"))]


def test_what_slows_rdma_down_is_told_once_a_host() -> None:
    assert lines(PEERS, infiniband="mlx5_0") == [
        "gpu1.pci.iommu: the IOMMU translates what 0000:06:00.0, 0000:07:00.0, 0000:08:00.0 and 1 more send, which "
        "slows GPUDirect RDMA; boot with iommu=pt, or turn the IOMMU off in the firmware",
        "gpu1.pci.acs: ACS is on at 0000:00:01.0 above GPUs or HCAs, which slows GPUDirect RDMA; turn it off in the "
        "firmware (ACS, or IO virtualisation)",
    ]


def test_without_an_iommu_or_without_rdma_nothing_is_wrong() -> None:
    assert lines([peer | {"iommu": None, "acs": []} for peer in PEERS], infiniband="mlx5_0") == []
    assert lines(PEERS) == []  # over Ethernet
