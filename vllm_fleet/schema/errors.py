"""The one error a user's configuration can raise, and how pydantic's findings become its lines."""

from __future__ import annotations

import difflib
import reprlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

# The only pyinfra import of the pure layers: pyinfra prints a traceback for any other exception that an inventory or
# group data file raises (pyinfra_cli.util.exec_file, 3.10). Outside of pyinfra it would only cost time: 0.4 s.
if TYPE_CHECKING or "pyinfra" in sys.modules:
    from pyinfra.api.exceptions import PyinfraError as _Base
else:
    _Base = Exception


class ConfigError(_Base):
    """Bad configuration: one line a finding, each `path: what is wrong; how to mend it`."""

    def __init__(self, *findings: str) -> None:
        self.message = "\n".join(findings)
        super().__init__(self.message)

    @property
    def __traceback__(self) -> None:
        """Always None: pyinfra puts the innermost line of a traceback before the message, a line of ours."""

    @__traceback__.setter
    def __traceback__(self, _: object) -> None:
        """contextlib sets it."""


class FieldError(ValueError):
    """Raised inside a validator to say which field is wrong; `message` holds what and the mend."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


@dataclass(frozen=True)
class Problem:
    """Something that a fleet would run into: where, what is wrong, and how to mend it."""

    path: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.fix}"


def findings(error: ValidationError, path: str, wanted: dict[str, str | None]) -> list[str]:
    """One line for each of pydantic's errors.

    `path` is the object's own (`services.chat`); `wanted` holds its fields, each with what its value should be
    ("an image by digest ...") where the type alone does not tell.
    """
    return [_finding(item, path, wanted) for item in error.errors(include_url=False)]


def _finding(item: Any, path: str, wanted: dict[str, str | None]) -> str:
    # pydantic puts the tag of a discriminated union into loc, e.g. ('model', 'Hub'): not part of a user's path
    loc = [str(part) for part in item["loc"] if not (isinstance(part, str) and "[" in part)]
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        loc.append(cause.field)
    where = ".".join(part for part in [path, *loc] if part)
    match item["type"]:
        case "extra_forbidden":
            close = difflib.get_close_matches(loc[-1], wanted, n=1)
            mend = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(wanted))}"
            return f"{where}: unknown key; {mend}"
        case "missing":
            return f"{where}: is required; add it"
        case "value_error":
            return f"{where}: {cause}"
        case _:
            hint = wanted.get(loc[0]) if loc else None
            mend = f"give {hint}" if hint else "change it"
            return f"{where}: {_lower(item['msg'])}, got {reprlib.repr(item['input'])}; {mend}"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
