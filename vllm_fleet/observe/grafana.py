"""Dashboards as Grafana reads them: JSON of schema version 41 (Grafana 11.6 to 13)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from string import ascii_uppercase
from typing import Any, get_args

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import Alert
from vllm_fleet.observe.alerts.subjects import Dashboard as Name
from vllm_fleet.observe.panel import OK, Dashboard, Levels, Panel, Query, Unit

NAMES: tuple[Name, ...] = get_args(Name)
SCHEMA_VERSION = 41
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24


def uid(name: Name) -> str:
    """A dashboard's part of Grafana's URLs: `/d/UID`."""
    return f"vllm-fleet-{name}"


def dashboard_path(alert: Alert) -> str:
    """Where Grafana shows what an alert is about: its dashboard, with the service and the host that it names."""
    chosen = "&".join(f"var-{label}={{{{ $labels.{label} }}}}" for label in alert.labels)
    return f"/d/{uid(alert.subject.dashboard)}{'?' if chosen else ''}{chosen}"


def dashboard_text(dashboard: Dashboard) -> str:
    """The file."""
    return json.dumps(dashboard_json(dashboard), indent=2, ensure_ascii=False) + "\n"


def dashboard_json(dashboard: Dashboard) -> dict[str, Any]:
    """One dashboard, with links to the others and the pages of the runbook that its alerts have."""
    return {
        "uid": uid(dashboard.name),
        "title": dashboard.title,
        "description": dashboard.question,
        "tags": ["vllm-fleet"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link(name) for name in NAMES if name != dashboard.name],
        "templating": {"list": [_datasource(), *map(_variable, _VARIABLES)]},
        "annotations": {"list": [_pages()]},
        "panels": list(_panels(dashboard)),
    }


def _link(name: Name) -> dict[str, Any]:
    return {
        "type": "link",
        "title": name.capitalize() if name != "gpu" else "GPU and host",
        "url": f"/d/{uid(name)}",
        "icon": "dashboard",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _datasource() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "hide": 0}


# what is declared, whether or not it is up: Prometheus' targets
_VARIABLES = {
    metrics.SERVICE: f'label_values({metrics.UP}{{job="{metrics.VLLM}"}}, {metrics.SERVICE})',
    metrics.HOST: f'label_values({metrics.UP}{{job="{metrics.NODE}"}}, {metrics.HOST})',
}


def _variable(name: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "datasource": _SOURCE,
        "query": {"query": _VARIABLES[name], "refId": name},
        "definition": _VARIABLES[name],
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _pages() -> dict[str, Any]:
    """Where somebody was woken, over all panels."""
    return {
        "name": "Pages",
        "datasource": _SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": f'{metrics.ALERTS}{{alertstate="firing", severity="page"}}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{service}} {{host}}",
        "step": "60s",
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """All panels in Grafana's order: each row's heading, then its panels, or with them in it where it is collapsed."""
    numbers, top = count(1), 0
    for row in dashboard.rows:
        heading = {"id": next(numbers), "type": "row", "title": row.title, "collapsed": row.collapsed,
                   "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1}}  # fmt: skip
        top += 1
        panels: list[dict[str, Any]] = [
            {"id": next(numbers), "gridPos": place} | _panel(panel)
            for panel, place in zip(row.panels, _places(row.panels, top), strict=True)
        ]
        if row.collapsed:
            yield heading | {"panels": panels}
            continue
        yield heading | {"panels": []}
        yield from panels
        top = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)


def _places(panels: Sequence[Panel], top: int) -> Iterator[dict[str, int]]:
    """From left to right, then below."""
    left = height = 0
    for panel in panels:
        if left + panel.width > _WIDTH:
            left, top, height = 0, top + height, 0
        yield {"x": left, "y": top, "w": panel.width, "h": panel.height}
        left, height = left + panel.width, max(height, panel.height)


def _panel(panel: Panel) -> dict[str, Any]:
    common: dict[str, Any] = {"type": panel.kind, "title": panel.title, "description": panel.description}
    if panel.kind == "text":
        return common | {"options": {"mode": "markdown", "content": panel.text}}
    common |= {"datasource": _SOURCE, "targets": [_target(panel, *each) for each in _lettered(panel.queries)]}
    match panel.kind:
        case "timeseries":
            return common | _timeseries(panel)
        case "stat":
            return common | _stat(panel)
        case "table":
            return common | _table(panel)
        case "heatmap":
            return common | _heatmap(panel)


def _lettered(queries: Sequence[Query]) -> list[tuple[str, Query]]:
    return list(zip(ascii_uppercase, queries, strict=False))


def _target(panel: Panel, letter: str, query: Query) -> dict[str, Any]:
    now = panel.kind in ("stat", "table")
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "instant": now,
        "range": not now,
        "format": {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series"),
    }


def _defaults(panel: Panel, **more: Any) -> dict[str, Any]:
    """What holds for all of a panel's values."""
    return {
        "unit": panel.unit,
        **({"min": 0, "max": panel.full} if panel.full is not None else {}),
        "thresholds": _thresholds(panel.levels),
        **({"noValue": panel.nothing} if panel.nothing else {}),
        **more,
    }


