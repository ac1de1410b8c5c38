"""A host reboots: the others serve on, all that ran there comes back alone, a model that spans hosts too."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Traffic, wait_until
from tests.lab.pair import HOSTS, RECOVERY_SECONDS, Pair
from vllm_fleet.engine.release import configuration, release_id
from vllm_fleet.observe.targets import targets

pytestmark = pytest.mark.lab

BOOT = "cat /proc/sys/kernel/random/boot_id"


@pytest.mark.parametrize("host", ["gpu-1", "gpu-2"])
def test_after_a_reboot_all_comes_back_alone(lab, host):
    pair = Pair(lab)
    pair.await_answer()
    before, boot = pair.starts(), lab.ssh(host, BOOT)
    lab.ssh(host, "systemctl reboot", check=False)
    wait_until(lambda: lab.status_of("chat", host).startswith("DOWN"), 60, f"{host} is out of the gateway")
    with Traffic(lab) as traffic:
        pair.await_restart(before)
        wait_until(lambda: lab.status_of("chat", host).startswith("UP"), RECOVERY_SECONDS, f"{host} serves chat again")
    assert set(traffic.codes) == {200}
    # a reboot stops units in order, so the replica drained before its rank went
    rank = HOSTS.index(host)
    assert f"group: rank {rank} ({host}) is to stop; draining" in pair.said("gpu-1")
    assert lab.ssh(host, BOOT) != boot
    units = "vllm-chat vllm-pair docker vllm-fleet-firewall prometheus-node-exporter"
    assert lab.ssh(host, f"systemctl is-active {units}").split() == ["active"] * 5
    every = targets(lab.fleet, lab.placements, release_id, configuration)
    here = [target for target in every if target.labels["host"] == host]
    wait_until(lambda: len(lab.query(f'up{{host="{host}"}} == 1')) == len(here), 90, "Prometheus sees its targets")
