"""`fleet fabric`: whether the hosts of a model that spans hosts can talk, and how fast."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from vllm_fleet.commands.base import INVENTORY, console
from vllm_fleet.engine.fabric import SECONDS, Proof, proof_command, proof_of
from vllm_fleet.inventory import load
from vllm_fleet.planner import Placement
from vllm_fleet.planner.placement import heads, ranks_of
from vllm_fleet.remote import Remote, Task
from vllm_fleet.schema import Fleet

MIB = 1 << 20


@click.command()
@INVENTORY
@click.argument("service")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, with all measurements.")
def fabric(inventory: str, service: str, as_json: bool) -> None:
    """Prove the network between the hosts of SERVICE: interfaces, MTU, ports, then an all-reduce in its own runtime.

    The engines may run meanwhile; for some seconds they share the network, and a little GPU memory, with it.

    Exit code 1: the hosts cannot talk as the service needs, or more slowly than declared.
    """
    fleet, placements = load(inventory)
    proofs = []
    for members in _replicas(fleet, placements, service):
        with Console(stderr=True).status(_named(members)):
            proof = _prove(inventory, fleet, members)
        proofs.append((members, proof))
        if not as_json:
            _show(members, proof)
    good = not any(proof.problems for _, proof in proofs)
    if as_json:
        click.echo(json.dumps({"ok": good, "replicas": [_content(*each) for each in proofs]}, indent=2))
    sys.exit(0 if good else 1)


def _replicas(fleet: Fleet, placements: list[Placement], service: str) -> list[list[Placement]]:
    known = [one.name for one in fleet.services if one.nodes > 1]
    if service not in known:
        names = f"this inventory's are: {', '.join(known)}" if known else "this inventory has none"
        raise click.BadParameter(f"{service!r} is no service that spans hosts; {names}", param_hint="SERVICE")
    return [ranks_of(placements, head) for head in heads(placements, service)]


def _prove(inventory: str, fleet: Fleet, members: list[Placement]) -> Proof:
    tasks = {member.host.name: Task(proof_command(member, fleet.fabric_port)) for member in members}
    with Remote(inventory) as remote:
        answers = remote.run(tasks, SECONDS)
    return proof_of({name: (answer.output, answer.error) for name, answer in answers.items()})


def _show(members: list[Placement], proof: Proof) -> None:
    report = proof.report
    wire = f" ({report['backend']} over {report['interface']}, MTU {report['mtu']})" if report.get("mtu") else ""
    click.echo(f"{_named(members)}{wire}")
    if report.get("all_reduce"):
        table = Table()
        for column in ("all-reduce", "time", "bus bandwidth"):
            table.add_column(column, justify="right")
        for each in report["all_reduce"]:
            gbit = each["bus_gigabytes_per_second"] * 8
            table.add_row(f"{each['bytes'] / MIB:g} MiB", f"{each['seconds'] * 1e3:.2f} ms", f"{gbit:.1f} Gbit/s")
        console().print(table)
    for problem in proof.problems:
        click.secho(problem, fg="red")
    if not proof.problems:
        click.echo("all is well")


def _named(members: list[Placement]) -> str:
    names = ", ".join(member.host.name for member in members)
    return f"{members[0].service.name} replica {members[0].replica}: {names}"


def _content(members: list[Placement], proof: Proof) -> dict[str, Any]:
    return {
        "replica": members[0].replica,
        "hosts": [member.host.name for member in members],
        "problems": list(proof.problems),
        "report": proof.report,
    }
