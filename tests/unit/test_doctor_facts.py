"""payload/doctor_facts: what it reads in text, what it asks NVML, and that nothing holds it up."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.unit.gpu_host import (
    DRIVER,
    FACTS_OF_H200,
    PACKAGES,
    PROC_VERSION,
    RECORDED,
    TIMEDATECTL,
    Nvml,
    cdi_text,
    healthy_facts,
    units_text,
)
from vllm_fleet.payload.doctor_facts import nvml, parse
from vllm_fleet.payload.doctor_facts.deadline import Source, ask
from vllm_fleet.payload.doctor_facts.gather import FACTS, gather, xids
from vllm_fleet.payload.doctor_facts.machine import Machine

PAYLOAD = Path(__file__).parents[2] / "vllm_fleet" / "payload"

# ---- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (PROC_VERSION, {"version": DRIVER, "open": True}),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n",
            {"version": "535.129.03", "open": False},
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.120  Fri Sep 13 10:10:01 UTC 2024\n",
         {"version": "550.120", "open": False}),
        ("", None),
    ],
)  # fmt: skip
def test_the_loaded_module(text: str, expected: Any) -> None:
    assert parse.module(text) == expected


@pytest.mark.parametrize(
    "text, version",
    [("13.580.159.04", DRIVER), ("12.550.120", "550.120"), ("580.159.04", DRIVER), ("", None), ("13.0", None)],
)
def test_a_driver_version_in_that_of_nvml(text: str, version: str | None) -> None:
    assert parse.nvml_version(text) == version


@pytest.mark.parametrize(
    "text, version",
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.161\n", "535.161"),
        ("| NVIDIA-SMI 580.159.04    Driver Version: 580.159.04    CUDA Version: 13.0 |", DRIVER),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
    ],
)
def test_the_library_that_nvidia_smi_names(text: str, version: str | None) -> None:
    assert parse.nvidia_smi(text) == version


def test_a_cdi_specification_in_yaml() -> None:
    assert parse.cdi(cdi_text(2)) == {"driver": DRIVER, "devices": ["0", "1", "all"]}


def test_a_cdi_specification_in_json() -> None:
    specification = {
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "0"}, {"name": "all"}],
        "containerEdits": {"mounts": [{"hostPath": "/usr/lib64/libcuda.so.570.86.15"}]},
    }
    assert parse.cdi(json.dumps(specification)) == {"driver": "570.86.15", "devices": ["0", "all"]}


def test_another_vendors_cdi_specification_is_none_of_ours() -> None:
    assert parse.cdi("cdiVersion: 0.5.0\nkind: intel.com/gpu\ndevices:\n- name: card0\n") is None
    assert parse.cdi("") is None


def test_packages_that_are_installed_and_held() -> None:
    assert parse.packages(PACKAGES) == {
        "libnvidia-ml1": {"version": "580.159.04-1", "held": True},
        "nvidia-driver": {"version": "580.159.04-1", "held": True},
        "nvidia-container-toolkit": {"version": "1.18.0-1", "held": False},
    }


def test_units_of_one_call() -> None:
    text = units_text("vllm-chat.service") + "\nId=vllm-gone.service\nLoadState=not-found\nActiveState=inactive\n"
    found = parse.units(text)
    assert found["vllm-chat.service"] == {"load": "loaded", "active": "active", "sub": "running", "memlock": "infinity"}
    assert found["vllm-gone.service"]["load"] == "not-found"
    assert parse.units("") == {}


def test_the_clock() -> None:
    assert parse.clock(TIMEDATECTL) == {"synchronized": True, "ntp": True}
    assert parse.clock("NTP=no\nNTPSynchronized=no\n") == {"synchronized": False, "ntp": False}
    assert parse.clock("") == {"synchronized": None, "ntp": None}


def test_containers_of_one_call() -> None:
    image = "vllm/vllm-openai@sha256:" + "0" * 64
    assert parse.containers(f"/vllm-chat {image} running\n") == {"vllm-chat": {"image": image, "status": "running"}}


def test_xids_are_counted_once_a_gpu_and_number() -> None:
    journal = (
        "1790000300.500000 gpu-1 kernel: NVRM: Xid (PCI:0000:3b:00): 79, pid=4242, GPU has fallen off the bus.\n"
        "1790000200.000000 gpu-1 kernel: NVRM: Xid (PCI:0000:3b:00): 31, pid=17, name=python3, MMU Fault\n"
        "1790000100.000000 gpu-1 kernel: NVRM: Xid (PCI:0000:3b:00): 31, pid=17, name=python3, MMU Fault\n"
        "1790000000.000000 gpu-1 kernel: NVRM: Xid (0000:86:00): 31, Ch 0000000b, engmask 00000120\n"
        "1790000000.000000 gpu-1 kernel: NVRM: loading NVIDIA UNIX Open Kernel Module\n"
    )
    assert parse.xids(journal) == [
        {"pci": "0000:3b:00", "xid": 31, "count": 2, "last": 1790000200.0},
        {"pci": "0000:3b:00", "xid": 79, "count": 1, "last": 1790000300.5},
        {"pci": "0000:86:00", "xid": 31, "count": 1, "last": 1790000000.0},
    ]


def test_xids_of_the_kernel_ring() -> None:
    line = "2026-11-21T16:00:00,250000+00:00 NVRM: Xid (PCI:0000:3b:00): 48, pid=1, DBE\n"
    assert parse.xids(line) == [{"pci": "0000:3b:00", "xid": 48, "count": 1, "last": 1795276800.25}]
    assert parse.xids("[ 12.3] NVRM: Xid (PCI:0000:3b:00): 48, DBE\n")[0]["last"] is None


def test_a_flood_is_read_quickly() -> None:
    flood = "1790000000.000000 gpu-1 kernel: NVRM: Xid (PCI:0000:3b:00): 13, Graphics Exception\n" * 20_000
    begin = time.process_time()
    assert parse.xids(flood)[0]["count"] == 20_000
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("bus_id", ["00000000:3B:00.0", "0000:3b:00", "0000:3b:00.0"])
def test_nvml_and_the_kernel_name_the_same_slot(bus_id: str) -> None:
    assert parse.pci_slot(bus_id) == "0000:3b:00"


# ---- NVML ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (nvml.Memory, pynvml.c_nvmlMemory_t),
        (nvml.PciInfo, pynvml.nvmlPciInfo_t),
        (nvml.FieldValue, pynvml.c_nvmlFieldValue_t),
    ],
)
def test_structures_are_laid_out_as_nvml_has_them(ours: Any, theirs: Any) -> None:
    def layout(structure: Any) -> list[tuple[str, int, int]]:
        fields = [(name, getattr(structure, name)) for name, *_ in structure._fields_]
        return [(name, field.offset, field.size) for name, field in fields]

    assert layout(ours) == layout(theirs)
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)


def test_numbers_are_those_of_nvml() -> None:
    assert {code: getattr(pynvml, f"NVML_ERROR_{name}") for code, name in nvml.ERRORS.items()} == {
        code: code for code in nvml.ERRORS
    }
    assert (nvml.INVALID_ARGUMENT, nvml.NOT_SUPPORTED, nvml.FUNCTION_NOT_FOUND) == (
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    )
    assert (nvml.UNCORRECTED, nvml.VOLATILE, nvml.AGGREGATE) == (
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
        pynvml.NVML_AGGREGATE_ECC,
    )
    assert nvml.RECOVERY_ACTION == pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
    assert nvml.NVLINKS >= pynvml.NVML_NVLINK_MAX_LINKS
    assert nvml.TEMPERATURE_GPU == pynvml.NVML_TEMPERATURE_GPU


def test_the_recorded_h200() -> None:
    found = nvml.read(Nvml())
    assert (found["library"], found["error"]) == (DRIVER, None)
    assert found["gpus"] == [{**FACTS_OF_H200, "index": 0, "uuid": RECORDED["uuid"], "pci": "0000:06:00"}]


def test_what_a_gpu_does_not_support_is_none() -> None:
    def unsupported(*_arguments: Any) -> int:
        return -nvml.NOT_SUPPORTED

    calls = [name for name in Nvml().answers if name.startswith("nvmlDeviceGet") and not name.endswith("_v2")]
    (gpu,) = nvml.read(Nvml(**dict.fromkeys(calls, unsupported)))["gpus"]
    ecc = {"enabled": None, "pending": None, "uncorrected": None, "uncorrected_ever": None}
    pcie = dict.fromkeys(["width", "width_max", "generation", "generation_max"])
    assert gpu == dict.fromkeys(gpu) | {"index": 0, "ecc": ecc, "pcie": pcie}


def test_a_field_may_be_unsupported_by_itself() -> None:
    (gpu,) = nvml.read(Nvml(nvmlDeviceGetFieldValues={"nvmlReturn": nvml.NOT_SUPPORTED}))["gpus"]
    assert gpu["recovery_action"] is None


def test_an_older_library_lacks_functions() -> None:
    (gpu,) = nvml.read(Nvml(nvmlDeviceGetCurrentClocksEventReasons=None, nvmlDeviceGetFieldValues=None))["gpus"]
    assert (gpu["clock_reasons"], gpu["recovery_action"], gpu["error"]) == (None, None, None)


def test_a_lost_gpu_leaves_the_others() -> None:
    def handle(index: Any, _handle: Any) -> Any:
        return [index.value + 1] if index.value != 1 else -15

    lost = nvml.read(Nvml(3, nvmlDeviceGetHandleByIndex_v2=handle))["gpus"]
    assert lost[1] == {"index": 1, "error": "GPU_IS_LOST"}
    assert [gpu["error"] for gpu in lost] == [None, "GPU_IS_LOST", None]


def test_a_gpu_may_be_lost_while_it_is_asked() -> None:
    (gpu,) = nvml.read(Nvml(nvmlDeviceGetPersistenceMode=-15))["gpus"]
    assert (gpu["persistence"], gpu["error"], gpu["name"]) == (None, "GPU_IS_LOST", "NVIDIA H200")


def test_a_library_apart_from_its_module_still_tells_its_version() -> None:
    found = nvml.read(Nvml(nvmlInit_v2=-18, nvmlSystemGetNVMLVersion="13.580.95.05"))
    assert found == {"library": "580.95.05", "error": "LIB_RM_VERSION_MISMATCH", "gpus": None}


# ---- a whole host -------------------------------------------------------------------------------------------------


class Host:
    """A file system and commands of a test's own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.programs = root / "root", root / "bin"
        self.root.mkdir()
        self.programs.mkdir()
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")
        for name in ("systemctl", "journalctl", "dmesg", "timedatectl", "docker", "dpkg-query", "nvidia-smi"):
            self.command(name, "exit 1")

    def file(self, path: str, text: str = "") -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def engine(self, instance: str, current: str, good: str | None = None) -> None:
        self.file(f"/etc/vllm-fleet/engines/{instance}/secret.yaml")
        for link, release in (("current", current), ("good", good)):
            if release:
                (self.root / f"etc/vllm-fleet/engines/{instance}/{link}").symlink_to(f"releases/{release}")

    def command(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def prints(self, name: str, text: str) -> None:
        (self.programs / f"{name}.out").write_text(text, encoding="utf-8")
        self.command(name, f"cat {self.programs}/{name}.out")

    def facts(self) -> dict[str, Any]:
        return gather(Machine(self.root))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_host_without_nvidia(host: Host) -> None:
    facts = host.facts()
    assert facts["unread"] == {}
    nothing = ("module", "nvml", "fabric_manager", "toolkit", "cdi", "packages", "xids", "clock", "units", "containers")
    assert {name: facts[name] for name in nothing} == dict.fromkeys(nothing)
    assert facts["reboot"] == {"required": False, "packages": []}
    assert (facts["kernel"], facts["engines"]) == (os.uname().release, {})
    assert set(facts["disks"]["/"]) == {"file_system", "used", "free"}
    assert facts["disks"]["/var/lib/vllm-fleet"] is None


def test_a_gpu_host(host: Host) -> None:
    image = "vllm/vllm-openai@sha256:" + "0" * 64
    host.file("/proc/driver/nvidia/version", PROC_VERSION)
    host.file("/etc/cdi/nvidia.yaml", cdi_text(1))
    host.file("/var/run/cdi/nvidia.yaml", cdi_text(2))
    host.file("/etc/cdi/other.yaml", "kind: intel.com/gpu\n")
    host.file("/run/reboot-required")
    host.file("/run/reboot-required.pkgs", "linux-image-amd64\nlibc6\nlinux-image-amd64\n")
    host.engine("chat", "bbb", "aaa")
    host.engine("new", "ccc")
    host.prints("nv-fabricmanager", f"Fabric Manager version is : {DRIVER}\n")
    host.prints("nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.18.0\ncommit: f8daa5e2\n")
    host.prints("dpkg-query", PACKAGES)
    host.prints("timedatectl", TIMEDATECTL)
    host.prints("journalctl", "1790000000.5 h kernel: NVRM: Xid (PCI:0000:06:00): 79, GPU has fallen off the bus.\n")
    host.prints("systemctl", units_text("nvidia-persistenced.service", "vllm-chat.service"))
    host.prints("docker", f"/vllm-chat {image} running\n")
    facts = host.facts()
    assert facts["unread"] == {}
    assert facts["module"]["version"] == facts["fabric_manager"] == DRIVER
    assert facts["toolkit"] == "1.18.0"
    assert [(each["path"], len(each["devices"])) for each in facts["cdi"]] == [
        ("/etc/cdi/nvidia.yaml", 2),
        ("/var/run/cdi/nvidia.yaml", 3),
    ]
    assert facts["reboot"] == {"required": True, "packages": ["linux-image-amd64", "libc6"]}
    assert facts["engines"] == {"chat": {"current": "bbb", "good": "aaa"}, "new": {"current": "ccc", "good": None}}
    assert facts["containers"]["vllm-chat"]["image"] == image
    assert facts["units"]["vllm-chat.service"]["active"] == "active"
    assert facts["clock"]["synchronized"] is True
    assert facts["packages"]["nvidia-driver"]["held"] is True
    assert facts["xids"] == {
        "complete": True,
        "seen": [{"pci": "0000:06:00", "xid": 79, "count": 1, "last": 1790000000.5}],
    }


def test_the_kernel_ring_is_read_where_there_is_no_journal(host: Host) -> None:
    host.file("/proc/driver/nvidia/version", PROC_VERSION)
    host.prints("dmesg", "2026-11-21T16:00:00,250000+00:00 NVRM: Xid (PCI:0000:3b:00): 48, pid=1, DBE\n")
    assert xids(Machine(host.root))["seen"][0]["xid"] == 48


def test_a_flood_is_counted_from_its_end(host: Host) -> None:
    host.file("/proc/driver/nvidia/version", PROC_VERSION)
    line = "1790000000.5 h kernel: NVRM: Xid (PCI:0000:06:00): 31, MMU Fault"
    host.command("journalctl", f"yes '{line}' | head -n 20000")
    found = xids(Machine(host.root))
    assert found == {
        "complete": False,
        "seen": [{"pci": "0000:06:00", "xid": 31, "count": 20_000, "last": 1790000000.5}],
    }


def test_a_broken_file_is_one_unread_fact(host: Host) -> None:
    host.file("/etc/cdi/nvidia.json", '{"kind": ')
    facts = host.facts()
    assert list(facts["unread"]) == ["cdi"]
    assert facts["unread"]["cdi"].startswith("JSONDecodeError: ")


def test_the_program_runs_by_itself(host: Host) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PAYLOAD)}
    command = [sys.executable, "-B", "-P", "-S", "-m", "doctor_facts"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    assert set(json.loads(done.stdout)) == {*FACTS, "unread"}


def test_the_host_that_other_tests_look_at_has_the_same_facts(host: Host) -> None:
    healthy, here = healthy_facts(1, {}), host.facts()
    assert set(healthy) == set(here)
    assert set(healthy["disks"]["/"]) == set(here["disks"]["/"])


def test_the_whole_takes_less_than_ten_seconds() -> None:
    assert max(seconds for _, seconds in FACTS.values()) < 10


# ---- deadlines ----------------------------------------------------------------------------------------------------


def test_a_source_that_hangs_is_given_up_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def hang() -> str | None:
        return Machine().run("sh", "-c", f"echo $$ > {mark}; exec sleep 60")

    begin = time.monotonic()
    values, unread = ask({"slow": Source(hang, 0.5), "quick": Source(lambda: 1, 0.5)})
    assert time.monotonic() - begin < 5
    assert (values, unread) == ({"slow": None, "quick": 1}, {"slow": "no answer within 0.5 s"})
    child = Path("/proc") / mark.read_text(encoding="utf-8").strip() / "stat"
    end = time.monotonic() + 5
    while child.exists() and child.read_text(encoding="utf-8").split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.01)  # the kernel ends a killed child in its own time; bounded
    assert not child.exists() or child.read_text(encoding="utf-8").split()[2] == "Z"


def test_a_source_that_crashes_is_one_unread_fact() -> None:
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    values, unread = ask({"crash": Source(crash, 5), "other": Source(lambda: "x" * 200_000, 5)})
    assert unread == {"crash": "ended without an answer"}
    assert len(values["other"]) == 200_000


def test_a_source_that_fails_says_how() -> None:
    def deny() -> None:
        raise PermissionError(13, "Permission denied", "/proc/x")

    _, unread = ask({"denied": Source(deny, 5)})
    assert unread == {"denied": "PermissionError: [Errno 13] Permission denied: '/proc/x'"}


def test_a_command_that_never_stops_printing_is_cut(host: Host) -> None:
    host.command("flood", "exec yes")
    text = Machine().run("flood")
    assert text is not None
    assert len(text) == 8 << 20


def test_an_absent_command_is_none(host: Host) -> None:
    assert Machine().run("no-such-command") is None
