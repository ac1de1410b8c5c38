"""What a dashboard is: rows of panels, and the queries they draw. Grafana's form of it is made by `grafana.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import Alert
from vllm_fleet.observe.alerts.subjects import Dashboard as Name

Kind = Literal["timeseries", "stat", "table", "heatmap", "text"]
"""Grafana's panel types that are used."""

Unit = Literal[
    "short", "s", "percentunit", "bytes", "Bps", "reqps", "celsius", "watt", "count:tok/s", "dateTimeFromNow"
]
"""Grafana's names; all values are in Prometheus' base units, `percentunit` is 0 to 1."""

OK, TICKET, PAGE = "green", "orange", "red"
"""Colours by severity."""
_COLOURS = {"ticket": TICKET, "page": PAGE}

Levels = tuple[tuple[float | None, str], ...]
"""Colours, each with the value from which on it counts; None is the lowest."""

PLAIN: Levels = ((None, OK),)
_MORE_THAN_NONE = 1e-9


@dataclass(frozen=True)
class Query:
    """One PromQL expression, with the dashboard's variables in it."""

    expression: str
    legend: str = ""
    """A series' name, with `{{label}}`; in a table the column's title. Without one a column of values is not shown."""
    unit: Unit | None = None
    """Of a table's column; None is the panel's."""
    levels: Levels = ()
    """Of a table's column, whose cells are then coloured."""
    names: Mapping[int, str] | None = None
    """Of a table's column: what a number is called that stands for something."""
    alert: Alert | None = None
    """Whose query it is."""


class Look(TypedDict, total=False):
    """What a panel may set beside its title and queries."""

    unit: Unit
    width: int
    """Of 24."""
    height: int
    levels: Levels
    stacked: bool
    full: float
    """The value at the upper edge, where there is a natural one."""
    description: str
    nothing: str
    """What no data means, where that is not a fault."""
    first: str
    """The column by which a table is sorted, the largest at the top."""


@dataclass(frozen=True)
class Panel:
    """One picture or one number; its fields are those of `Look`, and the text of a text panel (Markdown)."""

    title: str
    kind: Kind
    queries: tuple[Query, ...] = ()
    unit: Unit = "short"
    width: int = 8
    height: int = 8
    levels: Levels = PLAIN
    stacked: bool = False
    full: float | None = None
    description: str = ""
    nothing: str = ""
    first: str = ""
    text: str = ""


@dataclass(frozen=True)
class Row:
    """Panels under one heading, from left to right."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False
    """Whether one must open it to see them, for what is looked at seldom."""


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    name: Name
    title: str
    question: str
    """What it answers."""
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def lines(title: str, *queries: Query, **look: Unpack[Look]) -> Panel:
    """Values over time."""
    return Panel(title, "timeseries", queries, **look)


def number(title: str, *queries: Query, **look: Unpack[Look]) -> Panel:
    """Values now, in large type."""
    return Panel(title, "stat", queries, **look)


def table(title: str, *columns: Query, **look: Unpack[Look]) -> Panel:
    """Values now, a row for each set of labels, which all columns have in common."""
    return Panel(title, "table", columns, **look)


def heatmap(title: str, query: Query, **look: Unpack[Look]) -> Panel:
    """How many fell into each bucket over time."""
    return Panel(title, "heatmap", (query,), **look)


def above(ticket: float | None = None, page: float | None = None) -> Levels:
    """Good below, bad from the given values on."""
    steps = ((ticket, TICKET), (page, PAGE))
    return (*PLAIN, *((value, colour) for value, colour in steps if value is not None))


def below(value: float, colour: str = PAGE) -> Levels:
    """Bad below a value."""
    return ((None, colour), (value, OK))


def levels_of(*alerts: Alert) -> Levels:
    """The thresholds of alerts that look at a quantity from the same side, in the colours of their severities."""
    first = alerts[0]
    if first.comparison == "<":
        return below(first.threshold, _COLOURS[first.severity])
    if first.comparison == "==" and first.threshold == 0:
        return below(_MORE_THAN_NONE, _COLOURS[first.severity])
    return (*PLAIN, *sorted({(alert.threshold or _MORE_THAN_NONE, _COLOURS[alert.severity]) for alert in alerts}))


def query_of(alert: Alert, legend: str = "") -> Query:
    """An alert's own query, narrowed to what the dashboard's variables choose."""
    labels = " ".join(f"{{{{{label}}}}}" for label in alert.labels)
    return Query(f"{alert.query} {_chosen(alert)}".rstrip(), legend or labels, alert=alert)


def panel_of(
    *alerts: Alert, title: str, legend: str = "", unit: Unit = "short", width: int = 8, nothing: str = ""
) -> Panel:
    """What alerts watch, with their thresholds; alerts with one query share its lines."""
    first_of_query = {alert.query: alert for alert in reversed(alerts)}
    queries = [query_of(alert, legend) for alert in reversed(first_of_query.values())]
    about = "\n\n".join(f"{alert.name} ({alert.severity}): {alert.runbook}" for alert in alerts)
    return lines(title, *queries, unit=unit, width=width, levels=levels_of(*alerts), description=about, nothing=nothing)


def _chosen(alert: Alert) -> str:
    """A filter that leaves the expression before it as it is: every target has `up`."""
    if not alert.labels:
        return ""
    matchers = [f'{label}=~"${label}"' for label in alert.labels]
    return f"and on ({', '.join(alert.labels)}) {metrics.UP}{{{', '.join(matchers)}}}"
