"""The GPU exporter's unit, and what a scrape gives, whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from tests.fleets import example_fleet
from tests.tools import tool
from tests.unit.simulated_nvml import DRIVER, Simulated
from vllm_fleet.payload.nvml_exporter.collector import Collector, Snapshot
from vllm_fleet.payload.nvml_exporter.families import FAMILIES
from vllm_fleet.payload.nvml_exporter.kernel_log import KernelLog
from vllm_fleet.render.files import File
from vllm_fleet.render.gpu_exporter import program_file, unit_file


def unit() -> File:
    fleet = example_fleet()
    return unit_file(fleet, fleet.host("gpu1"))


def test_the_unit(golden: Callable[[str, str], None]) -> None:
    content = unit().content
    assert isinstance(content, str)
    golden("nvml-exporter.service", content)
    assert program_file().path in content


@pytest.mark.tools
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "nvml-exporter.service"
    path.write_bytes(unit().data)
    done = subprocess.run([tool("systemd-analyze"), "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("gcc"), reason="the stand-in for NVML is compiled")
def test_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]) -> None:
    simulated = Simulated(tmp_path)
    simulated.load(DRIVER)
    # two GPUs, and energy that stands still
    simulated.file("var/lib/nvidia-simulate/state", "gpus=2\nenergy=10115318\n")
    monkeypatch.setattr(pynvml, "nvmlLib", simulated.lib)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    log = KernelLog()
    log.take(
        b'{"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1790000000500000", '
        b'"MESSAGE": "NVRM: Xid (PCI:0000:1b:00): 31, pid=1, name=python3"}\n'
    )
    collector = Collector(2, log)
    collector.collect()
    text = Snapshot(collector.collect(), time.monotonic()).scrape().decode()
    golden("nvml-scrape.txt", re.sub(r"^(nvml_(?:snapshot_age|collection)_seconds) .*", r"\1 0", text, flags=re.M))


def test_the_table_of_families(golden: Callable[[str, str], None]) -> None:
    """As docs/metrics.md shows it."""
    rows = [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |\n"
        for family in FAMILIES.values()
    ]
    docs = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert "".join(rows) in docs.read_text(encoding="utf-8")
