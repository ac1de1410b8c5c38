"""The program: which part this host has, and how the unit's stop reaches it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from .config import ENGINES, Group, load
from .ending import FAILED, Ending, say
from .engine import Engine
from .follower import Follower
from .fuse import Fuse
from .leader import Leader
from .pulse import Pulse


def main(arguments: Sequence[str]) -> int:
    """Take part until the end; returns the exit status."""
    (instance,) = arguments
    try:
        group = load(instance, ENGINES)
        ending = asyncio.run(_take_part(group, Path(os.environ["RUNTIME_DIRECTORY"])))
    except (OSError, ValueError, KeyError) as error:
        ending = Ending(FAILED, f"{type(error).__name__}: {error}; deploy the engine again")
    say(ending.why)
    return ending.status


async def _take_part(group: Group, directory: Path) -> Ending:
    engine = Engine(group.start, group.drain)
    part: Leader | Follower
    if group.rank:
        part = Follower(group, engine)
    else:
        fuse = Fuse(directory, group.version, group.start_seconds)
        part = Leader(group, engine, fuse, Pulse(group.url, group.model_name, group.directory))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, part.leave)
    return await part.run()
