"""What the GPU exporter costs while it runs: `python3 nvml_scrapes.py nvml_exporter.pyz --save metrics.txt`.

On a GPU host, as an ordinary user or root, with Python's standard library and the exporter's one file. That file is
made where the bundle is:

    python -c 'from vllm_fleet.render.gpu_exporter import program_file as made; \\
        open("nvml_exporter.pyz", "wb").write(made().data)'
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

SCRAPES = 1000
START_SECONDS = 60


def measure(program: Path, gpus: int, library: Path | None = None, seconds: float = 0) -> tuple[dict[str, float], str]:
    """Its share of a core over so many seconds without a scrape (0: not looked at), then scrapes one after the other
    over the loopback, its memory after them, and the last scrape.

    A path that is not there is asked in turn: what that takes is Python's server and the machine. `library` is a
    directory with another libnvidia-ml. Raises TimeoutError for an exporter that never knows a GPU.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-I", str(program), "--address", "127.0.0.1", "--port", str(port), "--gpus", str(gpus)]
    environment = {**os.environ, **({"LD_LIBRARY_PATH": str(library)} if library else {})}
    with subprocess.Popen(argv, env=environment) as process:
        try:
            _wait_until_it_knows_a_gpu(port)
            found = {"share of one core, %": 100 * _core(process.pid, seconds)} if seconds else {}
            found |= _scrapes(port)
            found["memory, MiB"] = _resident(process.pid) / 1024
            return found, scrape(port).split(b"\r\n\r\n", 1)[1].decode()
        finally:
            process.terminate()


def _wait_until_it_knows_a_gpu(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while b"nvml_gpu_up" not in scrape(port):
        if time.monotonic() > end:
            raise TimeoutError(f"the exporter knows no GPU after {START_SECONDS} s")
        time.sleep(0.2)  # until it has asked NVML once


def _core(pid: int, seconds: float) -> float:
    before, began = _cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)  # that is what is measured
    return (_cpu_seconds(pid) - before) / (time.monotonic() - began)


def _cpu_seconds(pid: int) -> float:
    """User and system time (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _scrapes(port: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {"/metrics": [], "/": []}
    for _ in range(SCRAPES):
        for path, taken in seconds.items():
            began = time.perf_counter()
            scrape(port, path)
            taken.append(time.perf_counter() - began)
        time.sleep(0.01)  # rounds begin meanwhile
    return {
        "scrape median, ms": 1000 * statistics.median(seconds["/metrics"]),
        "scrape p99, ms": 1000 * p99(seconds["/metrics"]),
        "404 median, ms": 1000 * statistics.median(seconds["/"]),
        "404 p99, ms": 1000 * p99(seconds["/"]),
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
    parser = argparse.ArgumentParser(description="What the GPU exporter costs while it runs")
    parser.add_argument("program", type=Path, help="nvml_exporter.pyz")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120, help="how long to look at its share of a core")
    parser.add_argument("--save", type=Path, help="where to write the last scrape")
    arguments = parser.parse_args()
    try:
        found, text = measure(arguments.program, arguments.gpus, seconds=arguments.seconds)
    except TimeoutError as error:
        sys.exit(f"nvml_scrapes: {error}; does nvidia-smi answer here?")
    if arguments.save:
        arguments.save.write_text(text)
    print(json.dumps({"gpus": arguments.gpus, "seconds": arguments.seconds, "scrapes": SCRAPES, **found}))


if __name__ == "__main__":
    main()
