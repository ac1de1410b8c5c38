"""`fleet doctor`: where hosts are not as the inventory declares them. Reads only."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

import vllm_fleet
from vllm_fleet.commands.base import INVENTORY, console, counted
from vllm_fleet.remote import Remote, package_task

PROGRAM = Path(vllm_fleet.__file__).parent / "payload" / "doctor_facts"


@click.command()
@INVENTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, with all facts.")
def doctor(inventory: str, as_json: bool) -> None:
    """Show where hosts are not as declared: driver, GPUs, clock, disks, engines, releases. Changes nothing.

    Exit code 1: something does not serve as declared, or soon will not.
    """
    with Remote(inventory) as remote:
        # late: pyinfra starts meanwhile, which takes longer than all of this
        from rich.console import Console

        from vllm_fleet.commands.examination import content, examine, table, total
        from vllm_fleet.inventory import load

        with Console(stderr=True).status("asking the hosts"):
            fleet, placements = load(inventory)
            names = [host.name for host in fleet.hosts]
            answers = remote.run(dict.fromkeys(names, package_task(PROGRAM)))
    reports = examine(fleet, placements, answers)
    findings = [finding for report in reports for finding in report.findings]
    good = all(finding.severity != "error" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": good, "hosts": {report.host: content(report) for report in reports}}, indent=2))
    else:
        if findings:
            console().print(table(reports))
        click.echo(f"{total(findings)}: {counted(len(names), 'host')}, {counted(len(placements), 'engine')}")
    sys.exit(0 if good else 1)
