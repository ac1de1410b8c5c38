"""The engine's process on this host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence


class Engine:
    """One start of the engine, by the release's `start`."""

    def __init__(self, start: str, drain: Sequence[str]) -> None:
        self._start, self._drain = start, drain
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, in a session of its own so that all its processes can be killed. Raises OSError."""
        # PYTHONPATH is for this program alone
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = await asyncio.create_subprocess_exec(self._start, env=environment, start_new_session=True)

    async def ended(self) -> str:
        """Wait for its end; in words."""
        assert self._process
        status = await self._process.wait()
        return f"its engine ended with status {status}" if status >= 0 else f"its engine was killed by signal {-status}"

    async def drain(self) -> None:
        """Let it finish its requests and end; who asks waits for `ended`, and systemd bounds that."""
        assert self._process
        if self._drain:
            await asyncio.create_subprocess_exec(*self._drain, stdout=asyncio.subprocess.DEVNULL)
            return
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            self._process.send_signal(signal.SIGINT)  # SIGTERM is lost while a model loads (vLLM 0.32)

    async def kill(self) -> None:
        """End all that is left of it; a container is the unit's ExecStopPost's matter."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
