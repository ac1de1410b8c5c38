"""Every alert fires when it must, stays silent when it must, and has a section in the runbook.

Debian's promtool for the tests marked `tools`, of both releases: 2.42 and 2.53.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.topology import RELEASES
from tests.fleets import service
from tests.rules.cases import CASES, Case
from tests.tools import tool
from tests.unit.contract import VERSIONS, snapshot
from vllm_fleet.engine.contract import metrics as exposed
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.gpu_faults import XIDS_FATAL, XIDS_OF_APPLICATIONS
from vllm_fleet.observe.grafana import dashboard_path
from vllm_fleet.observe.rules import rule_groups
from vllm_fleet.observe.slo import recordings
from vllm_fleet.payload.nvml_exporter.families import FAMILIES

PARTS = ["What it means", "First checks", "Likely causes", "Mend", "Verify"]
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
CHAT = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1", "gpu2"], replicas=2)
BY_NAME = {alert.name: alert for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_has_a_firing_and_a_silent_case(alert: Alert) -> None:
    cases = [case for case in CASES if case.alert == alert.name]
    assert any(case.fires for case in cases), "add a firing case to tests/rules/cases"
    assert alert.severity == "watchdog" or any(not case.fires for case in cases), "add a silent case"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_has_a_runbook_section(alert: Alert) -> None:
    page = RUNBOOKS / f"{alert.subject.name}.md"
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)
    text = next((section for section in sections if section.splitlines()[0] == alert.name), None)
    assert text, f"{alert.runbook}: add the section `## {alert.name}`"
    assert re.findall(r"^\*\*(.+?)\.\*\*", text, flags=re.M) == PARTS
    checks = re.findall(r"^```sh\n(.+?)^```", text, flags=re.M | re.S)
    assert len([line for line in "".join(checks).splitlines() if not line.startswith("#")]) >= 3, "first checks"
    assert f"[{alert.name}]({page.name}#{alert.name.lower()})" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


def test_the_runbooks_have_no_section_of_an_alert_that_is_gone() -> None:
    sections = re.findall(r"^## (.+)$", _runbooks(), flags=re.M)
    assert sorted(sections) == sorted(BY_NAME)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_runbooks_ask_for_metrics_that_exist(version: str) -> None:
    asked = dict.fromkeys(metrics.metrics_in(_runbooks()), "docs/runbooks")
    assert len(asked) > 10
    assert list(exposed.check(snapshot(version), asked)) == []


def test_gpu_metrics_exist() -> None:
    asked = metrics.metrics_in(_runbooks() + "".join(alert.condition for alert in ALERTS))
    ours = {name for name in asked if name.startswith("nvml_")}
    assert len(ours) > 10
    assert ours <= FAMILIES.keys()


@pytest.mark.parametrize("alert, numbers", [("GpuXidFatal", XIDS_FATAL), ("GpuXidApp", XIDS_OF_APPLICATIONS)])
def test_the_runbook_says_what_each_xid_means(alert: str, numbers: dict[int, tuple[str, str]]) -> None:
    section = _runbooks().split(f"## {alert}\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.+?)(?::| \|)", section, flags=re.M))
    assert rows == {str(number): meaning for number, (meaning, _) in numbers.items()}


def _runbooks() -> str:
    return "".join(page.read_text(encoding="utf-8") for page in sorted(RUNBOOKS.glob("*.md")))


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(ALERTS)


@pytest.fixture(scope="module", params=RELEASES)
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What promtool of a Debian release says of each case; one process for all of them."""
    directory = tmp_path_factory.mktemp(request.param)
    files = [_written(case, directory, str(number)) for number, case in enumerate(CASES)]
    argv = [tool("promtool", request.param), "test", "rules", *files]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = done.stdout.split("Unit Testing: ")[1:]
    assert len(said) == len(CASES), done.stdout
    return said


@pytest.mark.tools
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number].alert}: {CASES[number].what}")
def test_promtool_agrees(number: int, verdicts: list[str]) -> None:
    assert verdicts[number].split()[1:] == ["SUCCESS"], verdicts[number]


def _written(case: Case, directory: Path, name: str) -> Path:
    """A file for promtool, with the rules that the case is about beside it."""
    alert = BY_NAME[case.alert]
    rules = rule_groups(recordings([CHAT]) if metrics.SLO_BURN in alert.query else [], [alert])
    rule_file = directory / f"{name}-rules.yml"
    rule_file.write_text(yaml.safe_dump(rules), encoding="utf-8")
    test = {
        "rule_files": [rule_file.name],
        # else by chance
        "group_eval_order": [group["name"] for group in rules["groups"]],
        # as Prometheus; where hours are looked at, seconds only cost time
        "evaluation_interval": "15s" if case.at < 60 else f"{case.step}m",
        "tests": [_promtool_test(case)],
    }
    path = directory / f"{name}.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    return path


def _promtool_test(case: Case) -> dict[str, Any]:
    looks = [_look(case, case.at, case.fires)]
    if case.fires and case.at:
        looks.insert(0, _look(case, case.at - case.step, []))
    return {
        "interval": f"{case.step}m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": looks,
    }


def _look(case: Case, minute: int, fires: list[dict[str, str]]) -> dict[str, Any]:
    alert = BY_NAME[case.alert]
    return {
        "eval_time": f"{minute}m",
        "alertname": alert.name,
        "exp_alerts": [
            {
                # to Prometheus an empty label is none
                "exp_labels": {"severity": alert.severity} | {name: value for name, value in labels.items() if value},
                "exp_annotations": {
                    "summary": _filled(alert.summary, labels),
                    "action": _filled(alert.action, labels),
                    "runbook": alert.runbook,
                    "dashboard": _filled(dashboard_path(alert), labels),
                },
            }
            for labels in fires
        ],
    }


def _filled(text: str, labels: dict[str, str]) -> str:
    """An annotation as Prometheus shows it; KeyError for a label the alert would not have."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], text)
