"""The commands and names of four articles, as data: what fleet check says of each, and what to write today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.contract import VERSIONS, of_command, snapshot
from vllm_fleet.engine.contract import check_text, environment, metrics, removed

DATA = Path(__file__).parent / "data"
ROWS: list[dict[str, Any]] = yaml.safe_load((DATA / "seed_commands.yaml").read_text(encoding="utf-8"))
NAMES: dict[str, dict[str, str]] = yaml.safe_load((DATA / "seed_names.yaml").read_text(encoding="utf-8"))
SERVING = [row for row in ROWS if row["verdict"] != "other"]


def title(row: dict[str, Any]) -> str:
    return str(row["command"]).splitlines()[-1].strip()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", SERVING, ids=title)
def test_what_is_said_of_a_command(row: dict[str, Any], version: str) -> None:
    found: dict[str, str] = {}
    for problem in of_command(row["command"], version):
        option = problem.path.partition(": ")[2]
        found[option] = found.get(option, "") + problem.fix
    expected: dict[str, str] = row.get("says", {})
    assert set(found) == set(expected)
    for option, mend in expected.items():
        assert mend in found[option]
    assert bool(expected) == (row["verdict"] in ("refused", "deprecated"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", SERVING, ids=title)
def test_what_to_write_today_passes(row: dict[str, Any], version: str) -> None:
    assert of_command(row["today"], version) == []


@pytest.mark.parametrize("row", [row for row in ROWS if row["verdict"] == "other"], ids=title)
def test_other_commands_are_left_out(row: dict[str, Any]) -> None:
    assert check_text(snapshot(), row["command"], "f") == ([], 0)
    assert row["today"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("option", "mend"), NAMES["options"].items())
def test_options_that_are_gone_name_what_replaced_them(option: str, mend: str, version: str) -> None:
    (problem,) = of_command(f"vllm serve x {option} 4", version)
    assert problem.path == f"f:1: {option}"
    assert mend in problem.fix


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "mend"), NAMES["environment"].items())
def test_variables_that_are_gone_name_what_replaced_them(name: str, mend: str, version: str) -> None:
    (problem,) = environment.check(snapshot(version), {name: "1"}, "env.")
    assert mend in problem.fix


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "today"), NAMES["metrics"].items())
def test_metrics_have_their_name_of_today(name: str, today: str, version: str) -> None:
    found = list(metrics.check(snapshot(version), {name: "dashboard"}))
    assert [problem.fix.startswith(f"use {today}") for problem in found] == ([] if name == today else [True])
    assert not list(metrics.check(snapshot(version), {today: "dashboard"}))


@pytest.mark.parametrize(("field", "mend"), NAMES["request_fields"].items())
def test_a_field_of_requests_is_no_option(field: str, mend: str) -> None:
    (problem,) = of_command(f"vllm serve x --{field} '{{}}'")
    assert "field of requests" in problem.problem
    assert mend in problem.fix


def test_disable_log_requests_came_back_in_0_33() -> None:
    assert "remove it" in of_command("vllm serve x --disable-log-requests", "0.32")[0].fix
    assert of_command("vllm serve x --disable-log-requests", "0.33") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_mend_names_options_that_exist(version: str) -> None:
    tables = (removed.OPTIONS, removed.REQUEST_FIELDS, removed.QUANTIZATION, removed.ENVIRONMENT)
    known = snapshot(version).spellings
    for table in tables:
        for name, gone in table.items():
            for word in gone.instead.split():
                if word.startswith("--"):
                    assert word.strip("(),;").split(".")[0] in known, f"{name}: {gone.instead}"


def test_the_tables_hold_nothing_that_the_newest_version_has() -> None:
    newest = snapshot()
    assert not set(removed.OPTIONS) & set(newest.options)
    assert not set(removed.QUANTIZATION) & set(newest.quantization)
    assert not set(removed.ENVIRONMENT) & set(newest.environment)
    assert not set(removed.METRICS) & metrics.series(newest)
