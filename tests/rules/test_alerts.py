"""Every alert fires when it must, stays silent when it must, and has a section in the runbook.

Debian package for the tests marked `tools`: prometheus (promtool).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rules.cases import CASES, Case
from tests.tools import tool
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.rules import rule_groups

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbooks.md"
BY_NAME = {alert.name: alert for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_has_a_firing_and_a_silent_case(alert: Alert) -> None:
    cases = [case for case in CASES if case.alert == alert.name]
    assert any(case.fires for case in cases), "add a firing case to tests/rules/cases.py"
    assert alert.severity == "watchdog" or any(not case.fires for case in cases), "add a silent case"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_has_a_runbook_section(alert: Alert) -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.M)
    text = next((section for section in sections if section.splitlines()[0] == alert.name), None)
    assert text, f"docs/runbooks.md: add a section `## {alert.name}`"
    parts = ("**What it means.**", "**First checks.**", "**Mend.**")
    assert [part for part in parts if part not in text] == []
    assert "```sh\n" in text, "first checks are commands"


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    sections = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.M)
    assert sorted(sections) == sorted(BY_NAME)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(ALERTS)


@pytest.mark.tools
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_promtool_agrees(case: Case, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule_groups(ALERTS)), encoding="utf-8")
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [_promtool_test(case)]}
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run([tool("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool_test(case: Case) -> dict[str, Any]:
    alert = BY_NAME[case.alert]
    return {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": case.at,
                "alertname": alert.name,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": alert.severity, **labels},
                        "exp_annotations": {"summary": _filled(alert.summary, labels), "runbook": alert.runbook},
                    }
                    for labels in case.fires
                ],
            }
        ],
    }


def _filled(text: str, labels: dict[str, str]) -> str:
    """An annotation as Prometheus shows it; KeyError for a label the alert would not have."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], text)
