"""Every other rank: joins rank 0, starts when it says so, and ends with it."""

from __future__ import annotations

import asyncio
import os
import time

from .config import Group
from .ending import FAILED, GAVE_UP, STOPPED, Ending, say
from .engine import Engine
from .link import Link, Lost, connect

RETRY_SECONDS = 2.0


class Follower:
    """One start of a member, from joining to its end."""

    def __init__(self, group: Group, engine: Engine) -> None:
        self.group, self.engine = group, engine
        self._leaving = asyncio.Event()
        self._other_since: float | None = None
        self._said = ""

    def leave(self) -> None:
        """The unit is to stop."""
        self._leaving.set()

    async def run(self) -> Ending:
        joining = asyncio.create_task(self._join())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({joining, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():
                return Ending(STOPPED, "its unit was stopped")
            joined = joining.result()
            return joined if isinstance(joined, Ending) else await self._serve(joined, leaving)
        finally:
            joining.cancel()
            leaving.cancel()
            await self.engine.kill()

    async def _join(self) -> Link | Ending:
        """Wait until rank 0 says start, or that there is nothing to wait for."""
        while True:
            link = None
            try:
                link = await connect(self.group.leader.address, self.group.port, self.group.own.address)
                await link.say(rank=self.group.rank, version=self.group.version)
                order = await link.hear()
                if "start" in order:
                    return link
                if order.get("status") == GAVE_UP:
                    return Ending(GAVE_UP, str(order.get("stop")))
                if self._stays_other("other" in order):
                    why = f"{self.group.name_of(0)} has run another release for {self.group.patience_seconds} s"
                    return Ending(FAILED, why)
                self._say_waiting("which runs another release" if "other" in order else "which is about to start again")
            except Lost as lost:
                self._say_waiting(str(lost))
            except TimeoutError:
                self._say_waiting("no answer")
            except OSError as error:
                self._say_waiting(os.strerror(error.errno) if error.errno else type(error).__name__)
            if link:
                link.close()
            await asyncio.sleep(RETRY_SECONDS)  # rank 0's host may be down for long

    def _say_waiting(self, why: str) -> None:
        """What is waited for, once each."""
        text = f"waiting for {self.group.name_of(0)}: {why}"
        if text != self._said:
            say(text)
        self._said = text

    def _stays_other(self, other: bool) -> bool:
        now = time.monotonic()
        self._other_since = (self._other_since or now) if other else None
        return other and now - (self._other_since or now) >= self.group.patience_seconds

    async def _serve(self, link: Link, leaving: asyncio.Task[bool]) -> Ending:
        """From the engine's start until rank 0 ends all, or is gone."""
        say("starting")
        try:
            await self.engine.start()
            ended = asyncio.create_task(self.engine.ended())
        except OSError as error:
            ended = asyncio.create_task(_said(f"its engine does not start: {error}"))
        order = asyncio.create_task(link.hear())
        waiting: set[asyncio.Task[str] | asyncio.Task[bool]] = {ended, leaving}
        while not order.done():
            done, _ = await asyncio.wait({order, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                await link.say(ended=ended.result())
            if leaving in done:
                await link.say(leaving=True)
            waiting -= done
        return self._ending(order)

    def _ending(self, order: asyncio.Task[dict[str, object]]) -> Ending:
        try:
            message = order.result()
        except Lost as lost:
            return Ending(FAILED, f"{self.group.name_of(0)}: {lost}")
        status = message.get("status")
        return Ending(status if isinstance(status, int) else FAILED, str(message.get("stop")))


async def _said(text: str) -> str:
    return text
