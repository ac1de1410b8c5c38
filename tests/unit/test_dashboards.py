"""What holds for every dashboard and panel, and that no dashboard says what Grafana does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Schema

from grafana import DASHBOARDS
from tests.dashboards import queries
from tests.unit.contract import VERSIONS, snapshot
from vllm_fleet.engine.contract import metrics as exposed
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.grafana import NAMES, dashboard_json, dashboard_path, uid
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, levels_of, lines, panel_of
from vllm_fleet.payload.nvml_exporter.families import FAMILIES

QUERIES = list(queries())
# What they watch is itself whether something fires, or a list of names; the table of firing alerts shows both.
NOT_DRAWN = {"Watchdog", "MetricVanished"}
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)


def alert(name: str) -> Alert:
    return next(each for each in ALERTS if each.name == name)


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """What of a document Grafana's schema does not take over as it is; what it adds are defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}/{key}") if key in after else [f"{path}/{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif before != after:
        yield path


def round_trip(document: dict[str, Any]) -> list[str]:
    register_default_plugins()
    return list(lost(document, json.loads(json.dumps(Schema.from_json(document), cls=JSONEncoder))))


@each_dashboard
def test_grafanas_schema_knows_every_field(dashboard: Dashboard) -> None:
    assert round_trip(dashboard_json(dashboard)) == []


@pytest.mark.parametrize(
    "path",
    [
        "panels/2/gridpos",
        "panels/2/targets/0/legendformat",
        "panels/2/fieldConfig/defaults/units",
        "panels/2/fieldConfig/defaults/thresholds/step",
        "panels/2/fieldConfig/defaults/custom/fillOpacitiy",
        "panels/2/options/legend/displayType",
        "templating/list/1/multiple",
        "links/0/keeptime",
        "schemaversion",
    ],
)
def test_a_typo_is_seen(path: str) -> None:
    document = dashboard_json(next(each for each in DASHBOARDS if each.name == "rollout"))
    document["panels"] = [panel for panel in document["panels"] if panel["type"] != "table"]
    *parents, typo = path.split("/")
    place: Any = document
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[typo] = "x"
    assert round_trip(document) == [f"/{path}"]


@each_dashboard
def test_it_leads_to_the_others_with_its_choice_and_time(dashboard: Dashboard) -> None:
    links = dashboard_json(dashboard)["links"]
    assert {link["url"] for link in links} == {f"/d/{uid(name)}" for name in NAMES if name != dashboard.name}
    assert all(link["includeVars"] and link["keepTime"] for link in links)


@each_dashboard
def test_its_runbook_row_names_the_pages_of_its_alerts(dashboard: Dashboard) -> None:
    text = dashboard.rows[-1].panels[0].text
    for each in ALERTS:
        if each.subject.dashboard == dashboard.name:
            assert f"docs/runbooks/{each.subject.name}.md" in text
            assert each.name in text


@each_dashboard
def test_panels_do_not_overlap_and_numbers_are_unique(dashboard: Dashboard) -> None:
    panels = dashboard_json(dashboard)["panels"]
    within = [each for panel in panels for each in panel.get("panels", [])]
    assert len({panel["id"] for panel in (*panels, *within)}) == len(panels) + len(within)
    no_overlap(panels)
    no_overlap(within)


