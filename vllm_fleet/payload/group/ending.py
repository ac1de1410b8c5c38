"""How a member's part ends."""

from __future__ import annotations

from dataclasses import dataclass

STOPPED, FAILED, GAVE_UP = 0, 1, 78
"""Exit statuses; the unit names the last in RestartPreventExitStatus (78 is EX_CONFIG of sysexits.h)."""


@dataclass(frozen=True)
class Ending:
    """The exit status, and why for the journal."""

    status: int
    why: str


def say(text: str) -> None:
    """A line for the journal."""
    print(f"group: {text}", flush=True)
