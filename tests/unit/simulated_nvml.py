"""The lab's stand-in for NVML (lab/nvidia), compiled for a test."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from lab import nvidia_debs

DRIVER, OTHER_DRIVER = (version.split("-")[0] for version in nvidia_debs.DRIVERS)
MACHINE_ID = "0123456789abcdef0123456789abcdef"


class Simulated:
    """The stand-in library, compiled to read below a directory of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "libnvidia-ml.so.1"
        argv = nvidia_debs.compile_argv(self.path, DRIVER, str(root))
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert done.stderr == "", "the compiler warns"
        self.file("usr/share/nvidia-simulate/h200", (nvidia_debs.SOURCES / "h200").read_text())
        self.file("etc/machine-id", f"{MACHINE_ID}\n")
        self.file("run/nvidia-persistenced/nvidia-persistenced.pid", "1\n")
        self.lib = ctypes.CDLL(str(self.path))

    def file(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    @property
    def state(self) -> Path:
        return self.root / "var/lib/nvidia-simulate/state"

    @property
    def module(self) -> Path:
        return self.root / "proc/driver/nvidia/version"

    def load(self, version: str) -> None:
        """What `load-module` leaves, by its own text."""
        text = (nvidia_debs.SOURCES / "load-module").read_text().replace("@VERSION@", version)
        self.file("proc/driver/nvidia/version", text[text.index("NVRM version") :])

    def run(self, program: str, *arguments: str, **paths: str) -> subprocess.CompletedProcess[str]:
        """A program of lab/nvidia with this library."""
        argv = [sys.executable, str(nvidia_debs.SOURCES / program), *arguments]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.root), **paths}
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
