"""The program: `python3 nvml_exporter.pyz --address 10.0.0.11 --port 9400 --gpus 8`."""

from __future__ import annotations

import argparse
import sys

from .collector import Collector
from .kernel_log import KernelLog
from .server import server


def main() -> None:
    parser = argparse.ArgumentParser(prog="nvml_exporter", description="NVIDIA GPUs as Prometheus' metrics")
    parser.add_argument("--address", required=True, help="where to listen")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True, help="how many the host should have")
    arguments = parser.parse_args()
    log = KernelLog()
    collector = Collector(arguments.gpus, log)
    try:
        listening = server(arguments.address, arguments.port, lambda: collector.snapshot.scrape())
    except OSError as error:
        sys.exit(f"nvml_exporter: {arguments.address} port {arguments.port}: {error.strerror}")
    log.start()
    collector.start()
    listening.serve_forever()
