#!/usr/bin/python3
"""nvidia-ctk of the lab: `nvidia-ctk --version` and `nvidia-ctk cdi generate --output=PATH`.

The specification has the layout that the real one writes and names what the lab's driver has; its device nodes do not
exist, so no container can be given one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

VERSION = "@VERSION@"

HEAD = """\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  - path: /dev/nvidia-uvm
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - update-ldcache
    - --folder
    - /usr/lib/x86_64-linux-gnu
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/bin/nvidia-smi
    hostPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, rbind, rprivate]
  - containerPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{driver}
    hostPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{driver}
    options: [ro, nosuid, nodev, rbind, rprivate]
devices:
"""
DEVICE = """\
- containerEdits:
    deviceNodes:
{nodes}
  name: {name}
"""
TAIL = "kind: nvidia.com/gpu\n"


def specification(gpus: list[str], driver: str) -> str:
    """The whole file for GPUs by index: each by its own name, and `all`."""

    def device(name: str, indexes: list[str]) -> str:
        return DEVICE.format(name=name, nodes="\n".join(f"    - path: /dev/nvidia{index}" for index in indexes))

    each = [device(f'"{index}"', [index]) for index in gpus]
    return HEAD.format(driver=driver) + "".join([*each, device("all", gpus)]) + TAIL


def visible() -> tuple[list[str], str]:
    """The indexes of the GPUs, and their driver's version; exits where the driver does not answer."""
    query = ["nvidia-smi", "--query-gpu=index,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        sys.exit(f"failed to generate CDI spec: {' '.join(done.stdout.split()) or 'no GPU is visible'}")
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [row[0] for row in rows], rows[0][1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="nvidia-ctk", description="The lab's: simulated GPUs.")
    parser.add_argument("--version", action="version", version=f"NVIDIA Container Toolkit CLI version {VERSION}")
    commands = parser.add_subparsers(required=True)
    generate = commands.add_parser("cdi").add_subparsers(required=True).add_parser("generate")
    generate.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    text = specification(*visible())
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
