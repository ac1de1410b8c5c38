"""The `fleet` command: look at a fleet without changing it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vllm_fleet.schema import ConfigError

_COMMANDS = ("plan", "check", "doctor", "fabric", "drill", "ask")
"""Each is in the module of `commands` that has its name, and imported when it is asked for: most of what a command
takes before it does something is imports, and `doctor` starts pyinfra before its own."""


class _Group(click.Group):
    """Bad configuration is one line and exit code 1, whichever command meets it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"vllm_fleet.commands.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except _config_error() as error:
            raise click.ClickException(error.message) from None


def _config_error() -> type[ConfigError]:
    from vllm_fleet.schema import ConfigError  # late: only where something was raised

    return ConfigError


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at a fleet: what runs where, whether its configuration and its hosts hold, what its models answer."""