def _thresholds(levels: Levels) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in levels]}


# Of the axis: nothing at all would be drawn up to 100, and 10000 %.
_AT_LEAST: dict[Unit, float] = {
    "short": 1,
    "percentunit": 0.1,
    "s": 0.01,
    "reqps": 0.1,
    "count:tok/s": 1,
    "bytes": 2**20,
    "Bps": 1000,
}


def _timeseries(panel: Panel) -> dict[str, Any]:
    thresholds = [value for value, _ in panel.levels if value is not None]
    top = max(_AT_LEAST.get(panel.unit, 0), *thresholds, 0)  # so that a threshold is in sight
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "axisSoftMin": 0,
        **({"axisSoftMax": top} if top else {}),
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
    }
    defaults = _defaults(panel, color={"mode": "palette-classic"}, custom=custom)
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _dash(match: str, **more: str) -> dict[str, Any]:
    return {"type": "special", "options": {"match": match, "result": {"text": "-", **more}}}


# else a cell has the colour of the lowest level
_NO_CELL = [_dash(match, color="transparent") for match in ("null+nan", "empty")]
# of values: more are read from top to bottom, a line each, whose names would be unreadably small
_BESIDE = 3
_LIST = {"orientation": "horizontal", "text": {"titleSize": 15, "valueSize": 20}}


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {
            "defaults": _defaults(panel, color={"mode": "thresholds"}, mappings=[_dash("null+nan")]),
            "overrides": [],
        },
        "options": {
            "colorMode": "background" if len(panel.levels) > 1 else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            **(_LIST if len(panel.queries) > _BESIDE else {}),
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def _heatmap(panel: Panel) -> dict[str, Any]:
    """Of a histogram's buckets: the format `heatmap` turns sums up to a bound into counts between two."""
    return {
        "fieldConfig": {"defaults": {"custom": {}}, "overrides": []},
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "reverse": False, "exponent": 0.5},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "yAxis": {"unit": panel.unit, "axisPlacement": "left", "reverse": False},
        },
    }


# What labels are called as columns of tables, which have them first, in this order.
_LABELS = {
    "alertname": "Alert",
    metrics.SERVICE: "Service",
    metrics.REPLICA: "Replica",
    "rank": "Rank",
    metrics.HOST: "Host",
    metrics.GPU: "GPU",
    "xid": "XID",
    "phase": "Phase",
    metrics.TRACK: "Track",
    metrics.CONFIGURATION: "Configuration",
    "vllm_version": "vLLM",
    "name": "Model",
    "driver": "Driver",
    "serial": "Serial",
    "pci": "PCI",
}


def _table(panel: Panel) -> dict[str, Any]:
    """The queries' results side by side, joined by the labels they share; a column a label, then one a query."""
    lettered = _lettered(panel.queries)
    named = {("Value" if len(lettered) == 1 else f"Value #{letter}"): query for letter, query in lettered}
    titles = _LABELS | {name: query.legend for name, query in named.items() if query.legend}
    hidden = {"Time": True} | {name: True for name, query in named.items() if not query.legend}
    # a column has 150 px else, and the last ones are out of sight
    custom = {"minWidth": 60}
    return {
        "fieldConfig": {
            "defaults": _defaults(panel, color={"mode": "thresholds"}, mappings=_NO_CELL, custom=custom),
            "overrides": [_column(query) for query in panel.queries if query.unit or query.levels or query.names],
        },
        "options": {
            "showHeader": True,
            "cellHeight": "sm",
            **({"sortBy": [{"displayName": panel.first, "desc": True}]} if panel.first else {}),
        },
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: index for index, name in enumerate(titles)},
                    "renameByName": titles,
                },
            },
        ],
    }


def _column(query: Query) -> dict[str, Any]:
    properties: list[dict[str, Any]] = []
    if query.unit:
        properties.append({"id": "unit", "value": query.unit})
    if query.names:
        names = {str(value): {"text": name} for value, name in query.names.items()}
        properties.append({"id": "mappings", "value": [{"type": "value", "options": names}, *_NO_CELL]})
    if query.levels:
        # only what is bad has a colour, so that it is seen among many
        levels = tuple((value, colour if colour != OK else "transparent") for value, colour in query.levels)
        properties.append({"id": "thresholds", "value": _thresholds(levels)})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
    return {"matcher": {"id": "byName", "options": query.legend}, "properties": properties}
