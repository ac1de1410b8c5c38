"""Dashboards as Grafana reads them: JSON of schema version 41 (Grafana 11.6 to 13)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any, get_args

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import Alert
from vllm_fleet.observe.alerts.subjects import Dashboard as Name
from vllm_fleet.observe.panel import Dashboard, Levels, Panel, Query

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
    """All panels in Grafana's order: each row's heading, then its panels, placed from left to right."""
    number, top = 0, 0
    for row in dashboard.rows:
        number += 1
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1}}  # fmt: skip
        left, top, height = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > _WIDTH:
                left, top, height = 0, top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place} | _panel(panel)
            left, height = left + panel.width, max(height, panel.height)
        top += height


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
    names = {str(value): {"text": name, "index": index} for index, (value, name) in enumerate(panel.names.items())}
    mappings = [{"type": "value", "options": names}] if names else []
    return {
        "unit": panel.unit,
        **({"min": 0, "max": panel.full} if panel.full is not None else {}),
        "mappings": mappings,
        "thresholds": _thresholds(panel.levels),
        **({"noValue": panel.nothing} if panel.nothing else {}),
        **more,
    }


def _thresholds(levels: Levels) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in levels]}


def _timeseries(panel: Panel) -> dict[str, Any]:
    thresholds = [value for value, _ in panel.levels if value is not None]
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "axisSoftMin": 0,
        **({"axisSoftMax": max(thresholds)} if thresholds else {}),  # how far it is from there
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
    }
    defaults = _defaults(panel, color={"mode": "palette-classic"}, custom=custom)
    legend = {
        "displayMode": "table",
        "placement": "bottom",
        "showLegend": True,
        "calcs": ["lastNotNull", "max"],
        "sortBy": "Last *",
        "sortDesc": True,
    }
    return {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {"defaults": _defaults(panel, color={"mode": "thresholds"}), "overrides": []},
        "options": {
            "colorMode": "background" if len(panel.levels) > 1 else "value",
            "graphMode": "none",
            "justifyMode": "auto",
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


def _table(panel: Panel) -> dict[str, Any]:
    """The queries' results side by side, joined by the labels they share; a column a query and a label."""
    lettered = _lettered(panel.queries)
    named = {("Value" if len(lettered) == 1 else f"Value #{letter}"): query for letter, query in lettered}
    columns = {name: query for name, query in named.items() if query.legend}
    hidden = {"Time": True} | {name: True for name, query in named.items() if not query.legend}
    return {
        "fieldConfig": {
            "defaults": _defaults(panel, color={"mode": "thresholds"}, custom={"filterable": True}),
            "overrides": [_column(query) for query in columns.values() if query.unit or query.levels],
        },
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {},
                    "renameByName": {name: query.legend for name, query in columns.items()},
                },
            },
        ],
    }


# else it has the colour of the lowest level
_NO_VALUE = {"type": "special", "options": {"match": "null+nan", "result": {"text": "-", "color": "transparent"}}}


def _column(query: Query) -> dict[str, Any]:
    properties: list[dict[str, Any]] = []
    if query.unit:
        properties.append({"id": "unit", "value": query.unit})
    if query.levels:
        properties.append({"id": "thresholds", "value": _thresholds(query.levels)})
        properties.append({"id": "mappings", "value": [_NO_VALUE]})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
    return {"matcher": {"id": "byName", "options": query.legend}, "properties": properties}
