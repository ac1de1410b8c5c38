"""What our operations ask a host: each fact is one command, so that a deploy with nothing to do stays quick."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError

# Keys the hashes of this run: a printed hash of a secret cannot be looked up or compared with another run's.
RUN_SALT = secrets.token_hex(16)


@dataclass(frozen=True)
class FileState:
    """What stands at a path: octal mode without leading zeros, owner, group, salted sha256 of the content."""

    mode: str
    owner: str
    group: str
    digest: str


class Files(FactBase[dict[str, FileState]]):
    """The state of many regular files at once; a path that is no regular file is absent from the result."""

    default = dict

    def command(self, paths: list[str], salt: str) -> str:
        loop = (
            'if [ -f "$f" ] && [ ! -L "$f" ]; then '
            'state=$(stat -c "%a %U %G" "$f"); sum=$({ printf %s "$salt"; cat "$f"; } | sha256sum | cut -d" " -f1); '
            'printf "%s %s %s\\n" "$state" "$sum" "$f"; fi'  # not echo, which dash lets interpret backslashes
        )
        return f"salt={salt}; for f in {' '.join(map(shlex.quote, paths))}; do {loop}; done"

    def process(self, output: list[str]) -> dict[str, FileState]:
        states = {}
        for line in output:
            try:
                mode, owner, group, digest, path = line.split(" ", 4)
            except ValueError:
                raise FactProcessError(f"not a line of file state: {line!r}") from None
            states[path] = FileState(mode, owner, group, digest)
        return states


class Links(FactBase[dict[str, str]]):
    """Where symbolic links point: path to target; a path that is no link is absent."""

    default = dict

    def command(self, paths: list[str]) -> str:
        loop = 'if [ -L "$f" ]; then printf "%s %s\\n" "$(readlink "$f")" "$f"; fi'
        return f"for f in {' '.join(map(shlex.quote, paths))}; do {loop}; done"

    def process(self, output: list[str]) -> dict[str, str]:
        return {path: target for target, path in (line.split(" ", 1) for line in output)}


class Names(FactBase[list[str]]):
    """The names in a directory, sorted; an absent directory has none."""

    default = list

    def command(self, directory: str) -> str:
        return f"ls -1 {shlex.quote(directory)} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        return sorted(output)


class Units(FactBase[dict[str, dict[str, str]]]):
    """`systemctl show` of units: unit to its ActiveState, UnitFileState and NeedDaemonReload."""

    default = dict

    def command(self, units: list[str]) -> str:
        properties = "Id,ActiveState,UnitFileState,NeedDaemonReload"
        return f"systemctl show --property={properties} {' '.join(map(shlex.quote, units))}"

    def process(self, output: list[str]) -> dict[str, dict[str, str]]:
        units: dict[str, dict[str, str]] = {}
        block: dict[str, str] = {}
        for line in [*output, ""]:
            if line:
                key, _, value = line.partition("=")
                block[key] = value
            elif block:
                units[block.pop("Id")] = block
                block = {}
        return units


class Succeeds(FactBase[bool]):
    """Whether a read-only shell command exits 0."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, test: str) -> str:
        return f"if {{ {test}; }} >/dev/null 2>&1; then echo yes; else echo no; fi"

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["yes"]
