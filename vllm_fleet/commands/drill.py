"""`fleet drill`: break things on purpose, and see who is told."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
import httpx
from rich.console import Console
from rich.table import Table

from vllm_fleet.commands.base import INVENTORY, console, counted
from vllm_fleet.drill.fault import Round
from vllm_fleet.drill.rounds import NOT_TRIPPED, rounds, tripped
from vllm_fleet.drill.run import Drill, Outcome
from vllm_fleet.drill.victims import victims
from vllm_fleet.drill.watch import Watch
from vllm_fleet.inventory import load
from vllm_fleet.network.clients import trust, url
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.schema import ConfigError, Fleet
from vllm_fleet.schema.host import MONITORING


@click.command()
@INVENTORY
@click.option("--only", "names", multiple=True, metavar="ALERT", help="Only what trips this alert; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def drill(inventory: str, names: tuple[str, ...], as_json: bool) -> None:
    """Plant faults, one round after the other, and measure how long each alert takes to fire, to arrive, to resolve.

    Takes most of an hour; engines stop meanwhile. Refused unless the fleet declares `drill`, as the lab does. All
    faults are undone at the end, whatever happens; should that be cut short, the next drill begins with it.

    Exit code 1: an alert did not fire or arrive, or a fault could not be undone.
    """
    fleet, placements = load(inventory)
    if not fleet.drill:
        raise ConfigError("drill: this fleet may not be broken on purpose; declare `drill=Drill()` where it may")
    planned = _only(names, rounds(fleet, victims(fleet, placements)))
    try:
        with Console(stderr=True).status("starting") as status:
            drilling = Drill(inventory, _watch(fleet), _gateway(fleet), status.update)
            outcomes = drilling.run(planned)
    except httpx.HTTPError as error:
        raise click.ClickException(f"Prometheus or Alertmanager: {error}; is the fleet deployed?") from None
    receipts = bool(fleet.drill.receipts)
    good = all(outcome.good(receipts) for outcome in outcomes) and not drilling.left
    if as_json:
        content = {"ok": good, "alerts": [asdict(each) for each in outcomes], "not undone": drilling.left}
        click.echo(json.dumps(content, indent=2))
    else:
        _show(outcomes, receipts, {} if names else NOT_TRIPPED)
        for each in drilling.left:
            click.secho(f"not undone: {each}; mend it by hand, or drill again", fg="red")
    sys.exit(0 if good else 1)


def _only(names: tuple[str, ...], planned: list[Round]) -> list[Round]:
    """The faults that trip one of the alerts, in their rounds; all without names."""
    if unknown := set(names) - tripped(planned):
        raise click.BadParameter(f"no fault trips {', '.join(sorted(unknown))}", param_hint="--only")
    chosen = [tuple(fault for fault in faults if not names or set(names) & set(fault.alerts)) for faults in planned]
    return [faults for faults in chosen if faults]


def _watch(fleet: Fleet) -> Watch:
    monitor, ports = fleet.hosts_in(MONITORING)[0], fleet.monitoring
    return Watch(
        f"http://{endpoint(monitor, ports.prometheus_port)}",
        f"http://{endpoint(monitor, ports.alertmanager_port)}",
        fleet.drill.receipts if fleet.drill else None,
    )


def _gateway(fleet: Fleet) -> httpx.Client:
    return httpx.Client(
        base_url=url(fleet),
        verify=trust(fleet),
        headers={"Authorization": f"Bearer {fleet.client_keys()[0]}"},
        limits=httpx.Limits(max_connections=None),
    )


def _show(outcomes: list[Outcome], receipts: bool, not_tripped: dict[str, str]) -> None:
    table = Table()
    for name in ("alert", "fault"):
        table.add_column(name)
    for name in ("fires after", "received after", "resolves after"):
        table.add_column(name, justify="right")
    for each in outcomes:
        fired = _seconds(each.fired) or f"[red]{each.problem or 'never'}[/]"
        table.add_row(each.alert, each.fault, fired, _received(each, receipts), _seconds(each.resolved))
    console().print(table)
    for name, why in not_tripped.items():
        click.echo(f"not tripped: {name}: {why}")
    bad = [each.alert for each in outcomes if not each.good(receipts)]
    verdict = f"{', '.join(bad)} did not fire or arrive" if bad else "all fired" + (" and arrived" if receipts else "")
    click.echo(f"{counted(len(outcomes), 'alert')}: {verdict}")


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def _received(outcome: Outcome, receipts: bool) -> str:
    if outcome.received is not None:
        return _seconds(outcome.received)
    if outcome.silenced_by:
        return f"silenced by {', '.join(outcome.silenced_by)}"
    return "" if receipts else "not asked"
