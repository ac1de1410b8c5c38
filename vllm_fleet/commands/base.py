"""What the commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

INVENTORY = click.argument("inventory", type=click.Path())


def console() -> Console:
    """A console for tables: as wide as the terminal, without an edge in a pipe, where programs and greps read."""
    from rich.console import Console  # late: not every command shows a table

    made = Console()
    if not made.is_terminal:
        made.width = 1000
    return made


def counted(count: int, what: str) -> str:
    """`no hosts`, `1 host`, `2 hosts`."""
    return f"{count or 'no'} {what}" + ("" if count == 1 else "s")
