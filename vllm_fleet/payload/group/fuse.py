"""How often the group failed in a row: longer and longer pauses, then an end.

Rank 0 keeps count in its unit's runtime directory, which systemd keeps over automatic restarts and removes when the
unit stops or fails for good (RuntimeDirectoryPreserve=restart).
"""

from __future__ import annotations

import json
import time
from pathlib import Path

FAILURES = 6
"""In a row, after which the group gives up: with the pauses 2.5 minutes beside the starts themselves."""
PAUSES = (0.0, 0.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds before the next start, by the number of failures so far."""
STEADY_SECONDS = 600.0
"""What goes on for so long beyond its start has not failed in a row."""


class Fuse:
    """The count of one release; another release begins anew."""

    def __init__(self, directory: Path, version: str, start_seconds: float) -> None:
        self._file, self._version = directory / "failures.json", version
        self._steady = start_seconds + STEADY_SECONDS
        self._started = time.monotonic()

    @property
    def failures(self) -> int:
        try:
            noted = json.loads(self._file.read_text(encoding="utf-8"))
            return int(noted["failures"]) if noted["version"] == self._version else 0
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or cut off while it was written
            return 0

    @property
    def pause(self) -> float:
        return PAUSES[min(self.failures, len(PAUSES) - 1)]

    def started(self) -> None:
        self._started = time.monotonic()

    def failed(self) -> bool:
        """Count a failure; whether it was one too many."""
        before = 0 if time.monotonic() - self._started >= self._steady else self.failures
        self._file.write_text(json.dumps({"version": self._version, "failures": before + 1}), encoding="utf-8")
        return before + 1 >= FAILURES
