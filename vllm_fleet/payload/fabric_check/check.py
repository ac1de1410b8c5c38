"""All of it on one member, step by step with the others."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import threading
import time
from typing import Any

from .findings import Finding, Trouble, finding
from .interface import Interface, interface_findings, mtu_findings, route_findings, settled, source_for
from .members import GRACE_SECONDS, Members, listen, reach_findings
from .worker import worker
from .workers import Workers, bandwidth_findings, worker_findings

DEADLINE_SECONDS = 300.0
"""For all of it; importing torch from a cold disk is half a minute, 256 MiB over 1 Gbit/s a quarter."""


class Check:
    """One run on one member: each step is taken when all members have the one before behind them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.given = arguments
        self.deadline = time.monotonic() + DEADLINE_SECONDS
        self.workers = Workers()
        self.printing = threading.Lock()
        self.report: dict[str, Any] = {
            "rank": arguments.rank,
            "ok": False,
            "findings": [],
            "all_reduce": [],
            "backend": "nccl" if arguments.device == "cuda" else "gloo",
            "interface": arguments.interface,
            "mtu": None,
        }

    def run(self) -> int:
        try:
            self._steps()
        except Trouble as trouble:
            self._add([trouble.finding])
        except Exception as error:  # an unforeseen one is one line too
            self._add([finding(f"the check failed: {type(error).__name__}: {error}", "report this line")])
        return self.finish()

    def finish(self) -> int:
        """Print the report, and let nobody print after that."""
        self.printing.acquire()
        return self._print()

    def stop(self, what: str) -> None:
        """End now, from another thread or a signal, unless the report is just being printed."""
        if self.printing.acquire(blocking=False):
            self._add([finding(what, "look at the output of the other members")])
            self.workers.kill()
            self._print()
            os._exit(1)

    def _print(self) -> int:
        self.report["ok"] = not self.report["findings"]
        print(json.dumps(self.report), flush=True)
        return int(bool(self.report["findings"]))

    def _steps(self) -> None:
        given = self.given
        found = settled(self.given.interface)
        own = self._own(found)
        findings = self._local(found, own)
        members = Members(given.rank, given.world, given.address, given.port, self.deadline)
        try:
            members.join(None if findings else own)
        except Trouble:
            # not to be reached over a wrong interface is no news
            if not findings:
                raise
            self._add(findings)
            return
        with contextlib.ExitStack() as stack:
            word: dict[str, Any] = {"findings": self._named(findings)}
            if own and not findings:
                listener, store = (stack.enter_context(listen(own, 0)) for _ in range(2))
                word |= {"address": own, "port": _port(listener), "store": _port(store)}
            word |= {"mtu": self.report["mtu"], "interface": given.interface}
            everyone = self._together(members, word)
            if not everyone:
                return
            # rank 0's worker takes the port that this kept free
            store.close()
            if not self._together(members, {"findings": self._named(self._reach(found, everyone))}):
                return
        self._measure(members, f"{_bracketed(given.address)}:{everyone[0]['store']}")

    def _reach(self, found: dict[str, Interface], everyone: list[dict[str, Any]]) -> list[Finding]:
        """What is wrong between this member and the others."""
        rank = self.given.rank
        others = [each for each in everyone if each["rank"] != rank]
        routes = [finding for each in others for finding in self._route(found, each["address"])]
        mtus = mtu_findings(everyone) if rank == 0 else []
        return mtus + routes + reach_findings(everyone[rank]["address"], others)

    def _own(self, found: dict[str, Interface]) -> str | None:
        """The declared address of this host; where nobody declared one, whichever the interface has."""
        declared = self.given.host_address or os.environ.get("VLLM_HOST_IP")
        if declared or self.given.rank == 0:
            return str(declared or self.given.address)
        interface = found.get(self.given.interface)
        same = (
            [each for each in interface.addresses if (":" in each) == (":" in self.given.address)] if interface else []
        )
        return next(iter(same), None)

    def _local(self, found: dict[str, Interface], own: str | None) -> list[Finding]:
        given = self.given
        if given.interface in found:
            self.report["mtu"] = found[given.interface].mtu
        findings = interface_findings(found, given.interface, own, given.mtu)
        # the wrong interface is named with the one that the kernel would take
        return findings + (self._route(found, given.address) if given.rank else [])

    def _route(self, found: dict[str, Interface], target: str) -> list[Finding]:
        return route_findings(found, self.given.interface, target, source_for(target))

    def _together(self, members: Members, word: dict[str, Any]) -> list[dict[str, Any]]:
        """Everyone's word; empty where any has a finding, which then is ours too."""
        try:
            everyone = members.exchange(word)
        except Trouble:
            self._add(word["findings"], named=True)
            raise
        findings = [finding for each in everyone for finding in each["findings"]]
        self._add(findings, named=True)
        return [] if findings else everyone

    def _measure(self, members: Members, store: str) -> None:
        given = self.given
        local = given.local_gpus
        for number in range(local):
            specification = {
                "device": given.device,
                "local": number,
                "rank": given.rank * local + number,
                "processes": given.world * local,
                "store": store,
            }
            self.workers.start(specification, given.interface)
        results = self.workers.wait(self.deadline - 2 * GRACE_SECONDS, members.disturbed)
        findings = worker_findings(results)
        if findings:
            members.call_off()
        elif results and given.rank == 0:
            self.report |= results[0]
            findings = bandwidth_findings(self.report["all_reduce"], given.expect_gbit)
        self._together(members, {"findings": self._named(findings)})

    def _named(self, findings: list[Finding]) -> list[Finding]:
        return [{**each, "what": f"rank {self.given.rank}: {each['what']}"} for each in findings]

    def _add(self, findings: list[Finding], named: bool = False) -> None:
        self.report["findings"] += findings if named else self._named(findings)


def _port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fabric_check", description="Prove the network between the hosts of one model."
    )
    parser.add_argument("--rank", type=int, required=True, help="of this host, from 0")
    parser.add_argument("--world", type=int, required=True, help="how many hosts")
    parser.add_argument("--address", required=True, help="of rank 0")
    parser.add_argument("--port", type=int, required=True, help="of rank 0, free on it")
    parser.add_argument("--interface", required=True, help="the declared one of this host")
    parser.add_argument("--host-address", help="the declared one of this host; default VLLM_HOST_IP")
    parser.add_argument("--mtu", type=int, help="that the interface must have")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cpu")
    parser.add_argument("--local-gpus", type=int, default=1, help="processes of this host")
    parser.add_argument("--expect-gbit", type=float, help="least bus bandwidth of the best size")
    return parser


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"]:
        return worker(json.loads(arguments[1]))
    check = Check(_parser().parse_args(arguments))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: check.stop("the check was stopped"))
    watchdog = threading.Timer(DEADLINE_SECONDS, check.stop, [f"the check did not end in {DEADLINE_SECONDS:.0f} s"])
    watchdog.daemon = True
    watchdog.start()
    return check.run()
