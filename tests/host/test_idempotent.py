"""A second deploy changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def _deploy(inventory: str, *options: str) -> dict[str, Any]:
    """pyinfra's own report (`--json`): the plan, and the results unless it was a dry run."""
    command = [sys.executable, "-m", "pyinfra", "--json", *options, inventory, "deploy.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_plan_has_no_change(inventory: str) -> None:
    plan = _deploy(inventory, "--dry")["plan"]
    assert plan, "the deploy has no operation"
    assert {step["name"]: step["hosts_with_change"] for step in plan if step["hosts_with_change"]} == {}


def test_a_deploy_changes_nothing(inventory: str, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--apply"):
        pytest.skip("would deploy: give --apply")
    results = _deploy(inventory, "-y")["results"]
    assert results["totals"]["no_change"] > 0
    # `success` names the hosts on which the operation changed something (pyinfra_cli.prints.build_results_json)
    assert {step["name"]: step["success"] for step in results["operations"] if step["success"]} == {}
    assert results["failed_hosts"] == []
