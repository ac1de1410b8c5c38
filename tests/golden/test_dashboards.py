"""The dashboards' files are what the dashboards are; UPDATE_GOLDEN=1 writes them anew, for review in git.

Debian package for the test marked `tools`: prometheus (promtool).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana import DASHBOARDS
from tests.dashboards import filled, queries
from tests.tools import tool
from vllm_fleet.observe.grafana import NAMES, dashboard_text
from vllm_fleet.observe.panel import Dashboard

FOLDER = Path(__file__).parents[2] / "grafana"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_the_file_is_the_dashboard(dashboard: Dashboard) -> None:
    path = FOLDER / f"{dashboard.name}.json"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(dashboard_text(dashboard), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == dashboard_text(dashboard), "see the diff, or run with UPDATE_GOLDEN=1"


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)
    assert [dashboard.name for dashboard in DASHBOARDS] == list(NAMES)


@pytest.mark.tools
def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    asked = [filled(query.expression, ["chat", "batch"], ["gpu-1"]) for _, _, query in queries()]
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(asked)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([tool("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout
