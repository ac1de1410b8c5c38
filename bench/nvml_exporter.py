"""What the GPU exporter costs: `python -m bench.nvml_exporter`, half a minute, needs gcc and no GPU.

NVML is the lab's stand-in for eight H200s (lab/nvidia), which reads its files anew in each call; so the time spent in
it is measured apart, and what is left is the exporter's own. A real library costs what it costs.
"""

from __future__ import annotations

import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from lab import nvidia_debs
from vllm_fleet.payload.nvml_exporter.collector import ROUND_SECONDS, SELDOM_ROUNDS, Collector, Snapshot
from vllm_fleet.payload.nvml_exporter.kernel_log import KernelLog
from vllm_fleet.render.gpu_exporter import program_file

GPUS = 8
ROUNDS = 5 * SELDOM_ROUNDS
SCRAPES = 1000
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


def served(root: Path) -> dict[str, float]:
    """Scrapes of the program as it is shipped, one after the other over the loopback, and its memory after them.

    A path that is not there is asked in turn: what that takes is Python's server and the machine.
    """
    program = root / "nvml_exporter.pyz"
    program.write_bytes(program_file().data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-I", str(program), "--address", "127.0.0.1", "--port", str(port), "--gpus", str(GPUS)]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root)}
    with subprocess.Popen(argv, env=environment) as process:
        while b"nvml_gpu_up" not in scrape(port):
            time.sleep(0.2)  # until it has asked NVML once
        seconds: dict[str, list[float]] = {"/metrics": [], "/": []}
        for _ in range(SCRAPES):
            for path, taken in seconds.items():
                began = time.perf_counter()
                scrape(port, path)
                taken.append(time.perf_counter() - began)
            time.sleep(0.01)  # rounds begin meanwhile
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "scrape median, ms": 1000 * statistics.median(seconds["/metrics"]),
        "scrape p99, ms": 1000 * p99(seconds["/metrics"]),
        "404 median, ms": 1000 * statistics.median(seconds["/"]),
        "404 p99, ms": 1000 * p99(seconds["/"]),
        "memory, MiB": resident / 1024,
    }


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def scrape(port: int, path: str = "/metrics") -> bytes:
    """The answer, read until its end; nothing while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
    except ConnectionRefusedError:
        return b""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        library = stand_in(root)
        found = served(root) | rounds(library)
    for name, value in found.items():
        target = TARGETS.get(name)
        print(f"{name:32}{value:10.3f}" + (f"   {value / target:.2f} of the target, {target:g}" if target else ""))
    print(json.dumps({"gpus": GPUS, "rounds": ROUNDS, "scrapes": SCRAPES, **found}))


if __name__ == "__main__":
    main()
