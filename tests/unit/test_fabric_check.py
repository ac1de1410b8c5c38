"""The program that proves the network between hosts: its own parts, and whole runs over loopback up to torch."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vllm_fleet.payload import fabric_check
from vllm_fleet.payload.fabric_check.check import Check, _parser
from vllm_fleet.payload.fabric_check.findings import Trouble
from vllm_fleet.payload.fabric_check.interface import (
    Interface,
    interface_findings,
    interfaces,
    mtu_findings,
    parse_ipv4,
    parse_ipv6,
    route_findings,
)
from vllm_fleet.payload.fabric_check.members import Members, reach_findings
from vllm_fleet.payload.fabric_check.worker import TOO_FEW, bus_gigabytes_per_second, error_line
from vllm_fleet.payload.fabric_check.workers import bandwidth_findings, worker_findings

PAYLOAD = Path(fabric_check.__file__).parents[1]


# ---- the interface ------------------------------------------------------------------------------------------------

FOUND = {
    "lo": Interface("lo", True, True, 65536, ("127.0.0.1",)),
    "eth0": Interface("eth0", True, True, 1500, ("192.0.2.5", "fe80::1")),
    "eth1": Interface("eth1", True, True, 9000, ("10.0.1.1", "fd00::1")),
    "eth2": Interface("eth2", False, False, 1500, ("10.0.2.1",)),
    "eth3": Interface("eth3", True, False, 1500, ("10.0.3.1",)),
    "eth4": Interface("eth4", True, True, 1500, ()),
}


def lines(findings: list[dict[str, str]]) -> list[str]:
    return [f"{each['what']}; {each['mend']}" for each in findings]


def test_the_kernels_table_of_ipv4_addresses():
    entries = [("lo", "127.0.0.1"), ("eth0", "10.0.0.1"), ("eth0:1", "10.0.0.2")]
    table = b"".join(
        struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))
        for name, address in entries
    )
    assert parse_ipv4(table) == [("lo", "127.0.0.1"), ("eth0", "10.0.0.1"), ("eth0", "10.0.0.2")]


def test_the_kernels_table_of_ipv6_addresses():
    table = (
        "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 02 40 00 80     eth0\n"
    )
    assert parse_ipv6(table) == [("lo", "::1"), ("eth0", "fd00::2")]


def test_this_machines_interfaces():
    loopback = interfaces()["lo"]
    assert loopback.up
    assert loopback.link
    assert "127.0.0.1" in loopback.addresses


@pytest.mark.parametrize(
    "name, address, mtu, expected",
    [
        ("eth1", "10.0.1.1", None, []),
        ("eth1", "fd00::1", 9000, []),
        ("eth9", "10.0.1.1", None, ["there is no interface eth9; 10.0.1.1 is on eth1; declare interface=eth1"]),
        (
            "eth9",
            "10.9.9.9",
            None,
            [
                "there is no interface eth9; no interface has 10.9.9.9; declare interface=eth0 or eth1 or eth2 or "
                "eth3 or eth4"
            ],
        ),
        ("eth0", "10.0.1.1", None, ["eth0 has 192.0.2.5, not 10.0.1.1; 10.0.1.1 is on eth1; declare interface=eth1"]),
        (
            "eth4",
            "10.9.9.9",
            None,
            [
                "eth4 has no address, not 10.9.9.9; no interface has 10.9.9.9; declare the address that eth4 has",
            ],
        ),
        ("eth4", None, None, ["eth4 has no address, and rank 0's is of another kind; declare the host's address"]),
        ("eth2", "10.0.2.1", None, ["eth2 is down; ip link set eth2 up, and have it come up at boot"]),
        ("eth3", "10.0.3.1", None, ["eth3 has no link; look at its cable, its switch port and `ethtool`"]),
        ("eth0", "192.0.2.5", 9000, ["eth0 has MTU 1500, declared is 9000; ip link set eth0 mtu 9000"]),
    ],
)
def test_a_wrong_interface_is_named_with_the_right_one(name, address, mtu, expected):
    assert lines(interface_findings(FOUND, name, address, mtu)) == expected


@pytest.mark.parametrize(
    "source, expected",
    [
        ("10.0.1.1", []),
        (
            "192.0.2.5",
            [
                "the kernel reaches 10.0.1.2 through eth0 (192.0.2.5), not eth1; declare interface=eth0 and that "
                "address, or route 10.0.1.2 through eth1"
            ],
        ),
        (None, ["there is no route to 10.0.1.2; route it through eth1"]),
    ],
)
def test_the_interface_that_the_kernel_takes_is_named(source, expected):
    assert lines(route_findings(FOUND, "eth1", "10.0.1.2", source)) == expected


def test_members_have_one_mtu():
    members = [{"rank": rank, "interface": "eth1", "mtu": mtu} for rank, mtu in enumerate([9000, 9000, 1500])]
    assert mtu_findings(members[:2]) == []
    assert lines(mtu_findings(members)) == [
        "MTU 9000 on eth1, but 1500 on eth1 of rank 2; set one MTU on both, and on the switch between them"
    ]


# ---- the figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes, factor", [(1, 0), (2, 1), (4, 1.5), (8, 1.75)])
def test_bus_bandwidth_is_that_of_nccl_tests(processes, factor):
    assert bus_gigabytes_per_second(processes, 10**9, 0.5) == pytest.approx(2 * factor)


def test_the_best_size_is_held_against_the_fabrics_expectation():
    measured = [{"bus_gigabytes_per_second": value} for value in (1.0, 11.0, 10.0)]
    assert bandwidth_findings(measured, None) == bandwidth_findings(measured, 88) == []
    (finding,) = bandwidth_findings(measured, 90)
    assert finding["what"] == "the all-reduce reached 88.0 Gbit/s of bus bandwidth, expected are 90"


def test_of_an_exception_of_torch_the_line_that_says_most():
    nccl = "NCCL error in: NCCLUtils.cpp:94, unhandled system error\nncclSystemError: Call failed.\nLast error:\nNo IB"
    assert error_line(RuntimeError(nccl)) == "NCCL error in: NCCLUtils.cpp:94, unhandled system error: No IB"
    assert error_line(RuntimeError("one\ntwo")) == "one"
    assert error_line(KeyError()) == "KeyError"


def test_what_workers_died_of_is_said_once_and_before_what_followed_from_it():
    late = {"error": "did not end in time"}
    assert [each["what"] for each in worker_findings([late, {"error": "x"}, {"error": "x"}, {}])] == [
        "the all-reduce failed: x"
    ]
    assert [each["what"] for each in worker_findings([late, late])] == ["the all-reduce failed: did not end in time"]
    (few,) = worker_findings([{"error": f"{TOO_FEW} 4 GPUs, not number 4"}])
    assert few["mend"].startswith("declare as many GPUs as the host has")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)  # the other side is a thread or process of its own; bounded above


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


# ---- the members --------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def members(world: int, port: int, ranks: list[int]) -> list[Members]:
    """Those of `ranks`, met."""
    found = [Members(rank, world, "127.0.0.1", port, time.monotonic() + 30) for rank in ranks]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: each.join(None), found))
    return found


def exchange(found: list[Members], **word: Any) -> list[list[dict[str, Any]]]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda each: each.exchange({"findings": [], **word}), found))


def test_what_one_says_all_hear(port):
    three = members(3, port, [2, 0, 1])
    for word in ("first", "second"):
        assert exchange(three, word=word) == [[{"rank": rank, "findings": [], "word": word} for rank in range(3)]] * 3


def test_who_does_not_come_is_named_to_all(port, monkeypatch):
    monkeypatch.setattr("vllm_fleet.payload.fabric_check.members.START_SECONDS", 0.5)
    for heard in exchange(members(3, port, [0, 1])):
        assert [each["what"] for each in heard[2]["findings"]] == [
            f"rank 2 did not come to 127.0.0.1:{port} within 0 s"
        ]


def test_a_member_that_goes_away_is_named(port):
    zero, one = members(2, port, [0, 1])
    one.links[0].stream.close()
    one.links[0].connection.close()
    assert [each["what"] for each in zero.exchange({"findings": []})[1]["findings"]] == ["rank 1 went away"]


def test_without_rank_0_there_is_one_line(port, monkeypatch):
    monkeypatch.setattr("vllm_fleet.payload.fabric_check.members.START_SECONDS", 0.5)
    with pytest.raises(Trouble, match=f"cannot reach rank 0 at 127.0.0.1:{port} for 0 s: refused"):
        members(2, port, [1])


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Trouble, match="Address already in use"):
        members(2, server.getsockname()[1], [0])


def test_a_failure_elsewhere_is_heard_while_working(port):
    zero, one = members(2, port, [0, 1])
    assert not zero.disturbed()
    assert not one.disturbed()
    finding = {"what": "rank 1: x", "mend": "y"}
    thread = threading.Thread(target=one.exchange, args=({"findings": [finding]},))
    thread.start()
    wait_until(zero.disturbed)
    assert zero.exchange({"findings": []})[1]["findings"] == [finding]
    thread.join(5)
    assert not thread.is_alive()


def test_rank_0_calls_the_others_off(port):
    zero, one = members(2, port, [0, 1])
    zero.call_off()
    wait_until(one.disturbed)
    assert [len(heard) for heard in exchange([zero, one])] == [2, 2]


def test_a_port_that_cannot_be_reached_is_named(port):
    member = {"rank": 1, "address": "127.0.0.1", "port": port}
    (finding,) = reach_findings("127.0.0.1", [member])
    assert finding["what"].startswith(f"cannot reach rank 1 at 127.0.0.1:{port} within 5 s: refused")
    with socket.create_server(("127.0.0.1", port)):
        assert reach_findings("127.0.0.1", [member]) == []


# ---- whole runs ---------------------------------------------------------------------------------------------------


def start(rank: int, port: int, modules: Path, *more: str) -> subprocess.Popen[str]:
    """The program on loopback, with a torch that is what `modules` has."""
    given = {"rank": rank, "world": 2, "address": "127.0.0.1", "port": port, "interface": "lo"}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "fabric_check", *options, *more],
        env={**os.environ, "PYTHONPATH": f"{PAYLOAD}:{modules}", "VLLM_HOST_IP": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=30)
    assert errors == ""
    report = json.loads(output)
    assert report["ok"] == (process.returncode == 0)
    return dict(report)


def test_two_members_meet_and_say_that_torch_is_not_there(port, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    for report in map(ended, [start(rank, port, tmp_path) for rank in (0, 1)]):
        assert {"interface", "mtu", "backend", "all_reduce"} < set(report)
        assert "No module named 'torch'" in report["findings"][0]["what"]
        assert report["findings"][0]["mend"].startswith("run it with the interpreter")


def test_a_worker_that_dies_ends_the_run_of_all(port, tmp_path):
    (tmp_path / "torch.py").write_text(
        "import json, os, sys, time\n"
        "rank = json.loads(sys.argv[2])['rank']\n"
        "time.sleep(60) if rank == 0 else os.kill(os.getpid(), 9)"
    )
    for report in map(ended, [start(rank, port, tmp_path) for rank in (0, 1)]):
        assert [each["what"] for each in report["findings"]] == [
            "rank 1: the all-reduce failed: a worker ended with status -9: without a word"
        ]


def test_one_wrong_interface_stops_all_before_torch(port, tmp_path):
    reports = map(ended, [start(0, port, tmp_path), start(1, port, tmp_path, "--mtu", "1")])
    for report in reports:
        assert [each["what"] for each in report["findings"]] == ["rank 1: lo has MTU 65536, declared is 1"]


def test_a_rank_0_that_is_killed_ends_the_run_of_the_others(port, tmp_path):
    (tmp_path / "torch.py").write_text(
        "import json, os, sys, time\n"
        "os.kill(os.getppid(), 9) if json.loads(sys.argv[2])['rank'] == 0 else time.sleep(60)"
    )
    zero, one = start(0, port, tmp_path), start(1, port, tmp_path)
    assert [each["what"] for each in ended(one)["findings"]] == ["rank 1: rank 0 went away"]
    assert zero.wait(30) == -9


def test_what_a_member_found_is_not_lost_with_rank_0(port):
    class Gone(Members):
        def exchange(self, _mine: dict[str, Any]) -> list[dict[str, Any]]:
            raise Trouble("rank 0 went away", "look at its output")

    options = ["--rank", "1", "--world", "2", "--address", "127.0.0.1", "--port", str(port), "--interface", "lo"]
    check = Check(_parser().parse_args(options))
    with pytest.raises(Trouble):
        check._together(Gone(1, 2, "127.0.0.1", port, 0), {"findings": [{"what": "rank 1: x", "mend": "y"}]})
    assert check.report["findings"] == [{"what": "rank 1: x", "mend": "y"}]


def test_a_stopped_run_still_reports(port, tmp_path):
    process = start(0, port, tmp_path)
    wait_until(lambda: listens(port))  # once it listens it knows what to do when stopped
    process.terminate()
    assert [each["what"] for each in ended(process)["findings"]] == ["rank 0: the check was stopped"]
