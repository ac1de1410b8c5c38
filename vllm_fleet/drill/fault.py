"""What a fault is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """Something done to a host as root, in shell."""

    host: str
    plant: str
    undo: str
    """Harmless where nothing was planted: it also runs before a drill, which an earlier one may have left half done."""


@dataclass(frozen=True)
class Load:
    """Requests to one model through the gateway, streamed, each client one at a time."""

    model: str
    clients: int
    ramp_seconds: float
    """Over which the clients begin, one after the other."""
    first_clients: int = 1
    """Who begin at once."""
    max_tokens: int = 16
    words: int = 8
    """Of the prompt, no two alike."""
    impatient: int = 0
    """Every so manieth client leaves its answer after two seconds; 0: none does."""


@dataclass(frozen=True)
class Fault:
    """One fault, and the alerts that must tell of it."""

    what: str
    alerts: tuple[str, ...]
    labels: dict[str, str] = field(default_factory=dict)
    """Which those alerts must carry, so that another's is not taken for them."""
    steps: tuple[Step, ...] = ()
    load: Load | None = None


Round = tuple[Fault, ...]
"""Faults that can be there at the same time, for none of their alerts silences another's."""
