"""The members: how they meet, hear each other, and reach each other's ports."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

from .findings import ALLOW, MIB, Finding, Trouble, finding

START_SECONDS = 30.0
"""How long members wait for each other to begin."""
CONNECT_SECONDS = 5.0
GRACE_SECONDS = 10.0
"""Rank 0 gives a silent member up this long before its own deadline, to be able to name it."""


class Members:
    """All members, over a connection of each to rank 0: what one says, all hear. They are trusted, as NCCL trusts them.

    An answer is a list in rank order. A member that went away is heard with that as its finding.
    """

    def __init__(self, rank: int, world: int, address: str, port: int, deadline: float) -> None:
        self.rank, self.world, self.deadline = rank, world, deadline
        self.place = f"{address}:{port}"
        self.address, self.port = address, port
        self.links: dict[int, Link] = {}
        self.early: dict[int, dict[str, Any]] = {}

    def join(self, source: str | None) -> None:
        """Meet the others, from the address `source` where one is given. Raises Trouble when nobody is met."""
        if self.rank:
            self.links[0] = Link(self._patiently(source))
            self.links[0].say({"rank": self.rank})
        elif self.world > 1:
            self._await()

    def _await(self) -> None:
        try:
            server = listen(self.address, self.port)
        except OSError as error:
            raise Trouble(f"cannot listen on {self.place}: {error.strerror}", "stop what uses it") from None
        end = time.monotonic() + START_SECONDS
        with server:
            while len(self.links) < self.world - 1 and (left := end - time.monotonic()) > 0:
                server.settimeout(left)
                # whoever is no member is not heard, and the next one is
                with contextlib.suppress(OSError, ValueError, KeyError):  # a stranger on the port; members come again
                    link = Link(server.accept()[0])
                    self.links[int(link.hear(time.monotonic() + CONNECT_SECONDS)["rank"])] = link

    def _patiently(self, source: str | None) -> socket.socket:
        """Rank 0 may just be starting."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return _connect(self.address, self.port, source)
            except OSError as error:
                if time.monotonic() > end:
                    what = f"cannot reach rank 0 at {self.place} for {START_SECONDS:.0f} s: {_why(error)}"
                    raise Trouble(what, f"start the check there too, and {ALLOW}") from None
            time.sleep(0.3)  # bounded above

    def exchange(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        """Everyone's word, once all have spoken."""
        mine = {"rank": self.rank, **mine}
        if self.rank:
            try:
                self.links[0].say(mine)
                while "all" not in (heard := self.links[0].hear(self.deadline)):
                    """Rank 0 had called it off; its word follows."""
            except (OSError, ValueError):
                raise Trouble("rank 0 went away", "look at its output") from None
            return list(heard["all"])
        everyone = [mine, *(self._of(rank) for rank in range(1, self.world))]
        for link in self.links.values():
            with contextlib.suppress(OSError):  # who is gone is told of by `_of`
                link.say({"all": everyone})
        return everyone

    def disturbed(self) -> bool:
        """Whether a member has failed while this one still works."""
        waiting = {link.connection: rank for rank, link in self.links.items() if rank not in self.early}
        readable, _, _ = select.select(list(waiting), [], [], 0)
        if self.rank:
            # rank 0 speaks last, so this is its calling off or its end
            return bool(readable)
        for connection in readable:
            self.early[waiting[connection]] = self._of(waiting[connection])
        return any(each["findings"] for each in self.early.values())

    def call_off(self) -> None:
        """This member failed: rank 0 tells the others while they still work, and nobody is waited for much longer."""
        self.deadline = min(self.deadline, time.monotonic() + 2 * GRACE_SECONDS)
        for link in self.links.values() if self.rank == 0 else ():
            with contextlib.suppress(OSError):  # who is gone is told of by `_of`
                link.say({"off": True})

    def _of(self, rank: int) -> dict[str, Any]:
        if rank in self.early:
            return self.early.pop(rank)
        if rank not in self.links:
            lost = finding(
                f"rank {rank} did not come to {self.place} within {START_SECONDS:.0f} s",
                f"start the check there too, and {ALLOW}",
            )
            return {"rank": rank, "findings": [lost]}
        try:
            return self.links[rank].hear(self.deadline - GRACE_SECONDS)
        except (OSError, ValueError):
            return {"rank": rank, "findings": [finding(f"rank {rank} went away", "look at its output")]}


class Link:
    """Messages over one connection, a line of JSON each."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = connection.makefile("rb")

    def say(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, deadline: float) -> dict[str, Any]:
        """The next message. Raises OSError or ValueError when none comes."""
        self.connection.settimeout(max(0.1, deadline - time.monotonic()))
        heard = json.loads(self.stream.readline(MIB))
        if not isinstance(heard, dict):
            raise ValueError("no message")
        return heard


def listen(address: str, port: int) -> socket.socket:
    return socket.create_server(
        (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=128
    )


def _connect(address: str, port: int, source: str | None) -> socket.socket:
    return socket.create_connection((address, port), CONNECT_SECONDS, (source, 0) if source else None)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer, as from a firewall that drops"
    if isinstance(error, ConnectionRefusedError):
        return "refused: nothing listens there, or a firewall rejects"
    return error.strerror or type(error).__name__


def reach_findings(own: str, others: list[dict[str, Any]]) -> list[Finding]:
    """Members whose listening port cannot be reached from here; the way back they try themselves."""
    return [finding for each in others for finding in _reach(own, each)]


def _reach(own: str, member: dict[str, Any]) -> Iterator[Finding]:
    try:
        # the kernel takes the connection: nobody needs to accept it there
        _connect(member["address"], member["port"], own).close()
    except OSError as error:
        yield finding(
            f"cannot reach rank {member['rank']} at {member['address']}:{member['port']} within "
            f"{CONNECT_SECONDS:.0f} s: {_why(error)}",
            ALLOW,
        )
