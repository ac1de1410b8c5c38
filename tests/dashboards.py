"""The dashboards' queries with their variables filled in, as Grafana sends them to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from grafana import DASHBOARDS
from vllm_fleet.observe.panel import Panel, Query


def queries() -> Iterator[tuple[str, Panel, Query]]:
    """Every query, with where it stands: `fleet: Engines: up`."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield f"{dashboard.name}: {panel.title}: {query.legend}", panel, query


def filled(expression: str, services: Iterable[str], hosts: Iterable[str], interval: str = "1m") -> str:
    """An expression with everything chosen, over a rate interval."""
    values = {"$__rate_interval": interval, "$service": "|".join(services), "$host": "|".join(hosts)}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    return expression
