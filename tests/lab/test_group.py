"""A model that spans two hosts: it answers through the gateway, and whatever fails, all of it starts again alone."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import wait_until

pytestmark = pytest.mark.lab

MODEL = "tiny-llama-pair"
UNIT = "vllm-pair"
RECOVERY_SECONDS = 300
"""Bounds a wait on a busy machine; docs/faults.md has measured times."""


def answers(lab):
    return lab.complete(MODEL).status_code == 200


def started(lab, host):
    """Names the unit's latest start on a host; nothing while the host reboots."""
    return lab.ssh(host, f"systemctl show --property=InvocationID --value {UNIT}", check=False)


def processes(lab, host):
    """Processes in the containers of the group on a host."""
    listing = lab.ssh(host, f"docker top {UNIT} -eo pid,args 2>/dev/null || true", check=False).splitlines()[1:]
    return {int(line.split()[0]): line.split(maxsplit=1)[1] for line in listing}


def said(lab, host):
    """What the group's program wrote there of late."""
    return lab.ssh(
        host, f"journalctl -u {UNIT} -o cat --since=-{RECOVERY_SECONDS}s | grep ^group: || true"
    ).splitlines()


def kill(lab, host, name):
    victims = [process for process, what in processes(lab, host).items() if name in what]
    assert len(victims) == 1, processes(lab, host)
    lab.ssh(host, f"kill -KILL {victims[0]}")


def recovers(lab, record_property, before):
    """Wait until the group answers again, both its ranks newly started."""
    seconds = wait_until(
        lambda: all(started(lab, host) not in ("", was) for host, was in before.items()) and answers(lab),
        RECOVERY_SECONDS,
        "the group serves again",
    )
    record_property("seconds_to_serving", round(seconds))
    print(f"serving again after {seconds:.0f} s")


@pytest.fixture
def before(lab):
    """When each rank was started; the group serves."""
    wait_until(lambda: answers(lab), RECOVERY_SECONDS, "the group serves")
    return {host: started(lab, host) for host in ("gpu-1", "gpu-2")}


def test_the_gateway_sees_one_replica(lab, before):
    assert list(lab.servers("pair")) == ["gpu-1"]
    answer = lab.complete(MODEL)
    assert answer.json()["model"] == MODEL
    assert "VLLM::Worker_PP0" in processes(lab, "gpu-1").values()
    assert "VLLM::Worker_PP1" in processes(lab, "gpu-2").values()


@pytest.mark.parametrize(("host", "name"), [("gpu-2", "VLLM::Worker"), ("gpu-1", "VLLM::EngineCore")])
def test_a_killed_process_of_one_rank_restarts_all(lab, before, record_property, host, name):
    kill(lab, host, name)
    recovers(lab, record_property, before)
    # both say which rank it was; vLLM itself ends with 0
    for each in before:
        assert f"group: rank {list(before).index(host)} ({host}): its engine ended with status 0" in said(lab, each)


@pytest.mark.parametrize("host", ["gpu-1", "gpu-2"])
def test_a_reboot_of_one_host_restarts_all(lab, before, record_property, host):
    lab.ssh(host, "systemctl reboot", check=False)
    recovers(lab, record_property, before)


def test_a_cut_link_ends_both_and_they_come_back_with_it(lab, before, record_property):
    peer = lab.fleet.host("gpu-2").address
    cut = (
        "nft add table inet cut; nft add chain inet cut in { type filter hook input priority -10 \\; }; "
        "nft add chain inet cut out { type filter hook output priority -10 \\; }; "
        f"nft add rule inet cut in ip saddr {peer} drop; nft add rule inet cut out ip daddr {peer} drop"
    )
    lab.ssh("gpu-1", cut)
    try:
        for host in before:
            wait_until(lambda host=host: not processes(lab, host), 60, f"no rank is left on {host}")
    finally:
        lab.ssh("gpu-1", "nft delete table inet cut")
    recovers(lab, record_property, before)
    assert "group: rank 1 (gpu-2): silent for 10 s" in said(lab, "gpu-1")


def test_a_stop_by_hand_stays_and_leaves_nothing(lab, before):
    lab.ssh("gpu-1", f"systemctl stop {UNIT}")
    try:
        for host in before:
            wait_until(lambda host=host: not processes(lab, host), 60, f"no rank is left on {host}")
        time.sleep(8)  # longer than RestartSec: the other rank waits, and starts nothing
        assert not processes(lab, "gpu-2")
    finally:
        lab.ssh("gpu-1", f"systemctl start {UNIT}")
    wait_until(lambda: answers(lab), RECOVERY_SECONDS, "the group serves again")
