"""Every query of every panel has data from real engines under load; what cannot have any in the lab says why."""

from __future__ import annotations

import math
import time

import httpx
import pytest

from tests.dashboards import filled, queries
from tests.lab.conftest import Lab, Traffic

pytestmark = pytest.mark.lab

_SECONDS = 150
"""Until all have data: objectives are recorded once a minute, and rates need two of those."""

ALWAYS_EMPTY = {
    "gpu: Memory by unit: {{host}} {{unit}}": "nothing runs on simulated GPUs",
    "gpu: Memory that no engine holds: {{host}} {{gpu}} {{unit}}": "nothing runs on simulated GPUs",
    "gpu: A row a GPU: No engine's": "nothing runs on simulated GPUs",
    "capacity: Tokens found at the start, of those planned: {{service}} {{replica}} on {{host}}": "no plan on CPU",
    "gpu: Disk free where models are: {{host}} {{mountpoint}}": "the lab's hosts run on overlays, which are not shown",
    "rollout: Time to first token p95, of stable: {{service}}": "the lab has no canary",
    "rollout: Between tokens p95, of stable: {{service}}": "the lab has no canary",
}
"""By where a query stands; data after all means that its line must go."""

SOMETIMES_EMPTY = {
    "fleet: Firing pages: ": "no page fires while all is well",
    "fleet: Firing tickets: ": "no ticket fires while all is well",
    "fleet: Engines of which nothing new is told: {{host}}": "there is none while all is well",
    "service: Parts of a replica that do not run: {{service}} {{replica}}": "there is none while all is well",
    "gpu: A row a GPU: Alerts": "none fires while all is well",
    "gpu: A row a GPU: Asks for": "only while a test simulates one",
    "gpu: A row a GPU: Fatal XID": "only after a test that simulated one",
    "gpu: A row a GPU: App's XID": "only after a test that simulated one",
    "gpu: Clocks held down, by reason: {{host}} {{reason}}": "only while a test simulates a reason",
    "gpu: GPUs that need a reset or the like: {{host}} {{gpu}} {{wants}}": "only while a test simulates one",
    "gpu: Since the last fatal XID: {{host}} {{gpu}}: {{xid}}": "only after a test that simulated one",
    "gpu: Since the last process's XID: {{host}} {{gpu}}: {{xid}}": "only after a test that simulated one",
    "gpu: XIDs since boot: Times": "only after a test that simulated one",
    "gpu: XIDs since boot: Last": "only after a test that simulated one",
    "fleet: A row a host: Since the last XID": "only after a test that simulated one",
    "capacity: Prefix hits, of yesterday's: {{service}}": "a fresh lab has no yesterday",
}


def test_every_panel_has_data_under_load(lab: Lab) -> None:
    services = [service.name for service in lab.fleet.services]
    hosts = [host.name for host in lab.fleet.hosts]
    stands = {filled(query.expression, services, hosts): where for where, _, query in queries()}
    unknown = (ALWAYS_EMPTY.keys() | SOMETIMES_EMPTY.keys()) - set(stands.values())
    assert not unknown, "these stand nowhere any more"
    missing = [asked for asked, where in stands.items() if where not in ALWAYS_EMPTY | SOMETIMES_EMPTY]
    with Traffic(lab), httpx.Client(base_url=lab.prometheus, timeout=10) as prometheus:
        end = time.monotonic() + _SECONDS
        while missing and time.monotonic() < end:
            missing = [asked for asked in missing if not _has_data(prometheus, asked)]
            time.sleep(1)  # until the next scrape; bounded above
        assert [stands[asked] for asked in missing] == []
        after_all = [where for asked, where in stands.items() if where in ALWAYS_EMPTY and _has_data(prometheus, asked)]
        assert after_all == [], "take these out of ALWAYS_EMPTY"


def _has_data(prometheus: httpx.Client, expression: str) -> bool:
    """Whether there is a sample that is a number."""
    answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{answer.get('error')}: {expression}"
    return any(not math.isnan(float(sample["value"][1])) for sample in answer["data"]["result"])
