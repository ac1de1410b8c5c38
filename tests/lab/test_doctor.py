"""`fleet doctor` on the lab: three real hosts, simulated GPUs, engines that run what is declared."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.conftest import wait_until
from vllm_fleet.engine.release import release

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
FLEET = Path(sys.executable).parent / "fleet"


def doctor(*options):
    return subprocess.run(
        [FLEET, "doctor", "inventories/lab.py", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def examined():
    ran = doctor("--json")
    said = json.loads(ran.stdout)
    assert ran.returncode == (0 if said["ok"] else 1)
    return said


def errors(said):
    return [
        f"{finding['path']}: {finding['what']}"
        for host in said["hosts"].values()
        for finding in host["findings"]
        if finding["severity"] == "error"
    ]


def test_the_lab_is_as_declared(lab):
    said = examined()
    assert errors(said) == []
    assert said["ok"]
    assert {name: host["reached"] for name, host in said["hosts"].items()} == {
        host.name: True for host in lab.fleet.hosts
    }
    for name, host in said["hosts"].items():
        assert host["facts"]["unread"] == {}
        assert host["facts"]["kernel"] == lab.ssh(name, "uname -r")


def test_the_declared_releases_are_those_that_run(lab):
    hosts = examined()["hosts"]
    for placement in lab.placements:
        wanted = release(placement).id
        assert hosts[placement.host.name]["facts"]["engines"][placement.instance] == {"current": wanted, "good": wanted}


def test_a_host_without_gpus_is_not_asked_for_a_driver():
    paths = [finding["path"] for finding in examined()["hosts"]["ops-1"]["findings"]]
    assert not [path for path in paths if path.split(".")[1:2] in (["driver"], ["cdi"], ["gpu"], ["gpus"], ["xids"])]


def test_nothing_is_left_on_hosts(lab):
    count = "ls -A /tmp /root /home/deploy | sort"
    before = lab.ssh("gpu-1", count)
    examined()
    assert lab.ssh("gpu-1", count) == before


def test_an_engine_that_was_stopped_is_found(lab):
    lab.ssh("gpu-2", "systemctl stop vllm-batch")
    try:
        said = examined()
        table = doctor()
    finally:
        lab.ssh("gpu-2", "systemctl start vllm-batch")
    assert not said["ok"]
    assert errors(said) == ["gpu-2.engine.batch: vllm-batch.service is inactive (dead)"]
    assert table.returncode == 1
    assert "│ gpu-2 │ engine.batch" in table.stdout
    assert table.stdout.splitlines()[-1].startswith("1 error")
    wait_until(lambda: lab.complete("tiny-llama-batch").status_code == 200, 120, "the engine serves again")
    assert errors(examined()) == []


def test_it_does_not_keep_a_person_waiting():
    """Under 3 s on a machine with nothing else to do; the lab's may have three engines starting on two cores."""
    start = time.monotonic()
    doctor()
    assert time.monotonic() - start < 10
