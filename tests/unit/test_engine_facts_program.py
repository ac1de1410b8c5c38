"""The program of engines' facts as it is shipped: one file, which runs with nothing but Python, and its names."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fleets import example_fleet
from vllm_fleet import paths
from vllm_fleet.observe import metrics
from vllm_fleet.payload.engine_facts.engine import ENGINES
from vllm_fleet.payload.engine_facts.families import FAMILIES
from vllm_fleet.planner.placement import place
from vllm_fleet.render.engine_facts import declared_file, program_file, services_file
from vllm_fleet.render.monitoring import gateway_metrics
from vllm_fleet.schema.certificate import Certificate


def test_it_asks_for_nothing_that_a_host_lacks() -> None:
    with zipfile.ZipFile(io.BytesIO(program_file().data)) as archive:
        sources = [archive.read(name).decode() for name in archive.namelist()]
        assert {"__main__.py", "prometheus_client/openmetrics/exposition.py", "engine_facts/journal.py"} <= {
            *archive.namelist()
        }
    imported = set(re.findall(r"^(?:import|from) (\w+)", "\n".join(sources), re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"prometheus_client", "engine_facts"}


def test_it_runs_on_a_host_without_engines(tmp_path: Path) -> None:
    """This machine: what is shown is every family's name, and no sample."""
    if ENGINES.exists():
        pytest.skip("this machine has engines")
    program, textfile = tmp_path / "engine_facts.pyz", tmp_path / "engines.prom"
    program.write_bytes(program_file().data)
    # -I -S: nothing of the virtual environment
    argv = [sys.executable, "-I", "-S", str(program), str(textfile)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        while not textfile.exists() and process.poll() is None:
            time.sleep(0.1)  # it starts
        process.terminate()
        _, said = process.communicate()
    assert said == ""
    types = re.findall(r"^# TYPE (\w+) gauge$", textfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert types == [family.name for family in FAMILIES]


def test_it_looks_where_engines_are_placed() -> None:
    assert str(ENGINES) == paths.ENGINES


def test_alerts_ask_for_what_there_is() -> None:
    fleet = example_fleet()
    certificate = Certificate("", ("gateway",), datetime(2027, 1, 31, tzinfo=UTC))
    declared = (
        declared_file(fleet, place(fleet), fleet.host("gpu1")),
        services_file(fleet),
        gateway_metrics("gateway", certificate),
    )
    shown = set(re.findall(r"^# TYPE (\w+)", "\n".join(str(file.content) for file in declared), re.MULTILINE))
    shown |= {family.name for family in FAMILIES}
    asked = {value for value in vars(metrics).values() if isinstance(value, str) and value.startswith("vllm_fleet_")}
    assert len(asked) > 5
    assert asked <= shown
