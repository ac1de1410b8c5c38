"""A drill of two alerts, from the simulated GPU to the receiver behind Alertmanager; docs/drill.md has all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.conftest import ROOT, Lab

pytestmark = pytest.mark.lab

ALERTS = ("GpuLost", "GpuRecoveryAction")  # of those that fire and resolve soonest


def test_alerts_fire_arrive_and_resolve(lab: Lab) -> None:
    only = [word for name in ALERTS for word in ("--only", name)]
    done = subprocess.run(
        [Path(sys.executable).parent / "fleet", "drill", "inventories/lab.py", "--json", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = {each["alert"]: each for each in json.loads(done.stdout)["alerts"]}
    assert set(outcomes) == set(ALERTS)
    for each in outcomes.values():
        assert each["fired"] > 60, "they hold for a minute"
        assert each["received"] >= each["fired"] - 5, "each is looked at every few seconds"
        assert each["resolved"] is not None
    assert lab.ssh("gpu-1", "test -e /var/lib/nvidia-simulate/state || echo gone") == "gone"
