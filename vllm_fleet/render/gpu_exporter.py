"""The GPU exporter: one program with nvidia-ml-py in it, so that hosts download nothing, and its unit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vllm_fleet import paths
from vllm_fleet.render.files import File, fill
from vllm_fleet.render.zipapp import installed, modules_of, zipapp
from vllm_fleet.schema import Fleet, Host

UNIT = "nvml-exporter.service"

# systemd must take the unit
CHECK = f'systemd-analyze verify "$stage{paths.UNITS}/{UNIT}"'

_PACKAGE = Path(__file__).parents[1] / "payload" / "nvml_exporter"


_MAIN = b"""\
import sys

from nvml_exporter.bytecode import load

load(sys.argv[0], "pynvml")

from nvml_exporter.app import main

main()
"""


@cache
def program_file() -> File:
    """The program: payload/nvml_exporter, and nvidia-ml-py as it is installed here."""
    return File(paths.GPU_EXPORTER, zipapp(_modules()))


def unit_file(fleet: Fleet, host: Host) -> File:
    """Its unit on a host with GPUs."""
    port = fleet.monitoring.gpu_exporter_port
    arguments = f"--address {host.address} --port {port} --gpus {host.gpus}"
    return File(
        f"{paths.UNITS}/{UNIT}", fill("nvml-exporter.service.j2", program=paths.GPU_EXPORTER, arguments=arguments)
    )


def _modules() -> dict[str, bytes]:
    return {
        "__main__.py": _MAIN,
        "pynvml.py": installed("pynvml").read_bytes(),
        **modules_of(_PACKAGE),
    }
