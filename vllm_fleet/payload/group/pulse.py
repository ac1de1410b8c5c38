"""Whether the replica still works: its processes may live, and say so, while its ranks wait for each other for ever.

Seen with NCCL, whose worker is ended a minute after its peer was lost, and the head not at all (vLLM 0.26 on two H200s,
docs/measurements/group-h200.json); `/health` stayed 200.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from .completion import ask, key_of, steps

BEAT_SECONDS = 30.0
"""Between two questions, and the most that each may take."""
MISSES = 3
"""In a row, after which it no longer works: within five minutes, and not before vLLM itself gives up a step
(VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS, 120 here)."""


class Pulse:
    """One start's API: a completion now and then, or else steps that go on, for a busy engine may let it wait."""

    def __init__(self, url: str, model_name: str, directory: Path) -> None:
        self._url, self._model_name, self._directory = url, model_name, directory

    async def stopped(self) -> str:
        """Wait until it has answered once and then no longer works; in words."""
        while not await self._answers():
            await asyncio.sleep(BEAT_SECONDS)  # it starts, which the deploy bounds
        misses, last = 0, time.monotonic()
        while misses < MISSES:
            await asyncio.sleep(BEAT_SECONDS)  # the beat itself
            before = await self._steps()
            if await self._answers() or await self._steps() != before:
                misses, last = 0, time.monotonic()
            else:
                misses += 1
        return f"it answered nothing and took no step for {time.monotonic() - last:.0f} s"

    async def _answers(self) -> bool:
        key = key_of(self._directory)
        answer = await asyncio.to_thread(ask, self._url, self._model_name, key, 0.0, BEAT_SECONDS)
        # what it refuses it has looked at
        return answer.ok or answer.refused

    async def _steps(self) -> float | None:
        return await asyncio.to_thread(steps, self._url, key_of(self._directory), BEAT_SECONDS)
