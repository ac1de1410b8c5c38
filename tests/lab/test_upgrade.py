"""Another driver branch: host after host is drained, upgraded, rebooted, looked at and admitted, while others serve.

The last test of the lab, for it leaves the hosts with the other branch; the next `make lab` brings the declared one
back.
"""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import Traffic, deploy
from tests.lab.diagnosis import findings

pytestmark = pytest.mark.lab

HOSTS = ("gpu-1", "gpu-2")
MODULE = "cat /proc/driver/nvidia/version"


def test_another_branch_comes_host_by_host_without_a_failed_request(lab, changed):
    declared = lab.fleet.versions.nvidia_driver
    assert all(f" {declared}." in lab.ssh(host, MODULE) for host in HOSTS)
    project = changed("versions=Versions(", "versions=Versions(nvidia_driver=595,")
    # both hosts boot and start their engines one after the other, on a machine that may have other work
    with Traffic(lab, pause=0.5) as traffic:
        code, said = deploy(project, seconds=1500)
    assert code == 0, said
    assert len(traffic.codes) > 100
    assert set(traffic.codes) == {200}
    for host in HOSTS:
        assert " 595." in lab.ssh(host, MODULE)
        assert "libnvidia-ml.so.595." in lab.ssh(host, "cat /etc/cdi/nvidia.yaml")
    # the second went down when the first had been taken back
    steps = re.findall(r"Starting operation: NVIDIA \| Driver of (\S+)|\[(\S+)\] reboots", said)
    assert ["".join(step) for step in steps] == ["gpu-1", "gpu-1", "gpu-2", "gpu-2"]
    # who still declares the other branch is told
    wrong = {f"error {host}.driver.branch" for host in HOSTS}
    assert findings() == wrong
    # and once more: nothing to do
    code, said = deploy(project)
    assert code == 0
    totals = re.search(r"Grand total +(\d+) +- +- +(\d+)", said)
    assert totals is not None
    assert totals[1] == totals[2], "every operation has nothing to do"
