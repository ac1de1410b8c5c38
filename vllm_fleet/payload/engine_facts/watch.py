"""One engine, looked at again and again in a thread of its own: one that is frozen keeps no other waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .completion import Answer, ask, key_of, metrics
from .engine import Engine, load, runs_current
from .failures import phase_of
from .journal import Unit, last_lines, show, split
from .kv_cache import kv_cache_tokens

LOOK_SECONDS = 15.0
PROBE_SECONDS = 60.0
"""From one probe to the next."""
DEADLINE_SECONDS = 30.0
"""For a probe's whole exchange: behind a usual queue and a long prefill a token is there by then, and a client that
waits longer for its first has mostly left. One behind 473 waiting requests was not (vLLM 0.32 on CPU): the alert asks
for the queue, too."""
METRICS_SECONDS = 5.0
LINES = 2000
"""Of the journal, in which a start tells how far it got; vLLM 0.32 writes some hundred."""

SERVING = "serving"
UNKNOWN = "unknown"
"""The release of a process that was older than the link when this program first saw it."""


@dataclass(frozen=True)
class Probe:
    """A completion that was asked for."""

    answer: Answer
    seconds: float
    at: float
    """When it was asked for, in seconds since the epoch."""


@dataclass(frozen=True)
class Facts:
    """What one look found."""

    engine: Engine
    at: float
    """When, in seconds since the epoch."""
    phase: str | None
    """How far the start got, or how it ended; None for an engine that does not answer for its replica."""
    started: float | None
    """When the main process was started; None while none runs, as the next."""
    release: str | None
    kv_tokens: dict[str, int]
    """By data parallel rank; empty while it does not serve, as the next."""
    probe: Probe | None


@dataclass
class _Start:
    """What is remembered of one start of the unit; the next begins anew."""

    invocation: str
    release: str = UNKNOWN
    answered: bool = False
    """Whether its API has ever answered: connections are refused until it serves (vLLM 0.32)."""
    kv_tokens: dict[str, int] = field(default_factory=dict)
    probe: Probe | None = None


class Watch:
    """The looks at one engine. `facts` are the last one's, None before the first."""

    def __init__(self, instance: str, engines: Path) -> None:
        self.facts: Facts | None = None
        self._instance, self._engines = instance, engines
        self._start = _Start("")
        self._over = threading.Event()
        self._said = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name=self._instance, daemon=True).start()

    def stop(self) -> None:
        """The engine is no longer here."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
                self._say(f"{type(error).__name__}: {error}")  # the age of its facts tells, too
            self._over.wait(LOOK_SECONDS)

    def _say(self, what: str) -> None:
        """A line for the journal, once each."""
        if what != self._said:
            print(f"{self._instance}: {what}", file=sys.stderr, flush=True)
        self._said = what

    def look(self) -> None:
        """Look once. Raises OSError, ValueError, KeyError or TimeoutExpired where files or systemd do not answer."""
        engine = load(self._instance, self._engines)
        unit = show(engine.unit)
        if unit.invocation != self._start.invocation:
            self._start = _Start(unit.invocation)
        if runs_current(unit, engine.directory):
            self._start.release = engine.release
        phase = self._phase(engine, unit) if engine.head else None
        if phase == SERVING and self._is_due():
            self._start.probe = _probe(engine, unit)
        serves, runs = phase == SERVING, unit.pid > 0 and unit.started is not None
        self.facts = Facts(
            engine=engine,
            at=time.time(),
            phase=phase,
            started=unit.started.timestamp() if unit.started and runs else None,
            release=self._start.release if runs else None,
            kv_tokens=self._start.kv_tokens if serves else {},
            probe=self._start.probe if serves else None,
        )

    def _phase(self, engine: Engine, unit: Unit) -> str:
        if unit.sub == "auto-restart":
            return "waiting for a restart"
        if not unit.alive or unit.activated is None:
            return "failed" if unit.active == "failed" else "stopped"
        if unit.active == "deactivating":
            return "stopping"
        if self._has_answered(engine):
            return SERVING
        _, lines = split(last_lines(engine.unit, unit.activated.timestamp(), LINES), unit)
        return phase_of(lines)

    def _has_answered(self, engine: Engine) -> bool:
        """Asked until it has; what the KV cache holds does not change afterwards."""
        start = self._start
        if not start.answered:
            text = metrics(engine.url, key_of(engine.directory), METRICS_SECONDS)
            start.answered = text is not None
            start.kv_tokens = kv_cache_tokens(text or "")
        return start.answered

    def _is_due(self) -> bool:
        last = self._start.probe
        return last is None or time.time() - last.at >= PROBE_SECONDS


def _probe(engine: Engine, unit: Unit) -> Probe:
    """Ask for one token: /health, /metrics and /v1/models stay 200 with a frozen engine (vLLM 0.32)."""
    since = unit.started.timestamp() if unit.started else 0.0
    at, begin = time.time(), time.monotonic()
    answer = ask(engine.url, engine.model_name, key_of(engine.directory), since, DEADLINE_SECONDS)
    return Probe(answer, time.monotonic() - begin, at)
