"""A model that spans two hosts: it answers through the gateway, and whatever fails, all of it starts again alone."""

from __future__ import annotations

import json

import pytest

from tests.lab.conftest import wait_until
from tests.lab.pair import HOSTS, MODEL, UNIT, Pair
from vllm_fleet.payload.group.fuse import FAILURES

pytestmark = pytest.mark.lab


@pytest.fixture
def pair(lab):
    """The replica, when it answers."""
    pair = Pair(lab)
    pair.await_answer()
    return pair


def test_the_gateway_sees_one_replica(lab, pair):
    assert list(lab.servers("pair")) == ["gpu-1"]
    assert lab.complete(MODEL).json()["model"] == MODEL
    for rank, host in enumerate(HOSTS):
        assert f"VLLM::Worker_PP{rank}" in pair.processes(host).values()


@pytest.mark.parametrize(("host", "name"), [("gpu-2", "VLLM::Worker"), ("gpu-1", "VLLM::EngineCore")])
def test_a_killed_process_of_one_rank_restarts_all(pair, host, name):
    before = pair.starts()
    pair.kill(host, name)
    pair.await_restart(before)
    # both say which rank it was; vLLM itself ends with 0
    for each in HOSTS:
        assert f"group: rank {HOSTS.index(host)} ({host}): its engine ended with status 0" in pair.said(each)


def test_a_cut_link_ends_both_and_they_come_back_with_it(lab, pair):
    before, peer = pair.starts(), lab.fleet.host("gpu-2").address
    cut = (
        "nft add table inet cut; nft add chain inet cut in { type filter hook input priority -10 \\; }; "
        "nft add chain inet cut out { type filter hook output priority -10 \\; }; "
        f"nft add rule inet cut in ip saddr {peer} drop; nft add rule inet cut out ip daddr {peer} drop"
    )
    lab.ssh("gpu-1", cut)
    try:
        for host in HOSTS:
            wait_until(lambda host=host: not pair.processes(host), 60, f"no rank is left on {host}")
    finally:
        lab.ssh("gpu-1", "nft delete table inet cut")
    pair.await_restart(before)
    assert "group: rank 1 (gpu-2): silent for 20 s" in pair.said("gpu-1")
    assert "group: rank 0 (gpu-1): silent for 20 s" in pair.said("gpu-2")


def test_after_too_many_failures_it_gives_up_on_all_hosts_and_pages(lab, pair):
    """The last failure of a row; the row itself is counted in tests/unit/test_group.py."""
    facts = json.loads(lab.ssh("gpu-1", "cat /etc/vllm-fleet/engines/pair/current/engine.json"))
    noted = json.dumps({"version": facts["group"]["version"], "failures": FAILURES - 1}).replace('"', '\\"')
    lab.ssh("gpu-1", f'printf "%s" "{noted}" > /run/{UNIT}/failures.json')
    pair.kill("gpu-2", "VLLM::Worker")
    for host in HOSTS:
        wait_until(lambda host=host: pair.state(host) == "failed", 60, f"{UNIT} is failed on {host}")
        assert not pair.processes(host)
        assert any(line.startswith("group: gave up after 6 failures in a row, ") for line in pair.said(host))
    alert = 'ALERTS{alertname="VllmGroupGaveUp"}'
    wait_until(lambda: len(lab.query(alert)) == len(HOSTS), 90, "Prometheus knows it of both hosts")
    for host in HOSTS:
        lab.ssh(host, f"systemctl start {UNIT}")
    pair.await_answer()
