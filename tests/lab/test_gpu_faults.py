"""`fleet doctor` finds every fault that is planted on a GPU host: GPUs by the lab's simulation, the rest for real.

Runs before test_reboot.py: the XID stays in the kernel's log until then.
"""

from __future__ import annotations

import pytest

from tests.lab.diagnosis import findings

pytestmark = pytest.mark.lab

HOST = "gpu-1"

# one fault a GPU (lab/nvidia), and what else a host can be wrong in: how to do it, and how to undo it
GPU_FAULTS = ["lost 1", "ecc 2", "throttle 3", "pcie 4", "nvlink 5", "recovery 6", "xid 7 79"]
HOST_FAULTS = [
    ("apt-mark unhold nvidia-driver-cuda", "apt-mark hold nvidia-driver-cuda"),
    ("mv /etc/cdi/nvidia.yaml /root/nvidia.yaml", "mv /root/nvidia.yaml /etc/cdi/nvidia.yaml"),
    ("touch /run/reboot-required", "rm -f /run/reboot-required"),
    ("systemctl stop nvidia-persistenced", "systemctl start nvidia-persistenced"),
    ("systemctl stop nvidia-fabricmanager", "systemctl start nvidia-fabricmanager"),
]


def test_every_planted_fault_is_found_and_no_other(lab):
    assert findings() == set(), "an XID of an earlier run stays until a reboot"
    try:
        for fault in GPU_FAULTS:
            lab.ssh(HOST, f"nvidia-simulate {fault}")
        for plant, _ in HOST_FAULTS:
            lab.ssh(HOST, plant)
        found = findings()
    finally:
        for _, undo in HOST_FAULTS:
            lab.ssh(HOST, undo, check=False)
        lab.ssh(HOST, "nvidia-simulate clear")
    assert found == {
        "error gpu-1.cdi",
        "warning gpu-1.driver.packages",
        "error gpu-1.driver.fabric_manager",
        "warning gpu-1.driver.persistence",
        "error gpu-1.gpu.1",
        "error gpu-1.gpu.2.ecc",
        "warning gpu-1.gpu.2.remap",
        "warning gpu-1.gpu.3.clocks",
        "warning gpu-1.gpu.4.pcie",
        "error gpu-1.gpu.5.nvlink",
        "error gpu-1.gpu.6.recovery",
        "error gpu-1.gpu.7.xid",
        "warning gpu-1.reboot",
    }
    # an XID is history, until a reboot
    assert findings() == {"error gpu-1.gpu.7.xid"}
