"""A GPU host for the tests of `payload/doctor_facts` and `observe/doctor`: its NVML and what its commands print.

NVML's values are those of `data/h200_nvml.json`, recorded on one NVIDIA H200 with driver 580.159.04 (each call with its
value and its cost in ms); what is not in there comes from `nvidia-smi -q -x` of the same hour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm_fleet.payload.doctor_facts import nvml, parse

DRIVER = "580.159.04"
RECORDED = {
    name: entry["v"]
    for name, entry in json.loads(
        (Path(__file__).parent / "data" / "h200_nvml.json").read_text(encoding="utf-8")
    ).items()
    if isinstance(entry, dict)
}

# what doctor_facts makes of them, but for index, UUID and slot
FACTS_OF_H200 = {
    "name": "NVIDIA H200",
    "memory_bytes": 150754820096,
    "ecc": {"enabled": True, "pending": True, "uncorrected": 0, "uncorrected_ever": 0},
    "remap": {"pending": False, "failure": False},
    "pcie": {"width": 16, "width_max": 16, "generation": 5, "generation_max": 5},
    "nvlinks": [True] * 18,
    "clock_reasons": 1,
    "performance_state": 0,
    "recovery_action": 0,
    "persistence": 1,
    "temperature_celsius": 34,
    "error": None,
}

PROC_VERSION = f"""\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release Build  (dvs-builder@U22-I3-AM14-29-1)
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
"""
PACKAGES = f"""\
libnvidia-ml1 {DRIVER}-1 hold installed
nvidia-driver {DRIVER}-1 hold installed
nvidia-container-toolkit 1.18.0-1 install installed
nvidia-old 535.183.01-1 deinstall config-files
"""
# the layout of `nvidia-ctk cdi generate`, most of it left out
CDI_HEAD = f"""\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - update-ldcache
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{DRIVER}
    hostPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{DRIVER}
    options:
    - ro
devices:
"""
CDI_DEVICE = """\
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia{number}
  name: "{number}"
"""
CDI_TAIL = """\
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""
UNIT = "Id={name}\nLoadState=loaded\nActiveState=active\nSubState=running\nLimitMEMLOCK=infinity\n"
TIMEDATECTL = "Timezone=Etc/UTC\nLocalRTC=no\nCanNTP=yes\nNTP=yes\nNTPSynchronized=yes\n"


def cdi_text(gpus: int) -> str:
    return CDI_HEAD + "".join(CDI_DEVICE.format(number=number) for number in range(gpus)) + CDI_TAIL


def units_text(*names: str) -> str:
    return "\n".join(UNIT.format(name=name) for name in names)


class Nvml:
    """libnvidia-ml's calls. `answers` by function: values, or a function of the call's own arguments; an NVML error
    is a negative number. A function without an answer is one that the library does not have.
    """

    def __init__(self, gpus: int = 1, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "nvmlInit_v2": [],
            "nvmlSystemGetDriverVersion": DRIVER,
            "nvmlSystemGetNVMLVersion": f"13.{DRIVER}",
            "nvmlDeviceGetCount_v2": [gpus],
            "nvmlDeviceGetHandleByIndex_v2": lambda index, _handle: [index.value + 1],
            "nvmlDeviceGetUUID": RECORDED["uuid"],
            "nvmlDeviceGetName": RECORDED["name"],
            "nvmlDeviceGetPciInfo_v3": lambda handle, _info: {"busId": b"00000000:%02X:00.0" % (5 + handle.value)},
            "nvmlDeviceGetMemoryInfo": {"total": int(re.search(r"total: (\d+)", RECORDED["mem"])[1])},
            "nvmlDeviceGetEccMode": json.loads(RECORDED["eccmode"]),
            "nvmlDeviceGetTotalEccErrors": [int(RECORDED["ecc_vu"])],
            "nvmlDeviceGetRemappedRows": [0, 0, 0, 0],
            "nvmlDeviceGetCurrPcieLinkWidth": [int(RECORDED["pciewidth"])],
            "nvmlDeviceGetMaxPcieLinkWidth": [int(RECORDED["pciemaxw"])],
            "nvmlDeviceGetCurrPcieLinkGeneration": [int(RECORDED["pciegen"])],
            "nvmlDeviceGetMaxPcieLinkGeneration": [int(RECORDED["pciemaxgen"])],
            "nvmlDeviceGetNvLinkState": _link_state,
            "nvmlDeviceGetCurrentClocksEventReasons": [int(RECORDED["throttle"])],
            "nvmlDeviceGetPerformanceState": [int(RECORDED["pstate"])],
            "nvmlDeviceGetFieldValues": {"nvmlReturn": 0, "value": 0},
            "nvmlDeviceGetPersistenceMode": [int(RECORDED["persist"])],
            "nvmlDeviceGetTemperature": [int(RECORDED["tempgpu"])],
        } | answers

    def __getattr__(self, function: str) -> Callable[..., int]:
        answer = self.__dict__["answers"].get(function)
        if answer is None:
            raise AttributeError(function)
        return lambda *arguments: _say(answer(*arguments) if callable(answer) else answer, arguments)


