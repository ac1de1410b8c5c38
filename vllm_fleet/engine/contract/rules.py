"""What the rules look at, and what they share. One rule is one small function; each docstring gives its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_fleet.engine.contract.parse import CommandLine
from vllm_fleet.engine.contract.snapshot import Snapshot
from vllm_fleet.schema.errors import Problem
from vllm_fleet.schema.gpu import Gpu


@dataclass(frozen=True)
class Engine:
    """One engine: its command line, and what is known of where it runs."""

    line: CommandLine
    gpus: Mapping[str, Gpu] = field(default_factory=dict)
    """The GPUs of its hosts, by host, where the inventory names them."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The checkpoint's config.json, empty where it is not known."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        return self.line.snapshot

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of config.json."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    def get(self, option: str, default: Any = None) -> Any:
        """An option's value; `default` where it is not given, or not one that the parser takes."""
        return self.line.values.get(option, default)

    def inner(self, option: str, key: str) -> Any:
        """A key of an option that is an object."""
        content = self.get(option)
        return content.get(key, content.get(key.replace("_", "-"))) if isinstance(content, dict) else None

    def problem(self, option: str, what: str, fix: str) -> Problem:
        """A problem at an option, `speculative-config.model` for a key of one."""
        name, dot, key = option.partition(".")
        return Problem(self.line.path_of(name) + dot + key, what, fix)


Rule = Callable[[Engine], Iterator[Problem]]
