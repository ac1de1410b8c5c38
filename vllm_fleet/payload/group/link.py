"""Messages between two members: a line of JSON each over TCP, and a beat when there is nothing to say.

A process that dies closes its connection; a host that loses its power, or its network, falls silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 20.0
"""After which a member counts as gone. A restart costs a minute and every request, and a shorter cut nothing: NCCL over
TCP went on after 30 and 60 s (vLLM 0.26 on two H200s, docs/measurements/group-h200.json)."""
LINE_BYTES = 4096

Message = dict[str, Any]


class Lost(Exception):
    """The other member is gone: why."""


class Link:
    """A connection to another member; beats go out by themselves until it is closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._beats = asyncio.create_task(self._beat())

    async def say(self, **message: Any) -> None:
        """Send a message; one that cannot be sent is no error here, for `hear` tells."""
        with contextlib.suppress(OSError, TimeoutError):  # `hear` tells
            async with asyncio.timeout(SILENCE_SECONDS):
                self._writer.write(json.dumps(message).encode() + b"\n")
                await self._writer.drain()

    async def hear(self) -> Message:
        """The next message that is not a beat. Raises Lost."""
        while True:
            if message := await self._line():
                return message

    async def _line(self) -> Message:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                line = await self._reader.readuntil(b"\n")
            message = json.loads(line)
        except TimeoutError:
            raise Lost(f"silent for {SILENCE_SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise Lost("its connection closed") from None
        except OSError as error:
            raise Lost(f"its connection broke ({error.strerror or type(error).__name__})") from None
        except (ValueError, asyncio.LimitOverrunError):
            raise Lost("it said what no member says") from None
        if not isinstance(message, dict):
            raise Lost("it said what no member says")
        return message

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)  # the beat itself
            await self.say()

    def close(self) -> None:
        self._beats.cancel()
        self._writer.close()


async def connect(address: str, port: int, own: str) -> Link:
    """A link from this member's own address. Raises OSError or TimeoutError."""
    async with asyncio.timeout(SILENCE_SECONDS):
        reader, writer = await asyncio.open_connection(address, port, limit=LINE_BYTES, local_addr=(own, 0))
    return Link(reader, writer)
