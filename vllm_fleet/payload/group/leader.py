"""Rank 0: gathers the members, starts them, and ends them all when one of them ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal

from .config import Group
from .ending import FAILED, GAVE_UP, STOPPED, Ending, say
from .engine import Engine
from .fuse import FAILURES, Fuse
from .link import LINE_BYTES, Link, Lost, Message
from .pulse import Pulse


@dataclass(frozen=True)
class Event:
    """What happened to a member. `other`: it came with another release; `leaving`: its unit is to stop."""

    kind: Literal["joined", "other", "lost", "ended", "leaving"]
    rank: int
    why: str = ""


class Leader:
    """One start of the group, from gathering to its end."""

    def __init__(self, group: Group, engine: Engine, fuse: Fuse, pulse: Pulse) -> None:
        self.group, self.engine, self.fuse, self.pulse = group, engine, fuse, pulse
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._links: dict[int, Link] = {}
        self._other_since: dict[int, float] = {}
        self._said = ""
        self._welcoming: set[asyncio.Task[None]] = set()

    def leave(self) -> None:
        """The unit is to stop."""
        self._events.put_nowait(Event("leaving", self.group.rank))

    async def run(self) -> Ending:
        """Raises OSError when the port cannot be listened on."""
        own = self.group.leader
        server = await asyncio.start_server(self._connected, own.address, self.group.port, limit=LINE_BYTES)
        try:
            ending = await self._gather() or await self._serve()
            for link in self._links.values():
                await link.say(stop=ending.why, status=ending.status)
            return ending
        finally:
            server.close()
            for task in self._welcoming:
                task.cancel()
            await asyncio.gather(*self._welcoming, return_exceptions=True)
            await self.engine.kill()

    # ---- gathering ---------------------------------------------------------------------------------------------

    async def _gather(self) -> Ending | None:
        """Wait until all members are here, and at least as long as earlier failures ask for; None when they are."""
        begin = time.monotonic() + self.fuse.pause
        while True:
            missing = [rank for rank in range(1, len(self.group.members)) if rank not in self._links]
            left = begin - time.monotonic()
            # what is still queued would be taken for something that happened after the start
            if not missing and left <= 0 and self._events.empty():
                return None
            self._say_what_for(missing)
            try:
                async with asyncio.timeout(None if missing else max(left, 0)):
                    event = await self._events.get()
            except TimeoutError:
                continue
            if event.kind == "leaving" and event.rank == self.group.rank:
                return Ending(STOPPED, "its unit was stopped")
            if event.kind == "other" and self._stays_other(event.rank):
                why = f"{self.group.name_of(event.rank)} has run another release for {self.group.patience_seconds} s"
                return Ending(FAILED, why)

    def _say_what_for(self, missing: list[int]) -> None:
        """What is waited for, once each."""
        text = f"waiting for {', '.join(map(self.group.name_of, missing))}" if missing else "pausing after a failure"
        if text != self._said:
            say(text)
        self._said = text

    def _stays_other(self, rank: int) -> bool:
        now = time.monotonic()
        return now - self._other_since.setdefault(rank, now) >= self.group.patience_seconds

    # ---- serving -----------------------------------------------------------------------------------------------

    async def _serve(self) -> Ending:
        """From the start of all engines to the first end among them."""
        say("all members are here; starting")
        self.fuse.started()
        try:
            await self.engine.start()
        except OSError as error:
            return self._failed(Event("ended", self.group.rank, f"its engine does not start: {error}"))
        watching = [asyncio.create_task(self._watch(end)) for end in (self.engine.ended(), self.pulse.stopped())]
        for _, link in sorted(self._links.items()):
            await link.say(start=True)
        draining = False
        while True:
            event = await self._events.get()
            if event.kind == "leaving":
                if not draining:
                    say(f"{self.group.name_of(event.rank)} is to stop; draining")
                    await self.engine.drain()
                draining = True
            elif event.kind in ("ended", "lost"):
                for task in watching:
                    task.cancel()
                return Ending(STOPPED, "its unit was stopped") if draining else self._failed(event)

    async def _watch(self, end: Awaitable[str]) -> None:
        self._events.put_nowait(Event("ended", self.group.rank, await end))

    def _failed(self, event: Event) -> Ending:
        why = f"{self.group.name_of(event.rank)}: {event.why}"
        if not self.fuse.failed():
            return Ending(FAILED, why)
        mend = "mend its cause and deploy again, or start the unit on all members"
        return Ending(GAVE_UP, f"gave up after {FAILURES} failures in a row, the last of {why}; {mend}")

    # ---- members -----------------------------------------------------------------------------------------------

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._welcome(reader, writer))
        self._welcoming.add(task)
        task.add_done_callback(self._welcoming.discard)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One member, from its first word for as long as it is here."""
        link, rank = Link(reader, writer), 0
        try:
            hello = await link.hear()
            rank = self._rank_of(hello, writer.get_extra_info("peername")[0])
            if hello.get("version") != self.group.version:
                await link.say(other=self.group.version)
                self._events.put_nowait(Event("other", rank))
                return
            if rank in self._links:
                self._lose(rank, "it has started again")
            self._links[rank] = link
            self._other_since.pop(rank, None)
            self._events.put_nowait(Event("joined", rank))
            while True:
                self._heard(rank, await link.hear())
        except Lost as lost:
            if self._links.get(rank) is link:
                self._lose(rank, str(lost))
        finally:
            link.close()

    def _rank_of(self, hello: Message, address: str) -> int:
        """The rank that a first word names. Raises Lost when it does not come from that member's address."""
        rank: Any = hello.get("rank")
        known = {number: member.address for number, member in enumerate(self.group.members) if number}
        if known.get(rank) == address:
            return int(rank)
        say(f"{address} is no member; declare its address, or keep it out by the firewall")
        raise Lost("no member")

    def _lose(self, rank: int, why: str) -> None:
        self._links.pop(rank).close()
        self._events.put_nowait(Event("lost", rank, why))

    def _heard(self, rank: int, message: Message) -> None:
        if "ended" in message:
            self._events.put_nowait(Event("ended", rank, str(message["ended"])))
        elif "leaving" in message:
            self._events.put_nowait(Event("leaving", rank))
