"""Fleet: is anybody being woken, and by what."""

from __future__ import annotations

from grafana.queries import (
    engines,
    gateway,
    hosts,
    how_many,
    named,
    of_service,
    or_none,
    quantile,
    rate,
    services,
    total,
    worst,
)
from grafana.shared import BACKEND_5XX, US_OR_THE_MODEL, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, above, levels_of, panel_of, query_of

_UP = engines(metrics.UP, f'job="{metrics.VLLM}"')
_PAGES = f'{metrics.ALERTS}{{alertstate="firing", severity="page"}}'
_TICKETS = f'{metrics.ALERTS}{{alertstate="firing", severity="ticket"}}'
_RESPONSES = of_service(rate(gateway(metrics.BACKEND_RESPONSES)))
_BURN = services(f"{metrics.SLO_BURN}1h")
(_FAST_BURN,) = named("ErrorsFastBurn")
(_PREEMPTIONS,) = named("Preemptions")
_KV_CACHE = named("KvCacheHigh", "KvCacheSaturated")
_TEMPERATURE = worst(hosts(metrics.GPU_TEMPERATURE, 'sensor="gpu"'), metrics.HOST)

DASHBOARD = Dashboard(
    "fleet",
    "Fleet",
    "Is anything broken, and where do I look?",
    (
        Row(
            "Is anybody being woken?",
            (
                Panel("Pages", (Query(or_none(f"count({_PAGES})")),), "stat", width=3, height=4, levels=above(page=1)),
                Panel(
                    "Tickets", (Query(or_none(f"count({_TICKETS})")),), "stat", width=3, height=4, levels=above(ticket=1)
                ),
                Panel(
                    "Services down",
                    (Query(how_many(*named("VllmServiceDown"))),),
                    "stat",
                    width=3,
                    height=4,
                    levels=above(page=1),
                ),
                Panel("Hosts down", (Query(how_many(*named("HostDown"))),), "stat", width=3, height=4, levels=above(page=1)),
                Panel(
                    "Engines",
                    (Query(total(_UP), "up"), Query(f"count({_UP})", "declared")),
                    "stat",
                    width=6,
                    height=4,
                ),
                Panel(
                    "GPUs",
                    (
                        Query(total(hosts(metrics.GPUS_VISIBLE)), "visible"),
                        Query(total(hosts(metrics.GPUS_DECLARED)), "declared"),
                    ),
                    "stat",
                    width=6,
                    height=4,
                ),
                Panel(
                    "Firing pages",
                    (Query(worst(_PAGES, "alertname", "service", "replica", "host", "unit")),),
                    "table",
                    width=24,
                    height=5,
                    description="What each means and what to do: docs/runbooks/README.md",
                ),
            ),
        ),
        Row(
            "Services",
            (
                Panel(
                    "A row a service",
                    (
                        Query(f"count by (service) ({_UP})", "Replicas"),
                        Query(total(f"{_UP} == bool 0", metrics.SERVICE), "Down", levels=above(page=1)),
                        Query(_RESPONSES, "Requests/s", "reqps"),
                        Query(
                            f"{of_service(BACKEND_5XX)} / {_RESPONSES}", "5xx", "percentunit", above(0.001, 0.0144)
                        ),
                        Query(worst(_BURN, metrics.SERVICE), "Budget burn, 1 h", levels=levels_of(_FAST_BURN)),
                        Query(quantile(0.95, metrics.TTFT, metrics.SERVICE), "TTFT p95", "s"),
                        Query(
                            worst(query_of(_KV_CACHE[0]).expression, metrics.SERVICE),
                            "KV cache p90",
                            "percentunit",
                            levels_of(*_KV_CACHE),
                        ),
                        Query(total(engines(metrics.REQUESTS_WAITING), metrics.SERVICE), "Waiting"),
                        Query(
                            worst(query_of(_PREEMPTIONS).expression, metrics.SERVICE),
                            "Preemptions a request",
                            "percentunit",
                            levels_of(_PREEMPTIONS),
                        ),
                    ),
                    "table",
                    width=24,
                    height=7,
                ),
            ),
        ),
        US_OR_THE_MODEL,
        Row(
            "Hosts and GPUs",
            (
                Panel(
                    "A row a host",
                    (
                        Query(f"min by (host) ({hosts(metrics.UP)})", "All targets up", levels=((None, "red"), (1, "green"))),
                        Query(worst(hosts(metrics.GPUS_DECLARED), metrics.HOST), "GPUs"),
                        Query(
                            f"{worst(hosts(metrics.GPUS_DECLARED), metrics.HOST)}"
                            f" - {worst(hosts(metrics.GPUS_VISIBLE), metrics.HOST)}",
                            "Lost",
                            levels=above(page=1),
                        ),
                        Query(_TEMPERATURE, "Hottest GPU", "celsius"),
                        Query(total(hosts(metrics.GPU_POWER), metrics.HOST), "Power", "watt"),
                        Query(
                            worst(rate(hosts(metrics.GPU_THROTTLED)), metrics.HOST),
                            "Throttled",
                            "percentunit",
                            above(0.05),
                        ),
                        Query(
                            f"time() - {worst(hosts(metrics.GPU_XID_LAST), metrics.HOST)}",
                            "Since the last XID",
                            "s",
                        ),
                    ),
                    "table",
                    width=24,
                    height=7,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel("Requests", (Query(_RESPONSES, "{{service}}"),), unit="reqps", width=8),
                Panel(
                    "Tokens generated",
                    (Query(total(rate(engines(metrics.GENERATION_TOKENS)), metrics.SERVICE), "{{service}}"),),
                    unit="si:tok/s",
                    width=8,
                ),
                panel_of(
                    *named("AlertPathFailing"),
                    title="Notifications that failed",
                    legend="{{job}} on {{host}}",
                    unit="reqps",
                ),
            ),
        ),
        runbooks("fleet"),
    ),
)  # fmt: skip
