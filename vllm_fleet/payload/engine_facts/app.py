"""The program: `python3 engine_facts.pyz /run/vllm-fleet-engine-facts/engines.prom`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from prometheus_client import write_to_textfile

from .engine import ENGINES
from .families import registry
from .watch import Watch

WRITE_SECONDS = 5.0


def main() -> None:
    (path,) = sys.argv[1:]
    watches: dict[str, Watch] = {}
    while True:
        step(watches, ENGINES, path)
        time.sleep(WRITE_SECONDS)  # until the next


def step(watches: dict[str, Watch], engines: Path, path: str) -> None:
    """Watch the engines that are here now, and write what is known of them in place of what was."""
    here = {directory.name for directory in engines.iterdir()} if engines.exists() else set()
    for instance in here - watches.keys():
        watches[instance] = Watch(instance, engines)
        watches[instance].start()
    for instance in watches.keys() - here:
        watches.pop(instance).stop()
    write_to_textfile(path, registry([watch.facts for _, watch in sorted(watches.items()) if watch.facts]))