def no_overlap(panels: list[dict[str, Any]]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells, panel["title"]
        cells |= own


def test_a_collapsed_row_holds_its_panels_and_takes_one_line() -> None:
    panels = (lines("a", width=24), lines("b"))
    document = dashboard_json(Dashboard("fleet", "t", "q", (Row("r", panels, collapsed=True), Row("s", panels))))
    first, second, *rest = document["panels"]
    assert [panel["title"] for panel in first["panels"]] == ["a", "b"]
    assert [panel["gridPos"]["y"] for panel in (first, *first["panels"], second)] == [0, 1, 9, 1]
    assert (second["panels"], [panel["title"] for panel in rest]) == ([], ["a", "b"])


@each_dashboard
def test_labels_of_tables_have_titles(dashboard: Dashboard) -> None:
    for panel in dashboard_json(dashboard)["panels"]:
        if panel["type"] == "table":
            titles = panel["transformations"][1]["options"]["renameByName"]
            for target in panel["targets"]:
                labels = re.findall(r"by \(([^)]*)\)", target["expr"])[0].split(", ")
                assert set(labels) - {"le"} <= titles.keys(), target["expr"]


@pytest.mark.parametrize("name", ["fleet", "service"])
def test_whether_it_is_us_or_the_model_is_on_the_first_screen(name: str) -> None:
    """27 units of height are about a screen of 1080 lines."""
    document = dashboard_json(next(each for each in DASHBOARDS if each.name == name))
    first = [panel["title"] for panel in document["panels"] if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= 27]
    assert {"5xx, by who answered so", "Where a request's time goes (mean)", "Behind the engines"} <= set(first)


@pytest.mark.parametrize("each", ALERTS, ids=lambda each: each.name)
def test_an_alerts_dashboard_draws_its_quantity_with_its_threshold(each: Alert) -> None:
    path = dashboard_path(each)
    dashboard = next(one for one in DASHBOARDS if path.split("?")[0] == f"/d/{uid(one.name)}")
    assert dashboard.name == each.subject.dashboard
    drawn = [panel for panel in dashboard.panels for query in panel.queries if each.query in query.expression]
    if each.name not in NOT_DRAWN:
        assert any(_reaches(panel, each) for panel in drawn), "add a panel_of it there"


def _reaches(panel: Panel, each: Alert) -> bool:
    return any(value == pytest.approx(each.threshold, abs=1e-6) for value, _ in panel.levels if value is not None)


@pytest.mark.parametrize(
    "name, path",
    [
        ("VllmDown", "/d/vllm-fleet-service?var-service={{ $labels.service }}&var-host={{ $labels.host }}"),
        ("TtftFastBurn", "/d/vllm-fleet-service?var-service={{ $labels.service }}"),
        ("HostDown", "/d/vllm-fleet-gpu?var-host={{ $labels.host }}"),
        ("Watchdog", "/d/vllm-fleet-fleet"),
    ],
)
def test_an_alert_leads_to_what_it_names(name: str, path: str) -> None:
    assert dashboard_path(alert(name)) == path


def test_thresholds_have_the_colour_of_their_severity() -> None:
    assert levels_of(alert("KvCacheSaturated"), alert("KvCacheHigh")) == (
        (None, "green"), (0.9, "orange"), (0.95, "red"),
    )  # fmt: skip
    assert levels_of(alert("ModelDiskFilling")) == ((None, "orange"), (0.1, "green"))
    assert levels_of(alert("HostDown"))[0] == (None, "red")
    assert levels_of(alert("GpuMemoryFault"))[1][0] > 0, "none is not too many"


def test_alerts_on_one_quantity_share_a_line() -> None:
    high, saturated = alert("KvCacheHigh"), alert("KvCacheSaturated")
    panel = panel_of(high, saturated, title="t")
    assert [query.alert for query in panel.queries] == [high]
    assert high.runbook in panel.description
    assert saturated.runbook in panel.description


@pytest.mark.parametrize("where, panel, query", QUERIES, ids=[where for where, _, _ in QUERIES])
def test_it_can_be_narrowed_and_looks_back_by_the_pictures_scale(where: str, panel: Panel, query: Query) -> None:
    own = query.expression
    for each in ALERTS:
        own = own.replace(each.query, "")
    assert set(re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", own)) <= {"$__rate_interval"}
    assert "$service" in own or "$host" in own or metrics.ALERTS in own, "the variables change nothing"


def _names(expression: str) -> set[str]:
    """What is selected: every name before a brace, and alerts' without one."""
    return set(re.findall(r"([a-zA-Z_][a-zA-Z0-9_:]*)\{", expression)) | set(metrics.metrics_in(expression))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_metric_of_vllm_exists(version: str) -> None:
    asked = {name: where for where, _, query in QUERIES for name in _names(query.expression)}
    assert len([name for name in asked if name.startswith("vllm:")]) > 15
    assert list(exposed.check(snapshot(version), asked)) == []


def test_every_other_metric_is_one_that_we_know() -> None:
    known = {value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, str)}
    known |= {f"{metrics.SLO_BURN}{window}" for window in ("1h", "6h", "3d")}
    asked = {name for _, _, query in QUERIES for name in _names(query.expression) if not name.startswith("vllm:")}
    assert asked - known == set()
    of_gpus = {name for name in known if name.startswith("nvml_")}
    assert of_gpus - set(FAMILIES) == set()
    alerted = {name for each in ALERTS for name in metrics.metrics_in(each.condition)}
    assert of_gpus - asked - alerted == set(), "a name that nobody uses"
