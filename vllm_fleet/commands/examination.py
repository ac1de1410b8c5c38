"""What `fleet doctor` makes of the hosts' answers: a report for each, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from vllm_fleet.commands.base import counted
from vllm_fleet.engine.release import release
from vllm_fleet.observe.doctor import Finding, diagnose
from vllm_fleet.planner import Placement
from vllm_fleet.planner.placement import on_host
from vllm_fleet.remote import Answer
from vllm_fleet.schema import Fleet, Host

COLOURS = {"error": "red", "warning": "yellow"}


@dataclass(frozen=True)
class Report:
    """What is known of one host."""

    host: str
    reached: bool
    findings: list[Finding]
    facts: dict[str, Any]
    """What `doctor_facts` printed there; empty when it did not."""


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


def content(report: Report) -> dict[str, Any]:
    return {
        "reached": report.reached,
        "findings": [asdict(finding) for finding in report.findings],
        "facts": report.facts,
    }


def table(reports: Sequence[Report]) -> Table:
    """A row a finding. Text, not markup: hosts may answer with brackets."""
    made = Table()
    for name in ("host", "finding", "what", "mend"):
        made.add_column(name, overflow="fold")
    for report in reports:
        for finding in report.findings:
            path = finding.path.removeprefix(report.host).lstrip(".") or "-"
            cells = (report.host, path, finding.what, finding.mend)
            made.add_row(*map(Text, cells), style=COLOURS[finding.severity])
    return made


def total(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in COLOURS}
    return ", ".join(counted(count, severity) for severity, count in counts.items() if count) or "no findings"
