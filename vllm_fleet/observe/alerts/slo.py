"""Service level objectives: how fast a service uses up what it may fail (Google's SRE Workbook, "Alerting on SLOs").

Each alert looks at two windows: the long one says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import Alert, Severity


@dataclass(frozen=True)
class _Objective:
    name: str
    """As in the label `slo`."""
    bad: str
    least: float
    """Events a second over the long window, below which chance would call somebody."""
    action: str


@dataclass(frozen=True)
class Burn:
    name: str
    long: str
    short: str
    rate: float
    """In budgets."""
    held: str
    severity: Severity
    effect: str
    """At that rate, of a budget for 30 days."""


# one request a minute, or its tokens
_OBJECTIVES = (
    _Objective("ttft", "first tokens come late", 0.02, "Look at queue and KV cache; add a replica or turn load away"),
    _Objective("itl", "tokens come slowly", 2, "Look at batch sizes, long prompts and preemptions"),
    _Objective("errors", "requests are answered with 5xx", 0.02, "Find out whether engines or the gateway answer so"),
)
BURNS = (
    Burn("FastBurn", "1h", "5m", 14.4, "2m", "page", "2 % of a month's budget in an hour"),
    Burn("SlowBurn", "6h", "30m", 6, "15m", "page", "5 % of a month's budget in six hours"),
    Burn("BudgetTicket", "3d", "6h", 1, "1h", "ticket", "10 % of a month's budget in three days"),
)
"""The most urgent first; alerts are named after their objective and one of these."""


def _alerts() -> Iterator[Alert]:
    for objective in _OBJECTIVES:
        only = f'{{{metrics.SLO}="{objective.name}"}}'
        for burn in BURNS:
            yield Alert(
                name=f"{objective.name.capitalize()}{burn.name}",
                query=f"{metrics.SLO_BURN}{burn.long}{only}",
                comparison=">",
                threshold=burn.rate,
                held=burn.held,
                severity=burn.severity,
                subject=subjects.SLO,
                summary=f"{{{{ $labels.service }}}}: {objective.bad}, using up {burn.effect}",
                action=objective.action,
                provided=f"and {metrics.SLO_BURN}{burn.short}{only} > {burn.rate:g} "
                f"and avg_over_time({metrics.SLO_EVENTS}{only}[{burn.long}]) > {objective.least:g}",
            )


ALERTS = tuple(_alerts())
