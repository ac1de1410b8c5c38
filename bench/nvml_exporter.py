"""What the GPU exporter costs: `python -m bench.nvml_exporter`, half a minute, needs gcc and no GPU.

NVML is the lab's stand-in for eight H200s (lab/nvidia), which reads its files anew in each call; so the time spent in
it is measured apart, and what is left is the exporter's own. A real library costs what it costs: nvml_scrapes.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector as Source

from bench import nvml_scrapes
from bench.nvml_scrapes import SCRAPES
from lab import nvidia_debs
from vllm_fleet.payload.nvml_exporter.collector import ROUND_SECONDS, SELDOM_ROUNDS, Collector, Snapshot
from vllm_fleet.payload.nvml_exporter.families import FAMILIES
from vllm_fleet.payload.nvml_exporter.kernel_log import KernelLog
from vllm_fleet.payload.nvml_exporter.text import exposition, joined, labels
from vllm_fleet.render.gpu_exporter import program_file

GPUS = 8
ROUNDS = 5 * SELDOM_ROUNDS
WRITES = 50
TARGETS = {"scrape p99, ms": 5.0, "share of one core, %": 0.5, "memory, MiB": 40.0}


def stand_in(root: Path) -> Path:
    """The library, compiled to read below `root`, with its values and its module."""
    version = nvidia_debs.DRIVERS[0].split("-")[0]
    library = root / "libnvidia-ml.so.1"
    subprocess.run(nvidia_debs.compile_argv(library, version, str(root)), check=True)
    loaded = (nvidia_debs.SOURCES / "load-module").read_text().replace("@VERSION@", version)
    for path, text in {
        "usr/share/nvidia-simulate/h200": (nvidia_debs.SOURCES / "h200").read_text(),
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "proc/driver/nvidia/version": loaded[loaded.index("NVRM version") :],
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return library


def rounds(library: Path) -> dict[str, float]:
    """CPU time of a round in ms, all of it and without the library; the size of a scrape."""
    inside = 0.0

    def timed(call: Callable[..., int]) -> Callable[..., int]:
        def ask(*arguments: Any) -> int:
            nonlocal inside
            began = time.thread_time()
            code = call(*arguments)
            inside += time.thread_time() - began
            return code

        return ask

    pynvml.nvmlLib = pynvml.CDLL(str(library))
    find = pynvml._nvmlGetFunctionPointer
    wrapped: dict[str, Callable[..., int]] = {}
    pynvml._nvmlGetFunctionPointer = lambda name: wrapped.get(name) or wrapped.setdefault(name, timed(find(name)))
    collector = Collector(GPUS, KernelLog())
    text = collector.collect()
    began, inside = time.thread_time(), 0.0
    for _ in range(ROUNDS):
        text = collector.collect()
    whole = time.thread_time() - began
    began = time.thread_time()
    for _ in range(SCRAPES):
        Snapshot(text, 0).scrape()
    a_scrape = (time.thread_time() - began) / SCRAPES
    return {
        "a round with the stand-in, ms": 1000 * whole / ROUNDS,
        "a round without it, ms": 1000 * (whole - inside) / ROUNDS,
        "a scrape, ms": 1000 * a_scrape,
        "series": sum(not line.startswith("#") for line in text.splitlines()),
        "share of one core, %": 100 * ((whole - inside) / ROUNDS + a_scrape) / ROUND_SECONDS,
    }


def writers(text: str) -> dict[str, float]:
    """CPU time of making and writing one scrape's samples in our way and in prometheus_client's, in turns, and what
    importing that takes."""
    parsed = list(text_string_to_metric_families(text))
    registry = CollectorRegistry()
    registry.register(Remade(parsed))
    answers = [(sample.name, labels(**sample.labels), sample.value) for family in parsed for sample in family.samples]
    assert series_of(generate_latest(registry).decode()) == series_of(exposition(FAMILIES, answers)) == series_of(text)
    ways = {
        "ours": lambda: exposition(FAMILIES, [(name, joined(marks, ""), value) for name, marks, value in answers]),
        "prometheus_client": lambda: generate_latest(registry),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WRITES):
        for name, write in ways.items():
            began = time.thread_time()
            write()
            seconds[name].append(time.thread_time() - began)
    medians = {name: 1e6 * statistics.median(taken) / len(answers) for name, taken in seconds.items()}
    return {
        **{f"us a sample, {name}": median for name, median in medians.items()},
        "prometheus_client / ours": medians["prometheus_client"] / medians["ours"],
        "importing prometheus_client, MiB": imported("prometheus_client") / 1024,
    }


def series_of(text: str) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    return {
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Remade(Source):
    """Families whose samples are made anew for each scrape, as prometheus_client's documentation has it for values
    that come from elsewhere."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = [
            (
                CounterMetricFamily if family.type == "counter" else GaugeMetricFamily,
                (family.name, family.documentation, list(family.samples[0].labels)),
                [(list(sample.labels.values()), sample.value) for sample in family.samples],
            )
            for family in families
        ]

    def collect(self) -> Iterator[Metric]:
        for kind, what, rows in self._families:
            family = kind(what[0], what[1], labels=what[2])
            for values, number in rows:
                family.add_metric(values, number)
            yield family


def imported(module: str) -> int:
    """KiB that a module adds to a process that has what the exporter imports."""
    code = f"""
import argparse, ctypes, http.server, json, pynvml, socketserver, subprocess, threading
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident()
import {module}
print(resident() - before)"""
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        library = stand_in(root)
        program = root / "nvml_exporter.pyz"
        program.write_bytes(program_file().data)
        found, text = nvml_scrapes.measure(program, GPUS, root)
        found |= rounds(library) | writers(text)
    for name, value in found.items():
        target = TARGETS.get(name)
        print(f"{name:32}{value:10.3f}" + (f"   {value / target:.2f} of the target, {target:g}" if target else ""))
    print(json.dumps({"gpus": GPUS, "rounds": ROUNDS, "scrapes": SCRAPES, "writes": WRITES, **found}))


if __name__ == "__main__":
    main()
