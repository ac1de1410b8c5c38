"""One value against what vLLM takes: its type, choices and range, and the keys of an object, to any depth."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vllm_fleet.engine.contract.snapshot import Kind, Snapshot
from vllm_fleet.schema.errors import Problem

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


class Refused(ValueError):
    """A value that vLLM does not take: what is wrong, and how to mend it."""

    def __init__(self, problem: str, fix: str) -> None:
        self.problem, self.fix = problem, fix
        super().__init__(problem)

    def at(self, path: str) -> Problem:
        return Problem(path, self.problem, self.fix)


def read(kind: Kind, text: str) -> Any:
    """A word of a command line as vLLM's parser reads it. Raises Refused.

    Source: `_compute_kwargs` in vllm/engine/arg_utils.py and vllm/utils/argparse_utils.py (0.33).
    """
    if kind.none and text in ("", "None"):
        return None
    if kind.fold:
        text = text.lower().replace("-", "_")
    match kind.type:
        case "int":
            value: Any = _number(int, text, "a whole number")
        case "float":
            value = _number(float, text, "a number")
        case "size" | "size-or-auto":
            value = -1 if kind.type == "size-or-auto" and text.lower() == "auto" else size(text)
        case "json" | "object":
            value = _json(text)
        case "json-or-str":
            value = _json(text) if text.lstrip().startswith("{") else text
        case _:
            value = text
    in_range(kind, value)
    return value


def size(text: str) -> int:
    """`8192`, `8k` (8000) or `8K` (8192), as vLLM reads counts of tokens and bytes. Raises Refused."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        return int(_number(int, text, "a whole number, which may end in k, m, g or K, M, G"))
    number, suffix = match.groups()
    if suffix.isupper() and "." in number:
        raise Refused(f"takes no fraction with {suffix}, got {text!r}", f"write {number}{suffix.lower()}")
    return int(float(number) * (1024 if suffix.isupper() else 1000) ** _POWER[suffix.lower()])


def in_range(kind: Kind, value: Any) -> None:
    """Raises Refused for a value outside the choices or the range."""
    if kind.choices and value not in kind.choices:
        raise Refused(f"does not take {value!r}", meant(str(value), map(str, kind.choices)))
    bounds = {"more than": kind.gt, "at least": kind.ge, "less than": kind.lt, "at most": kind.le}
    wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)
    if wanted and isinstance(value, int | float) and not _within(kind, value):
        raise Refused(f"must be {wanted}, got {value!r}", "change it")


def _within(kind: Kind, value: float) -> bool:
    return (
        (kind.gt is None or value > kind.gt)
        and (kind.ge is None or value >= kind.ge)
        and (kind.lt is None or value < kind.lt)
        and (kind.le is None or value <= kind.le)
    )


def meant(given: str, known: Iterable[str]) -> str:
    """The mend for a name that is not known: the nearest one, else all, or the first few of many."""
    names = list(known)
    spelled = dict.fromkeys((given, given.lower()))
    close = [name for each in spelled for name in difflib.get_close_matches(each, names, n=1)]
    close = close or [name for name in names if len(given) > 2 and name.startswith(given)]
    if close:
        return f"did you mean {close[0]}?"
    return f"use one of {', '.join(names[:12])}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def unknown_keys(snapshot: Snapshot, cls: str, content: Any, path: str) -> Iterator[Problem]:
    """The problems of a JSON object that fills a class of vLLM: unknown keys, and values they do not take."""
    if not isinstance(content, dict):
        yield Problem(path, f"must be a JSON object, got {_short(content)}", _example(cls))
        return
    keys = snapshot.classes[cls]
    for key, value in content.items():
        name = str(key).replace("-", "_")  # vLLM takes both (create_speculative_config)
        if name not in keys:
            yield Problem(f"{path}.{key}", f"unknown key in vLLM {snapshot.version}", meant(name, keys))
        else:
            yield from _member(snapshot, keys[name], value, f"{path}.{key}")


def _member(snapshot: Snapshot, kind: Kind, value: Any, path: str) -> Iterator[Problem]:
    if value is None:  # vLLM takes null for "not set" in more places than its types say
        return
    if kind.type == "object" and not (isinstance(value, str) and kind.cls in _ALSO_WORDS):
        yield from unknown_keys(snapshot, kind.cls, value, path)
        return
    try:
        in_range(kind, _typed(kind, value))
    except Refused as refused:
        yield refused.at(path)


_ALSO_WORDS = {"QuantSpec"}
"""Classes that a word stands for as well (QuantizationConfigArgs._coerce_spec, 0.33)."""


def _typed(kind: Kind, value: Any) -> Any:
    """A JSON value as pydantic takes it for the kind: it reads numbers and flags from words too. Raises Refused."""
    match kind.type:
        case "flag":
            fits, wanted = str(value).lower() in ("true", "false", "0", "1"), "true or false"
        case "int" if not isinstance(value, bool):
            return _number(int, value, "a whole number")
        case "float" if not isinstance(value, bool):
            return _number(float, value, "a number")
        case "str":
            fits, wanted = isinstance(value, str), "a string"
        case "list":
            fits, wanted = isinstance(value, list), "a list"
        case "json":
            fits, wanted = isinstance(value, dict), "a JSON object"
        case "any":
            return value
        case _:
            fits, wanted = False, "a number"
    if not fits:
        raise Refused(f"must be {wanted}, got {_short(value)}", "change it")
    return value


def _number(convert: type[int] | type[float], given: Any, wanted: str) -> int | float:
    try:
        number = convert(given)
    except (TypeError, ValueError, OverflowError):
        raise Refused(f"must be {wanted}, got {_short(given)}", "change it") from None
    if convert is int and isinstance(given, float) and given != number:
        raise Refused(f"must be {wanted}, got {given!r}", "change it")
    return number


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(f"must be JSON, got {_short(text)}", "write it as '{\"key\": ...}' in single quotes") from None


def _example(cls: str) -> str:
    example = _EXAMPLES.get(cls)
    return f"write it as {json.dumps(example)}" if example else 'write it as {"key": ...}'


_EXAMPLES: Mapping[str, Any] = {
    "SpeculativeConfig": {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4},
    "StructuredOutputsConfig": {"backend": "xgrammar"},
}


def in_one_line(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The problems with what no line can hold, which users' words may have, written as escapes."""
    for problem in problems:
        parts = (problem.path, problem.problem, problem.fix)
        yield Problem(*("".join(map(_escaped, part)) if not part.isprintable() else part for part in parts))


def _escaped(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
