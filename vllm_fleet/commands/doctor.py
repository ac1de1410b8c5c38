"""`fleet doctor`: where hosts are not as the inventory declares them. Reads only."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import vllm_fleet
from vllm_fleet.commands.base import INVENTORY, console, counted
from vllm_fleet.engine.release import release
from vllm_fleet.inventory import load
from vllm_fleet.observe.doctor import Finding, diagnose
from vllm_fleet.planner import Placement
from vllm_fleet.planner.placement import on_host
from vllm_fleet.remote import Answer, Remote, package_task
from vllm_fleet.schema import Fleet, Host

PROGRAM = Path(vllm_fleet.__file__).parent / "payload" / "doctor_facts"
COLOURS = {"error": "red", "warning": "yellow"}


@dataclass(frozen=True)
class Report:
    """What is known of one host."""

    host: str
    reached: bool
    findings: list[Finding]
    facts: dict[str, Any]
    """What `doctor_facts` printed there; empty when it did not."""


@click.command()
@INVENTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, with all facts.")
def doctor(inventory: str, as_json: bool) -> None:
    """Show where hosts are not as declared: driver, GPUs, clock, disks, engines, releases. Changes nothing.

    Exit code 1: something does not serve as declared, or soon will not.
    """
    with Console(stderr=True).status("asking the hosts"), Remote(inventory) as remote:
        fleet, placements = load(inventory)
        names = [host.name for host in fleet.hosts]
        answers = remote.run(dict.fromkeys(names, package_task(PROGRAM)))
    reports = examine(fleet, placements, answers)
    findings = [finding for report in reports for finding in report.findings]
    good = all(finding.severity != "error" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": good, "hosts": {report.host: _content(report) for report in reports}}, indent=2))
    else:
        if findings:
            console().print(_table(reports))
        click.echo(f"{_total(findings)}: {counted(len(names), 'host')}, {counted(len(placements), 'engine')}")
    sys.exit(0 if good else 1)


def examine(fleet: Fleet, placements: list[Placement], answers: Mapping[str, Answer]) -> list[Report]:
    """A report for each host of the fleet, from what each answered."""
    return [_report(fleet, placements, host, answers[host.name]) for host in fleet.hosts]


def _report(fleet: Fleet, placements: list[Placement], host: Host, answer: Answer) -> Report:
    if not answer.reached:
        mend = "look at its power and network, and at the inventory's ssh settings"
        found = Finding("error", host.name, f"cannot be reached: {answer.error}", mend)
        return Report(host.name, False, [found], {})
    facts = _facts(answer)
    if facts is None:
        what = f"cannot be looked at: {answer.error or 'it answered no facts'}"
        found = Finding(
            "error", host.name, what, "check that its user may use sudo, and that its python3 is 3.11 or newer"
        )
        return Report(host.name, True, [found], {})
    releases = {placement.instance: release(placement).id for placement in on_host(placements, host.name)}
    return Report(host.name, True, diagnose(fleet, placements, host, facts, releases), facts)


def _facts(answer: Answer) -> dict[str, Any] | None:
    try:
        facts = json.loads(answer.output)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and not answer.error else None


def _content(report: Report) -> dict[str, Any]:
    return {
        "reached": report.reached,
        "findings": [asdict(finding) for finding in report.findings],
        "facts": report.facts,
    }


def _table(reports: Sequence[Report]) -> Table:
    """A row a finding. Text, not markup: hosts may answer with brackets."""
    table = Table()
    for name in ("host", "finding", "what", "mend"):
        table.add_column(name, overflow="fold")
    for report in reports:
        for finding in report.findings:
            path = finding.path.removeprefix(report.host).lstrip(".") or "-"
            cells = (report.host, path, finding.what, finding.mend)
            table.add_row(*map(Text, cells), style=COLOURS[finding.severity])
    return table


def _total(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in COLOURS}
    return ", ".join(counted(count, severity) for severity, count in counts.items() if count) or "no findings"
