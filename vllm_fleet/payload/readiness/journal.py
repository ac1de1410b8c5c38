"""What systemd and the journal say of an engine's unit: its state, its starts and their lines."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .failures import Failure, failure_of, plain

RESTARTS_ENOUGH = 3
"""Restarts within one wait after which the engine is said to crash again and again."""


@dataclass(frozen=True)
class Entry:
    """One line of a unit's journal, with the start of the unit it belongs to."""

    invocation: str
    text: str
    cursor: str


def entries_of(output: str) -> list[Entry]:
    """The entries of `journalctl -o json`."""
    return [_entry(json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def _entry(fields: dict[str, Any]) -> Entry:
    text = fields.get("MESSAGE") or ""
    if isinstance(text, list):  # journalctl writes what is not printable, e.g. colours, as byte numbers
        text = bytes(text).decode(errors="replace")
    # systemd's own lines about a unit name the start in INVOCATION_ID, those of the unit in the trusted field
    invocation = fields.get("INVOCATION_ID") or fields.get("_SYSTEMD_INVOCATION_ID") or ""
    return Entry(str(invocation), plain(text), fields["__CURSOR"])


def runs_of(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Lines by start of the unit, oldest first; a line that names no start belongs to the one before."""
    runs: dict[str, list[str]] = {}
    latest = ""
    for entry in entries:
        latest = entry.invocation or latest
        runs.setdefault(latest, []).append(entry.text)
    return runs


@dataclass(frozen=True)
class Unit:
    """A unit's state; times are None before its first start."""

    loaded: bool
    active: str
    sub: str
    pid: int
    restarts: int
    invocation: str
    activated: datetime | None
    started: datetime | None

    @property
    def alive(self) -> bool:
        """Whether its latest start goes on; between restarts and after giving up it does not."""
        return self.active in ("active", "activating", "reloading", "deactivating") and self.sub != "auto-restart"


_PROPERTIES = (
    "LoadState,ActiveState,SubState,MainPID,NRestarts,InvocationID,InactiveExitTimestamp,ExecMainStartTimestamp"
)


def unit_of(output: str) -> Unit:
    """The unit in the output of `systemctl show --timestamp=us+utc`."""
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    return Unit(
        loaded=values.get("LoadState") == "loaded",
        active=values.get("ActiveState", "inactive"),
        sub=values.get("SubState", "dead"),
        pid=int(values.get("MainPID") or 0),
        restarts=int(values.get("NRestarts") or 0),
        invocation=values.get("InvocationID", ""),
        activated=_time(values.get("InactiveExitTimestamp", "")),
        started=_time(values.get("ExecMainStartTimestamp", "")),
    )


def _time(text: str) -> datetime | None:
    """systemd's `Sat 2026-11-21 08:07:00.123456 UTC`; it writes English day names whatever the locale."""
    if text in ("", "n/a", "0"):
        return None
    return datetime.strptime(text.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f %Z").replace(tzinfo=UTC)


def split(runs: dict[str, list[str]], unit: Unit) -> tuple[list[list[str]], list[str]]:
    """Lines of the starts that had ended when the unit was looked at, oldest first, and those of the one that went on.

    What a later start has written meanwhile is for the next look.
    """
    ended: list[list[str]] = []
    for start, lines in runs.items():
        if start == unit.invocation:
            return (ended, lines) if unit.alive else ([*ended, lines], [])
        if start:
            ended.append(lines)
    return ended, []


def problem_of(unit: Unit, first_restarts: int, ended: Sequence[Sequence[str]]) -> Failure | None:
    """Why waiting longer is no use, from the unit's state and the journals of the starts that ended; None: wait on.

    `first_restarts` is the unit's restart counter when the wait began; systemd sets it to 0 on a start by hand.
    """
    if not unit.loaded:
        return Failure("", "systemd does not know its unit", "deploy the engine again")
    found = [failure for failure in map(failure_of, ended) if failure]
    for failure in found:
        if failure.final:
            return failure
    if unit.active in ("failed", "inactive"):
        return found[-1] if found else Failure("", f"its unit is {unit.active}", "read the journal of the unit")
    if unit.restarts - min(first_restarts, unit.restarts) >= RESTARTS_ENOUGH:
        ends = f"it ended {RESTARTS_ENOUGH} times, last with status {_status(ended[-1] if ended else [])}"
        return found[-1] if found else Failure("", ends, "read the journal of the unit")
    return None


def _status(lines: Sequence[str]) -> str:
    """How the main process ended, in systemd's words; it says nothing of an end with 0."""
    found = re.findall(r"Main process exited, code=\w+, status=(\S+)", "\n".join(lines))
    return found[-1] if found else "0"


def run_command(*command: str, seconds: float = 30) -> str:
    """What a command prints, whatever its exit status. Raises TimeoutExpired."""
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
    ).stdout


def show(unit: str) -> Unit:
    return unit_of(run_command("systemctl", "show", "--timestamp=us+utc", f"--property={_PROPERTIES}", unit))


def _journalctl(*options: str) -> str:
    # --all: without it a line above 4 KiB (vLLM's "Initializing a V1 LLM engine") comes as null
    return run_command("journalctl", "--quiet", "--all", "--output=json", *options)


def last_lines(unit: str, since: float, count: int) -> dict[str, list[str]]:
    """The last lines of a unit's journal since a moment (seconds since the epoch), by start of the unit."""
    return runs_of(entries_of(_journalctl("--unit", unit, f"--since=@{since:.6f}", f"--lines={count}")))


@dataclass
class Journal:
    """A unit's journal from a moment on; each `read` adds what is new."""

    unit: str
    since: float
    """Seconds since the epoch."""
    entries: list[Entry] = field(default_factory=list)

    def read(self) -> dict[str, list[str]]:
        """Lines by start of the unit."""
        start = f"--after-cursor={self.entries[-1].cursor}" if self.entries else f"--since=@{self.since:.6f}"
        self.entries += entries_of(_journalctl("--unit", self.unit, start))
        return runs_of(self.entries)

    def kernel(self) -> list[str]:
        """What the kernel wrote meanwhile; it does not name the unit."""
        return [entry.text for entry in entries_of(_journalctl("--dmesg", f"--since=@{self.since:.6f}"))]
