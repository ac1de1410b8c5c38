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
    assert findings() == set()
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
    assert found == set()
    # an XID is history, until a reboot
    assert findings() == {"error gpu-1.gpu.7.xid"}
