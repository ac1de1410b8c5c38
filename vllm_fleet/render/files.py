"""A file as a role wants it on a host, and the one way to fill a template."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parents[2] / "templates"


@dataclass(frozen=True)
class File:
    """A file's whole wanted state. A `secret` one is never shown in a diff, nor its content in this repr."""

    path: str
    content: str = field(repr=False)
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"
    secret: bool = False


def fill(template: str, **values: Any) -> str:
    """The text of `templates/<template>`; an undefined name is an error at once, not in the middle of a deploy."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(**values)
