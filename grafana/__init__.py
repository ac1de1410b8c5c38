"""The dashboards, a module each; `NAME.json` beside it is the same in Grafana's form, which the tests write anew.

UPDATE_GOLDEN=1 .venv/bin/pytest tests/golden/test_dashboards.py
"""

from __future__ import annotations

from grafana import capacity, fleet, gpu, rollout, service

DASHBOARDS = (fleet.DASHBOARD, service.DASHBOARD, gpu.DASHBOARD, capacity.DASHBOARD, rollout.DASHBOARD)
