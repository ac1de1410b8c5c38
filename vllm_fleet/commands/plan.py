"""`fleet plan`: what runs where, and whether it fits."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from vllm_fleet.commands.base import INVENTORY, console
from vllm_fleet.inventory import load
from vllm_fleet.planner import Placement


@click.command()
@INVENTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def plan(inventory: str, as_json: bool) -> None:
    """Show which engine runs where, on which GPUs and port. Contacts no host."""
    fleet, placements = load(inventory)
    if as_json:
        click.echo(json.dumps([_row(placement) for placement in placements], indent=2))
        return
    table = Table(title=f"{Path(inventory).stem}")
    for name in ("service", "replica", "rank", "host", "gpus", "endpoint", "unit"):
        table.add_column(name, overflow="fold")  # never cut: names are there to be copied
    for placement in placements:
        table.add_row(*(_text(value) for value in _row(placement).values()))
    console().print(table)
    for host in fleet.hosts:
        used = sum(len(placement.gpus) for placement in placements if placement.host == host)
        click.echo(f"{host.name}: {', '.join(host.groups)}" + (f", {used} of {host.gpus} GPUs" if host.gpus else ""))


def _row(placement: Placement) -> dict[str, object]:
    return {
        "service": placement.service.name,
        "replica": placement.replica,
        "rank": placement.rank,
        "host": placement.host.name,
        "gpus": list(placement.gpus),
        "endpoint": placement.endpoint if placement.head else None,
        "unit": placement.unit,
    }


def _text(value: object) -> str:
    """A value in the table: GPUs are contiguous, so the first and the last tell all."""
    if isinstance(value, list) and len(value) > 1:
        return f"{value[0]}-{value[-1]}"
    if isinstance(value, list):
        return _text(value[0] if value else None)
    return "-" if value is None else str(value)
