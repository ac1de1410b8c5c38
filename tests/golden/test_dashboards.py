"""The dashboards' files are what the dashboards are; UPDATE_GOLDEN=1 writes them anew, for review in git."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grafana import DASHBOARDS
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
