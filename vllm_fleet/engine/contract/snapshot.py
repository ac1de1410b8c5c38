"""What one version of vLLM takes, as scripts/contract-snapshot wrote it down: read once, when it is first asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from vllm_fleet.schema.errors import Problem

_VERSIONS = Path(__file__).parent / "versions"

SUPPORTED = sorted((path.stem for path in _VERSIONS.glob("*.json")), key=lambda name: [*map(int, name.split("."))])
"""The versions that there is a snapshot of, oldest first."""
NEWEST = SUPPORTED[-1]


@dataclass(frozen=True)
class Kind:
    """The values that an option, a key of a JSON object or an environment variable takes."""

    type: str
    """flag, int, float, str, size, size-or-auto, json, json-or-str, object, list, any; bool for a variable."""
    choices: tuple[Any, ...] = ()
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    none: bool = False
    """Whether None is a value too."""
    many: bool = False
    bare: bool = False
    """Whether the option may stand without a value."""
    fold: bool = False
    """Whether the parser makes the value lower case and its dashes underscores."""
    words: bool = False
    """Whether a variable takes `true` as well as 1."""
    cls: str = ""
    """The class that an object fills."""
    also: tuple[str, ...] = ()
    """Other spellings of an option."""
    no: tuple[str, ...] = ()
    """Spellings of its opposite."""

    @property
    def flag(self) -> bool:
        return self.type == "flag"


@dataclass(frozen=True)
class Method:
    """A quantization method. `capability` is the least compute capability it needs, 89 for 8.9; None: not told."""

    capability: int | None
    deprecated: bool = False


@dataclass(frozen=True)
class Snapshot:
    """One version of vLLM."""

    version: str
    options: Mapping[str, Kind]
    """By long name without dashes."""
    classes: Mapping[str, Mapping[str, Kind]]
    """The keys of each class that a JSON option fills."""
    environment: Mapping[str, Kind]
    names: Mapping[str, tuple[str, ...]]
    """Values of options whose parser lets anything through, and whose engine does not."""
    quantization: Mapping[str, Method]
    architectures: Mapping[str, frozenset[str]]
    """Model classes by what they serve: generate, pooling, draft."""
    metrics: Mapping[str, str]
    """Kinds by name, a counter's without `_total`; "" where the kind is not told."""

    @cached_property
    def spellings(self) -> dict[str, tuple[str, bool]]:
        """Each spelling on a command line: the option's name, and whether it says the opposite."""
        found: dict[str, tuple[str, bool]] = {}
        for name, kind in self.options.items():
            found[f"--{name}"] = (name, False)
            found |= dict.fromkeys(kind.also, (name, False)) | dict.fromkeys(kind.no, (name, True))
        return found


def find(version: str) -> Snapshot | None:
    """The snapshot for a version (`0.33`, `0.33.1`); None without one."""
    name = ".".join(version.split(".")[:2])
    return _load(name) if name in SUPPORTED else None


def unsupported(path: str, version: str) -> Problem:
    """What to say where `find` found nothing."""
    if not version:
        return Problem(path, "names no vLLM version to check options against", f"pin one of {', '.join(SUPPORTED)}")
    fix = f"use {' or '.join(SUPPORTED)}, or make its snapshot with scripts/contract-snapshot"
    return Problem(path, f"there is no snapshot of vLLM {version}", fix)


@cache
def _load(name: str) -> Snapshot:
    content = json.loads((_VERSIONS / f"{name}.json").read_text(encoding="utf-8"))
    return Snapshot(
        version=name,
        options=_kinds(content["options"]),
        classes={cls: _kinds(keys) for cls, keys in content["classes"].items()},
        environment=_kinds(content["environment"]),
        names={option: tuple(values) for option, values in content["names"].items()},
        quantization={method: Method(**values) for method, values in content["quantization"].items()},
        architectures={serves: frozenset(names) for serves, names in content["architectures"].items()},
        metrics=content["metrics"],
    )


def _kinds(entries: dict[str, dict[str, Any]]) -> dict[str, Kind]:
    return {
        name: Kind(**{_FIELDS.get(key, key): _plain(value) for key, value in entry.items()})
        for name, entry in entries.items()
    }


_FIELDS = {"class": "cls"}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
