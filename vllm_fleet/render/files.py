"""Files, links and directories as a role wants them on a host, and the one way to fill a template."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# One for all: it keeps compiled templates.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parents[2] / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)


@dataclass(frozen=True)
class File:
    """A file's whole wanted state. A `secret` one is never shown in a diff, nor its content in this repr."""

    path: str
    content: str | bytes = field(repr=False)
    """Bytes where it is no text."""
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"
    secret: bool = False

    @property
    def data(self) -> bytes:
        """The content as it stands on the host."""
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclass(frozen=True)
class Link:
    """A symbolic link, switched in one step."""

    path: str
    target: str


@dataclass(frozen=True)
class Directory:
    """A directory; what stands in it is not looked at."""

    path: str
    mode: str = "0755"
    owner: str = "root"
    group: str = "root"


Entry = File | Link | Directory


def fill(template: str, **values: Any) -> str:
    """The text of `templates/<template>`; an undefined name is an error at once, not in the middle of a deploy."""
    return _ENVIRONMENT.get_template(template).render(**values)