def _say(said: Any, arguments: tuple[Any, ...]) -> int:
    """Write an answer where the caller wants it: into what it passed by reference, or into its buffer."""
    if isinstance(said, int):
        return -said
    if isinstance(said, str):
        arguments[-2].value = said.encode()
        return nvml.SUCCESS
    wanted = [argument._obj for argument in arguments if hasattr(argument, "_obj")]
    if isinstance(said, dict):
        for name, value in said.items():
            setattr(wanted[0], name, value)
        return nvml.SUCCESS
    for target, value in zip(wanted, said, strict=True):
        target.value = value
    return nvml.SUCCESS


def _link_state(_handle: Any, link: Any, _state: Any) -> Any:
    states = json.loads(RECORDED["nvlinkall"])
    return [states[link.value]] if link.value < len(states) else -nvml.INVALID_ARGUMENT


def healthy_facts(gpus: int, engines: dict[str, dict[str, str]], lib: Nvml | None = None) -> dict[str, Any]:
    """The facts of a host where all is well. `engines` by instance: `release`, and `image` of those in containers."""
    units = [
        "nvidia-fabricmanager.service",
        "nvidia-persistenced.service",
        *(f"vllm-{name}.service" for name in engines),
    ]
    return {
        "kernel": "6.12.48+deb13-amd64",
        "module": parse.module(PROC_VERSION),
        "nvml": nvml.read(lib or Nvml(gpus)),
        "fabric_manager": parse.fabric_manager(f"Fabric Manager version is : {DRIVER}\n"),
        "toolkit": parse.toolkit(
            "NVIDIA Container Toolkit CLI version 1.18.0\ncommit: f8daa5e26de9fd7eb79259040b6dd5a5\n"
        ),
        "cdi": [{"path": "/etc/cdi/nvidia.yaml", "modified": 1790000000.0, **(parse.cdi(cdi_text(gpus)) or {})}],
        "packages": parse.packages(PACKAGES),
        "peers": [{"pci": f"0000:{6 + number:02x}:00.0", "iommu": "identity", "acs": []} for number in range(gpus)],
        "reboot": {"required": False, "packages": []},
        "xids": {"complete": True, "seen": []},
        "clock": parse.clock(TIMEDATECTL),
        "disks": {
            "/": {"file_system": 1, "used": 20 << 30, "free": 80 << 30},
            "/var/lib/vllm-fleet": {"file_system": 2, "used": 700 << 30, "free": 300 << 30},
            "/var/cache/vllm-fleet": {"file_system": 1, "used": 20 << 30, "free": 80 << 30},
        },
        "memlock": {"soft": None, "hard": None},
        "units": parse.units(units_text(*units)),
        "engines": {name: {"current": each["release"], "good": each["release"]} for name, each in engines.items()},
        "containers": {
            f"vllm-{name}": {"image": each["image"], "status": "running"}
            for name, each in engines.items()
            if "image" in each
        },
        "unread": {},
    }
