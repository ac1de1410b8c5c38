"""`fleet fabric` on two hosts: the network as declared is proven in the engine's own image, a wrong NIC is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_fleet.engine.fabric import fabric_digest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
FLEET = Path(sys.executable).parent / "fleet"


def fabric(project, *options):
    return subprocess.run(
        [FLEET, "fabric", "inventories/lab.py", "pair", *options],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_the_network_between_the_hosts_is_as_declared(lab):
    ran = fabric(ROOT, "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["ok"]
    (replica,) = said["replicas"]
    assert (replica["hosts"], replica["problems"]) == (["gpu-1", "gpu-2"], [])
    report = replica["report"]
    assert (report["backend"], report["interface"], report["mtu"]) == ("gloo", "host0", 1500)
    assert [each["bytes"] >> 20 for each in report["all_reduce"]] == [1, 8, 64, 256]
    # the engines' own network goes on meanwhile
    assert lab.complete("tiny-llama-pair").status_code == 200


def test_the_deploy_has_proven_it(lab):
    first = next(one for one in lab.placements if one.service.name == "pair" and one.head)
    assert lab.ssh("gpu-1", "cat /var/lib/vllm-fleet/fabric/pair") == fabric_digest(first)


def test_a_wrong_nic_is_named(changed):
    ran = fabric(changed('"interface": "host0"', '"interface": "docker0"', "inventories/lab.py"))
    assert ran.returncode == 1
    mend = "declare interface=host0"
    for rank, address in enumerate(("10.231.77.11", "10.231.77.12")):
        line = f"rank {rank}: docker0 has 172.17.0.1, not {address}; {address} is on host0; {mend}"
        assert line in ran.stdout.splitlines()


def test_a_slower_network_than_declared_is_told(changed):
    declared = '"interface": "host0", "fabric_gbit": 4000'
    ran = fabric(changed('"interface": "host0"', declared, "inventories/lab.py"))
    assert ran.returncode == 1
    assert "Gbit/s of bus bandwidth, expected are 4000; " in ran.stdout
