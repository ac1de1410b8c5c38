"""An engine's command line as vLLM's own parser reads it, and what that parser refuses.

Source: argparse, and FlexibleArgumentParser.parse_args in vllm/utils/argparse_utils.py (0.33).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_fleet.engine.contract import removed
from vllm_fleet.engine.contract.snapshot import Kind, Snapshot
from vllm_fleet.engine.contract.values import Refused, meant, read, unknown_keys
from vllm_fleet.schema.errors import Problem

_VARIABLE = re.compile(r"[$`]")
_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")


@dataclass
class CommandLine:
    """What a command line says: the values of its options by long name, and what is wrong with it."""

    snapshot: Snapshot
    path_of: Callable[[str], str]
    """Where a user finds an option, by its name without dashes."""
    shell: bool = False
    """Whether a word may hold a variable that only a shell knows: such a word is not looked at."""
    model: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    """False for a flag that is negated."""
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, option: str, problem: str, fix: str) -> None:
        self.problems.append(Problem(self.path_of(option), problem, fix))


def parse(
    snapshot: Snapshot, arguments: Sequence[str], path_of: Callable[[str], str], shell: bool = False
) -> CommandLine:
    """Read what follows `vllm serve`. Never raises: what is wrong stands in `problems`."""
    found = CommandLine(snapshot, path_of, shell)
    objects: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not _is_option(word):
            _positional(found, word)
            continue
        if word == "-O" and words[:1] and words[0] in ("0", "1", "2", "3"):
            word = "--optimization-level"
        spelled, equals, value = _spelled(word)
        key, *inner = spelled.split(".") if "." in spelled else [spelled]
        name, negated = _resolve(found, key)
        given = [value] if equals else _take(words, snapshot.options.get(name), inner)
        if name not in snapshot.options:
            continue
        if inner:
            _nest(objects.setdefault(name, {}), inner, given[0] if given else "")
        else:
            _give(found, name, negated, given, bool(equals))
    for name, content in objects.items():
        _give(found, name, False, [json.dumps(content)], False)
    return found


def _is_option(word: str) -> bool:
    """As argparse tells: `-1` is a value, and so is a word with a space."""
    return word.startswith("-") and word != "-" and not _NUMBER.match(word) and " " not in word.split("=", 1)[0]


def _spelled(word: str) -> tuple[str, str, str]:
    """The option as vLLM looks it up (dashes, for it takes underscores too), `=`, and the value behind it."""
    if re.match(r"-O=?[^=.]", word):  # -O3
        return "--optimization-level", "=", word[2:].removeprefix("=")
    spelled, equals, value = word.partition("=")
    name, dot, keys = spelled.partition(".")
    return (name.replace("_", "-") if word.startswith("--") else name) + dot + keys, equals, value


def _resolve(found: CommandLine, spelled: str) -> tuple[str, bool]:
    """The option's name and whether it is negated; a name that vLLM does not have is a problem."""
    snapshot = found.snapshot
    if spelled in snapshot.spellings:
        return snapshot.spellings[spelled]
    name = spelled.lstrip("-")
    full = sorted(other for other in snapshot.spellings if spelled.startswith("--") and other.startswith(spelled))
    positive = name.removeprefix("no-")
    if gone := removed.option(name):
        found.refuse(name, gone.what, gone.instead)
    elif name != positive and positive in snapshot.options:
        found.refuse(positive, "cannot be turned off with False", "leave it out")
    elif len(full) == 1:
        whole = full[0].removeprefix("--")
        what = f"is short for {whole}, and will be unknown once another option begins so"
        found.refuse(name, what, f"write {whole}")
    else:
        found.refuse(name, f"unknown option of vLLM {snapshot.version}", _meant(snapshot, name, full))
    return name, False


def _meant(snapshot: Snapshot, name: str, full: list[str]) -> str:
    """The mend for an option that vLLM does not have."""
    known = [spelling.removeprefix("--") for spelling in snapshot.spellings if spelling.startswith("--")]
    if full:
        return f"write one of {', '.join(option.removeprefix('--') for option in full[:6])}"
    if f"-{name}" in snapshot.spellings:
        return f"write -{name} or --{snapshot.spellings[f'-{name}'][0]}"
    fix = meant(name, known)
    return fix if fix.startswith("did you") else "remove it, or see `vllm serve --help=all`"


def _take(words: list[str], kind: Kind | None, inner: list[str]) -> list[str]:
    """The words behind an option that are its values. An option that is not known takes what is no option."""
    if kind and kind.flag and not inner:
        return []
    most = len(words) if kind is None or (kind.many and not inner) else 1
    taken: list[str] = []
    while words and len(taken) < most and not _is_option(words[0]):
        taken.append(words.pop(0))
    return taken


def _positional(found: CommandLine, word: str) -> None:
    if found.model is None:
        found.model = word
    elif not (found.shell and _VARIABLE.search(word)):
        found.refuse("model", f"{word!r} stands where vLLM expects an option", "quote it, or put the option before it")


def _nest(into: dict[str, Any], keys: list[str], text: str) -> None:
    """--option.key.key value, as vLLM makes an object of it."""
    *outer, last = keys
    for key in outer:
        inner = into.setdefault(key, {})
        into = inner if isinstance(inner, dict) else {}
    if last.endswith("+"):
        last, value = last[:-1], into.get(last[:-1], [])
        into[last] = [*(value if isinstance(value, list) else []), *text.split(",")]
        return
    try:
        into[last] = json.loads(text)
    except (ValueError, RecursionError):
        into[last] = text


def _give(found: CommandLine, name: str, negated: bool, given: list[str], equals: bool) -> None:
    """Note an option's value, or why it has none that vLLM takes."""
    kind = found.snapshot.options[name]
    if kind.flag:
        if equals:
            found.refuse(name, f"takes no value, got {given[0]!r}", "write the option alone")
        found.values[name] = not negated
        return
    if not given:
        if kind.bare:
            found.values[name] = True
        else:
            found.refuse(name, "needs a value", "add it")
        return
    if found.shell and any(map(_VARIABLE.search, given)):
        return
    values = []
    for text in given:
        try:
            values.append(read(kind, text))
        except Refused as refused:
            found.refuse(name, refused.problem, refused.fix)
            return
    found.values[name] = values if kind.many else values[0]
    if kind.type == "object" and given[0] not in ("", "None"):
        found.problems += list(_object(found, name, kind, values[0]))


def _object(found: CommandLine, name: str, kind: Kind, content: Any) -> Iterator[Problem]:
    problems = list(unknown_keys(found.snapshot, kind.cls, content, found.path_of(name)))
    if not isinstance(content, dict):
        del found.values[name]
    yield from problems
