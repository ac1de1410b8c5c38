"""What a deploy declares of engines, and the unit of the program that finds out the rest, whole."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleets import example_fleet
from tests.tools import tool
from vllm_fleet.payload.engine_facts.families import FAMILIES
from vllm_fleet.planner.placement import place
from vllm_fleet.render.engine_facts import LINK, declared_file, program_file, services_file, unit_file
from vllm_fleet.render.files import File
from vllm_fleet.schema import Host

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def declared(host: str) -> File:
    fleet = example_fleet()
    return declared_file(fleet, place(fleet), fleet.host(host))


def test_the_unit(golden: Callable[[str, str], None]) -> None:
    content = unit_file().content
    assert isinstance(content, str)
    golden("vllm-fleet-engine-facts.service", content)
    assert f"{program_file().path} {LINK.target}\n" in content


@pytest.mark.tools
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "vllm-fleet-engine-facts.service"
    path.write_bytes(unit_file().data)
    done = subprocess.run([tool("systemd-analyze"), "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_declared(golden: Callable[[str, str], None]) -> None:
    files = [declared("gpu1"), declared("gpu2"), services_file(example_fleet())]
    golden("declared-facts.txt", "\n".join(f"==> {file.path}\n{file.content}" for file in files))


@pytest.mark.tools
@pytest.mark.parametrize("host", ["gpu1", "gpu2"])
def test_promtool_takes_what_is_declared(host: str) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=declared(host).data, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_host_without_engines_declares_none() -> None:
    fleet = example_fleet()
    spare = Host(name="gpu3", address="10.0.0.13", groups=("gpu",))
    assert declared_file(fleet, place(fleet), spare).content == ""


def test_the_tables_of_families() -> None:
    """As docs/metrics.md shows them."""
    docs = DOCS.read_text(encoding="utf-8")
    for family in FAMILIES:
        assert f"| `{family.name}` | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |\n" in docs
    for file in (declared("gpu1"), services_file(example_fleet())):
        for name, text in re.findall(r"^# HELP (\w+) (.*)$", str(file.content), re.MULTILINE):
            assert re.search(rf"^\| `{name}` \| .*\| {re.escape(text)} \|$", docs, re.MULTILINE), name
