"""What operations ask a host: questions, and the one fact that asks many of them in one command."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase

# Begins the output of each question: no host can know it, so no file's content can be taken for it.
_MARK = f"--{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Question:
    """Something to know of a host: a read-only shell command and how its lines of output read.

    Questions with the same `join` may be asked by one command, which it makes of all their `about`; each is then
    answered by the whole output.
    """

    command: str
    read: Callable[[list[str]], Any]
    about: Any = None
    join: Callable[[list[Any]], str] | None = None


class Answers(FactBase[list[list[str]]]):
    """The output of each of many commands, run as one: over SSH a command's price is mostly its journey."""

    default = list

    def command(self, commands: list[str]) -> str:
        asked = [f"echo {_MARK}\n( {command}\n) </dev/null 2>/dev/null" for command in commands]
        return "\n".join([*asked, "true"])  # what one of them exits with says nothing

    def process(self, output: list[str]) -> list[list[str]]:
        blocks: list[list[str]] = []
        for line in output:
            if line == _MARK:
                blocks.append([])
            elif blocks:
                blocks[-1].append(line)
        return blocks


def holds(test: str) -> Question:
    """Whether a read-only shell command exits 0."""
    return Question(f"if ( {test} ) >/dev/null; then echo yes; else echo no; fi", lambda lines: lines == ["yes"])


def names_in(directory: str) -> Question:
    """The names in a directory, sorted; an absent directory has none."""
    return Question(f"ls -1 {shlex.quote(directory)}", sorted)
