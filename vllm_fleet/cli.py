"""The `fleet` command: look at a fleet without changing it."""

from __future__ import annotations

import click

from vllm_fleet.commands.ask import ask
from vllm_fleet.commands.check import check
from vllm_fleet.commands.doctor import doctor
from vllm_fleet.commands.fabric import fabric
from vllm_fleet.commands.plan import plan
from vllm_fleet.schema import ConfigError


class _Group(click.Group):
    """Bad configuration is one line and exit code 1, whichever command meets it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise click.ClickException(error.message) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at a fleet: what runs where, whether its configuration and its hosts hold, what its models answer."""


main.add_command(plan)
main.add_command(check)
main.add_command(doctor)
main.add_command(fabric)
main.add_command(ask)
