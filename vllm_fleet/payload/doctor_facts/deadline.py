"""Asks several sources at once, each in a process of its own, and waits for none longer than it was given.

A thread could not be given up: a driver that hangs in the kernel keeps its whole process from ending, and with it the
SSH session that waits for the output. A child that hangs holds nothing but its own pipe, so none is waited for: this
program ends soon, and init reaps them.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class Source:
    """Where one fact comes from."""

    look: Callable[[], Any]
    """Gives what JSON can hold; may raise, hang or crash."""
    seconds: float


@dataclass
class _Child:
    name: str
    pid: int
    pipe: int
    seconds: float
    end: float
    """On CLOCK_MONOTONIC."""
    said: bytes = b""


def ask(sources: Mapping[str, Source]) -> tuple[dict[str, Any], dict[str, str]]:
    """What each source says, None for one that failed, and why it failed by the source's name."""
    values: dict[str, Any] = dict.fromkeys(sources)
    unread: dict[str, str] = {}
    with selectors.DefaultSelector() as selector:
        for name, source in sources.items():
            try:
                child = _start(name, source)
            except OSError as error:  # the host has no process or file left to give
                unread[name] = f"{type(error).__name__}: {error}"
            else:
                selector.register(child.pipe, selectors.EVENT_READ, child)
        while selector.get_map():
            waiting: list[_Child] = [key.data for key in selector.get_map().values()]
            left = min(child.end for child in waiting) - time.monotonic()
            for key, _ in selector.select(max(left, 0)):
                child = key.data
                piece = os.read(child.pipe, 1 << 16)
                child.said += piece
                if not piece:
                    selector.unregister(child.pipe)
                    _understand(child, values, unread)
            for child in waiting:
                if child.pipe in selector.get_map() and time.monotonic() >= child.end:
                    selector.unregister(child.pipe)
                    unread[child.name] = f"no answer within {child.seconds:g} s"
                    _end(child)
    return values, unread


def _start(name: str, source: Source) -> _Child:
    pipe, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(source.look, answer)
    os.close(answer)
    return _Child(name, pid, pipe, source.seconds, time.monotonic() + source.seconds)


def _answer(look: Callable[[], Any], pipe: int) -> NoReturn:
    """The child: says the value, or why there is none."""
    os.setsid()  # with a group of its own, so that the commands it runs end with it
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # a child that hangs must not hold the SSH session open
        os.dup2(nothing, standard)
    try:
        try:
            said = json.dumps({"value": look()})
        except Exception as error:  # whatever it is, one source must not take the others with it
            said = json.dumps({"error": f"{type(error).__name__}: {error}"})
        with open(pipe, "w", encoding="utf-8") as file:
            file.write(said)
    finally:
        os._exit(0)


def _understand(child: _Child, values: dict[str, Any], unread: dict[str, str]) -> None:
    os.close(child.pipe)
    try:
        said = json.loads(child.said)
    except ValueError:  # a crash inside a library leaves nothing
        said = {"error": "ended without an answer"}
    if "error" in said:
        unread[child.name] = said["error"]
    else:
        values[child.name] = said["value"]


def _end(child: _Child) -> None:
    """Kill it and what it started; in the kernel it may outlive the signal."""
    os.close(child.pipe)
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.killpg(child.pid, signal.SIGKILL)
