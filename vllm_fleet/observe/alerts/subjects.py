"""What alerts are about: the page of the runbook, and the dashboard to look at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dashboard = Literal["fleet", "service", "gpu", "capacity", "rollout"]


@dataclass(frozen=True)
class Subject:
    """The alerts of one module, and of one page of the runbook."""

    name: str
    """The page's file in docs/runbooks, without its ending."""
    dashboard: Dashboard


SERVICE = Subject("service", "service")
SLO = Subject("slo", "service")
ENGINES = Subject("engines", "service")
RELEASES = Subject("releases", "rollout")
QUEUE = Subject("queue", "capacity")
KV_CACHE = Subject("kv-cache", "capacity")
HOST = Subject("host", "gpu")
GPU = Subject("gpu", "gpu")
WATCHING = Subject("watching", "fleet")
