"""Commands that start vLLM, in a shell script or an article: found, and checked as `vllm serve` would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from vllm_fleet.engine.contract import checkpoints, combinations, environment, names
from vllm_fleet.engine.contract.models import config_of
from vllm_fleet.engine.contract.parse import parse
from vllm_fleet.engine.contract.rules import Engine
from vllm_fleet.engine.contract.snapshot import Snapshot
from vllm_fleet.engine.contract.values import in_one_line
from vllm_fleet.schema.errors import Problem
from vllm_fleet.schema.weights import Weights

_SERVER = "vllm.entrypoints.openai.api_server"
_RULES = names.RULES + combinations.RULES + checkpoints.RULES
_LAUNCHERS = {"torchrun", "deepspeed", "accelerate"}


@dataclass(frozen=True)
class Command:
    """One command that serves with vLLM."""

    lines: tuple[tuple[int, str], ...]
    """The lines it stands on, and their numbers."""
    before: tuple[str, ...]
    """What stands before vLLM's own arguments: `vllm serve`, a launcher, `docker run ... IMAGE`."""
    arguments: tuple[str, ...]
    environment: dict[str, str]


def check_text(snapshot: Snapshot, text: str, name: str) -> tuple[list[Problem], int]:
    """The problems of all commands in a text, each at `NAME:LINE: --option`, and how many commands there are."""
    problems: list[Problem] = []
    count = 0
    for found in find(text, name):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            count += 1
            problems += check_command(snapshot, found, name)
    return list(in_one_line(problems)), count


def check_command(snapshot: Snapshot, command: Command, name: str) -> Iterator[Problem]:
    """The problems of one command of the file `name`."""

    def path_of(option: str) -> str:
        return f"{name}:{_line_of(command, f'--{option}')}: --{option}"

    line = parse(snapshot, command.arguments, path_of, shell=True)
    model = line.values.get("model") or line.model
    line.model = str(model) if model else None
    path = f"{name}:{command.lines[0][0]}: "
    yield from _start(command, path, path_of("model"), line.values.get("tensor-parallel-size", 1))
    yield from environment.check(snapshot, command.environment, path)
    yield from line.problems
    engine = Engine(line=line, config=config_of(_weights(line.model)), environment=command.environment)
    for rule in _RULES:
        yield from rule(engine)


def _line_of(command: Command, option: str) -> int:
    """The line that an option stands on; the first, where it is written otherwise."""
    name = "[-_]".join(map(re.escape, option.removeprefix("--").split("-")))  # vLLM takes both
    spelled = re.compile(rf"(?<!\S)--{name}(?![\w-])")
    return next((number for number, text in command.lines if spelled.search(text)), command.lines[0][0])


def _weights(model: str | None) -> Weights:
    """A model by its name on the hub; a path is known to nobody."""
    named = model and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model, re.ASCII)
    return Weights(name=model if named and model else "unknown")


def _start(command: Command, path: str, model_path: str, size: int) -> Iterator[Problem]:
    """How the command starts vLLM. Source: vllm/entrypoints/openai/api_server.py and cli/serve.py (0.33)."""
    launcher = next((word for word in command.before if PurePath(word).name in _LAUNCHERS), None)
    given_as_option = any(word == "--model" or word.startswith("--model=") for word in command.arguments)
    if launcher:
        size_option = f" --tensor-parallel-size {size}" if size > 1 else ""
        yield Problem(
            path + PurePath(launcher).name,
            "starts one whole server a GPU, and each takes all of them",
            f"write vllm serve MODEL{size_option} (--nnodes, --node-rank and --master-addr for several hosts)",
        )
    elif _SERVER in command.before:
        yield Problem(path + _SERVER, "is deprecated", "write vllm serve MODEL")
    if given_as_option and _SERVER not in command.before:
        yield Problem(model_path, "is deprecated, vLLM will remove it", "put the model first: vllm serve MODEL")


# ---- Finding them in a script -----------------------------------------------------------------------------------


def find(text: str, name: str) -> Iterator[Command | Problem]:
    """Commands in the order of the text. A line that mentions vLLM's server and is no shell is a problem."""
    for lines in _joined(text):
        line = " ".join(part for _, part in lines)
        if not _mentions(line):
            continue
        try:
            simple = list(_split(line))
        except ValueError as error:
            fix = "close it, or join the lines with a backslash"
            yield Problem(f"{name}:{lines[0][0]}", f"is no shell command ({str(error).lower()})", fix)
            continue
        for words in simple:
            if found := _command(tuple(lines), words):
                yield found


def _mentions(line: str) -> bool:
    return bool(re.search(r"\bvllm\s+serve\b|\bvllm-openai\b", line)) or _SERVER in line


def _joined(text: str) -> Iterator[list[tuple[int, str]]]:
    """Lines with their continuations, numbered and without the backslashes; comments are left out."""
    parts: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not parts and line.lstrip().startswith("#"):
            continue
        continued = line.rstrip().endswith("\\")
        parts.append((number, line.rstrip()[:-1] if continued else line))
        if not continued:
            yield parts
            parts = []
    if parts:
        yield parts


_REDIRECTION = re.compile(r"\d*[<>]")


def _split(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, as words. Raises ValueError for a quote without its end."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in lexer:
        if word.startswith("#") or _REDIRECTION.match(word):
            break
        if word and set(word) <= set(";|&"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def _command(lines: tuple[tuple[int, str], ...], words: list[str]) -> Command | None:
    """The command that these words are, None where it does not serve with vLLM."""
    environment: dict[str, str] = {}
    while words and (match := _ASSIGNMENT.fullmatch(words[0])):
        if "$" not in match[2]:  # only the shell knows it
            environment[match[1]] = match[2]
        words = words[1:]
    words = words[1:] if words[:1] == ["$"] else words
    for index, word in enumerate(words):
        after = words[index + 1 :]
        if PurePath(word).name == "vllm" and after[:1] == ["serve"]:
            return Command(lines, tuple(words[: index + 2]), tuple(after[1:]), environment)
        if word == "-m" and after[:1] == [_SERVER]:
            return Command(lines, tuple(words[: index + 2]), tuple(after[1:]), environment)
        if words[0] in ("docker", "podman") and re.search(r"(^|/)vllm-openai(:|@|$)", word):
            return Command(lines, tuple(words[: index + 1]), tuple(after), environment)
    return None
