"""Fleet: is anything broken, and where."""

from __future__ import annotations

from grafana.queries import (
    alert,
    engines,
    hosts,
    how_many,
    number_of,
    of_service,
    quantile,
    rate,
    services,
    total,
    worst,
)
from grafana.shared import (
    ENGINES_UP,
    FAILED,
    RESPONSES,
    US_OR_THE_MODEL,
    runbooks,
)
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import (
    Dashboard,
    Panel,
    Query,
    Row,
    above,
    below,
    levels_of,
    lines,
    number,
    panel_of,
    query_of,
    table,
)

_PAGES = f'{metrics.ALERTS}{{alertstate="firing", severity="page"}}'
_TICKETS = f'{metrics.ALERTS}{{alertstate="firing", severity="ticket"}}'
_ANSWERS = of_service(RESPONSES)
_KV_CACHE = alert("KvCacheHigh"), alert("KvCacheSaturated")
_PREEMPTIONS = alert("Preemptions")


def _firing(title: str, alerts: str, nothing: str) -> Panel:
    return table(
        title,
        Query(worst(alerts, "alertname", "service", "host", "gpu")),
        width=12,
        height=7,
        description="What each means and what to do: docs/runbooks/README.md",
        nothing=nothing,
    )


_NOW = Row(
    "Is anybody being woken?",
    (
        number("Pages", Query(number_of(_PAGES)), width=3, height=4, levels=above(page=1)),
        number("Tickets", Query(number_of(_TICKETS)), width=3, height=4, levels=above(ticket=1)),
        number("Services down", Query(how_many(alert("VllmServiceDown"))), width=3, height=4, levels=above(page=1)),
        number("Hosts down", Query(how_many(alert("HostDown"))), width=3, height=4, levels=above(page=1)),
        number(
            "Engines",
            Query(total(ENGINES_UP), "up"),
            Query(f"count({ENGINES_UP})", "declared"),
            width=6,
            height=4,
        ),
        number(
            "GPUs",
            Query(total(hosts(metrics.GPUS_VISIBLE)), "visible"),
            Query(total(hosts(metrics.GPUS_DECLARED)), "declared"),
            width=6,
            height=4,
        ),
        _firing("Firing pages", _PAGES, "No page fires"),
        _firing("Firing tickets", _TICKETS, "No ticket fires"),
    ),
)

_SERVICES = Row(
    "Services",
    (
        table(
            "A row a service",
            Query(f"count by (service) ({ENGINES_UP})", "Replicas"),
            Query(total(f"{ENGINES_UP} == bool 0", "service"), "Down", levels=above(page=1)),
            Query(_ANSWERS, "Requests/s", "reqps"),
            Query(f"{of_service(FAILED)} / {_ANSWERS}", "5xx", "percentunit"),
            Query(
                worst(services(f"{metrics.SLO_BURN}1h"), "service"),
                "Budget burn, 1 h",
                levels=levels_of(alert("ErrorsFastBurn")),
            ),
            Query(quantile(0.95, metrics.TTFT, "service"), "TTFT p95", "s"),
            Query(
                worst(query_of(_KV_CACHE[0]).expression, "service"),
                "KV cache p90",
                "percentunit",
                levels_of(*_KV_CACHE),
            ),
            Query(total(engines(metrics.REQUESTS_WAITING), "service"), "Waiting"),
            Query(
                worst(query_of(_PREEMPTIONS).expression, "service"),
                "Preemptions",
                "percentunit",
                levels_of(_PREEMPTIONS),
            ),
            width=24,
            height=7,
            description="Preemptions: a finished request's, in 10 minutes.",
        ),
    ),
)

_HOSTS = Row(
    "Hosts and GPUs",
    (
        table(
            "A row a host",
            Query(f"avg by (host) ({hosts(metrics.UP)})", "Targets up", "percentunit", below(1)),
            Query(worst(hosts(metrics.GPUS_DECLARED), "host"), "GPUs"),
            Query(worst(query_of(alert("GpuMissing")).expression, "host"), "Missing", levels=above(page=1)),
            Query(worst(hosts(metrics.GPU_TEMPERATURE, 'sensor="gpu"'), "host"), "Hottest GPU", "celsius"),
            Query(total(hosts(metrics.GPU_POWER), "host"), "Power", "watt"),
            Query(
                worst(query_of(alert("GpuThermalThrottle")).expression, "host"),
                "Held by heat",
                "percentunit",
                levels_of(alert("GpuThermalThrottle")),
            ),
            Query(f"time() - {worst(hosts(metrics.GPU_XID_LAST), 'host')}", "Since the last XID", "s"),
            width=24,
            height=7,
        ),
    ),
)

_TRAFFIC = Row(
    "Traffic",
    (
        lines("Requests", Query(_ANSWERS, "{{service}}"), unit="reqps", width=12),
        lines(
            "Tokens generated",
            Query(total(rate(engines(metrics.GENERATION_TOKENS)), "service"), "{{service}}"),
            unit="count:tok/s",
            width=12,
        ),
    ),
)

_WATCHING = Row(
    "The watching itself",
    (
        panel_of(
            alert("AlertPathFailing"), title="Notifications that failed", legend="{{job}} on {{host}}", unit="reqps"
        ),
        panel_of(alert("EngineFactsStale"), title="Engines of which nothing new is told", nothing="None"),
        panel_of(alert("TargetDown"), title="Other targets", legend="{{job}} on {{host}}"),
    ),
)

DASHBOARD = Dashboard(
    "fleet",
    "Fleet",
    "Is anything broken, and where do I look?",
    (_NOW, US_OR_THE_MODEL, _SERVICES, _HOSTS, _TRAFFIC, _WATCHING, runbooks("fleet")),
)
