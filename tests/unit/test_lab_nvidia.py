"""lab/nvidia: the stand-ins answer as the recorded H200 does, faults are what the doctor finds."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from lab import nvidia_debs
from lab.nvidia import nvidia_ctk, nvidia_simulate
from tests.fleets import example_fleet, service
from tests.unit.gpu_host import FACTS_OF_H200, RECORDED, healthy_facts
from tests.unit.simulated_nvml import DRIVER, OTHER_DRIVER, Simulated
from vllm_fleet.observe.doctor import diagnose
from vllm_fleet.payload.doctor_facts import nvml, parse
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import Host

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("dpkg-deb")), reason="the lab installs gcc and dpkg-deb where they miss"
)


@pytest.fixture
def gpu(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> Any:
    """GPU 3 by way of nvidia-ml-py."""
    monkeypatch.setattr(pynvml, "nvmlLib", simulated.lib)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 8
    return pynvml.nvmlDeviceGetHandleByIndex(3)


# ---- the library ----------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any], Any]] = {
    "name": pynvml.nvmlDeviceGetName,
    "util": pynvml.nvmlDeviceGetUtilizationRates,
    "mem": pynvml.nvmlDeviceGetMemoryInfo,
    "power": pynvml.nvmlDeviceGetPowerUsage,
    "powerlimit": pynvml.nvmlDeviceGetEnforcedPowerLimit,
    "tempgpu": lambda gpu: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
    "memtemp": lambda gpu: [
        (value.fieldId, value.nvmlReturn, value.value.uiVal)
        for value in pynvml.nvmlDeviceGetFieldValues(gpu, [pynvml.NVML_FI_DEV_MEMORY_TEMP])
    ],
    "smclk": lambda gpu: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
    "memclk": lambda gpu: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
    "throttle": pynvml.nvmlDeviceGetCurrentClocksEventReasons,
    "eccmode": pynvml.nvmlDeviceGetEccMode,
    "ecc_c": lambda gpu: pynvml.nvmlDeviceGetTotalEccErrors(gpu, 0, pynvml.NVML_AGGREGATE_ECC),
    "ecc_u": lambda gpu: pynvml.nvmlDeviceGetTotalEccErrors(gpu, 1, pynvml.NVML_AGGREGATE_ECC),
    "ecc_vu": lambda gpu: pynvml.nvmlDeviceGetTotalEccErrors(gpu, 1, pynvml.NVML_VOLATILE_ECC),
    "remap": pynvml.nvmlDeviceGetRemappedRows,
    "pciegen": pynvml.nvmlDeviceGetCurrPcieLinkGeneration,
    "pciewidth": pynvml.nvmlDeviceGetCurrPcieLinkWidth,
    "pciemaxgen": pynvml.nvmlDeviceGetMaxPcieLinkGeneration,
    "pciemaxw": pynvml.nvmlDeviceGetMaxPcieLinkWidth,
    "replay": pynvml.nvmlDeviceGetPcieReplayCounter,
    "pcietx": lambda gpu: pynvml.nvmlDeviceGetPcieThroughput(gpu, pynvml.NVML_PCIE_UTIL_TX_BYTES),
    "pcierx": lambda gpu: pynvml.nvmlDeviceGetPcieThroughput(gpu, pynvml.NVML_PCIE_UTIL_RX_BYTES),
    "nvlink0": lambda gpu: pynvml.nvmlDeviceGetNvLinkState(gpu, 0),
    "nvlinkall": lambda gpu: [pynvml.nvmlDeviceGetNvLinkState(gpu, link) for link in range(18)],
    "nvlerr": lambda gpu: [pynvml.nvmlDeviceGetNvLinkErrorCounter(gpu, 0, counter) for counter in range(4)],
    "procs": pynvml.nvmlDeviceGetComputeRunningProcesses,
    "mig": pynvml.nvmlDeviceGetMigMode,
    "persist": pynvml.nvmlDeviceGetPersistenceMode,
    "pstate": pynvml.nvmlDeviceGetPerformanceState,
    "enc": pynvml.nvmlDeviceGetEncoderUtilization,
    "cc": pynvml.nvmlDeviceGetCudaComputeCapability,
    "margin": pynvml.nvmlDeviceGetMarginTemperature,
}
"""Of `data/h200_nvml.json`."""


@pytest.mark.parametrize("recorded", CALLS)
def test_nvidia_ml_py_is_answered_as_recorded(gpu: Any, recorded: str) -> None:
    assert str(CALLS[recorded](gpu)) == RECORDED[recorded]


def test_what_was_recorded_is_all_answered() -> None:
    # the UUID is blank there, energy grows, violations come with a time; of the others the recording has errors only
    assert set(RECORDED) - set(CALLS) == {"uuid", "energy", "viol_power", "viol_therm", "retired", "fan", "fabric"}


def test_what_an_exporter_asks_beyond_that(gpu: Any) -> None:
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
    assert (memory.used, memory.reserved) == (0, 644939776)
    assert memory.free + memory.reserved == memory.total == 150754820096
    assert pynvml.nvmlDeviceGetTemperatureV(gpu, pynvml.NVML_TEMPERATURE_GPU) == 34
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) > int(RECORDED["energy"])
    assert pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_THERMAL).violationTime == 0
    assert pynvml.nvmlDeviceGetMemoryErrorCounter(gpu, 1, 0, pynvml.NVML_MEMORY_LOCATION_SRAM) == 0
    assert pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM) == 1980
    fabric = pynvml.c_nvmlGpuFabricInfo_v3_t()
    pynvml.nvmlDeviceGetGpuFabricInfoV(gpu, ctypes.byref(fabric))
    assert (fabric.state, fabric.status) == (pynvml.NVML_GPU_FABRIC_STATE_COMPLETED, 0)
    assert pynvml.nvmlSystemGetCudaDriverVersion_v2() == 13000
    assert (pynvml.nvmlDeviceGetIndex(gpu), pynvml.nvmlDeviceGetMinorNumber(gpu)) == (3, 3)


def test_fields_answer_one_by_one(gpu: Any) -> None:
    link_bytes = (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, 5)
    asked = [link_bytes, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, pynvml.NVML_FI_DEV_RETIRED_PENDING]
    values = pynvml.nvmlDeviceGetFieldValues(gpu, asked)
    assert [value.nvmlReturn for value in values] == [0, 0, pynvml.NVML_ERROR_NOT_SUPPORTED]
    assert [value.value.ullVal for value in values[:2]] == [0, 0]


def test_gpm_samples(gpu: Any) -> None:
    assert pynvml.nvmlGpmQueryDeviceSupport(gpu).isSupportedDevice
    wanted = pynvml.c_nvmlGpmMetricsGet_t(version=pynvml.NVML_GPM_METRICS_GET_VERSION, numMetrics=2)
    wanted.sample1, wanted.sample2 = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
    for sample in (wanted.sample1, wanted.sample2):
        pynvml.nvmlGpmSampleGet(gpu, sample)
    wanted.metrics[0].metricId, wanted.metrics[1].metricId = pynvml.NVML_GPM_METRIC_SM_UTIL, 10
    pynvml.nvmlGpmMetricsGet(wanted)
    assert [(metric.nvmlReturn, metric.value) for metric in wanted.metrics[:2]] == [(0, 0.0), (0, 0.0)]
    for sample in (wanted.sample1, wanted.sample2):
        pynvml.nvmlGpmSampleFree(sample)


def test_events_are_registered_and_time_out(gpu: Any) -> None:
    assert pynvml.nvmlDeviceGetSupportedEventTypes(gpu) & pynvml.nvmlEventTypeXidCriticalError
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(gpu, pynvml.nvmlEventTypeXidCriticalError, events)
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait_v2(events, 1)
    pynvml.nvmlEventSetFree(events)


def test_no_mig_devices(gpu: Any) -> None:
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu) == 7
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)


def test_a_gpu_is_found_by_its_uuid_which_is_its_hosts_own(gpu: Any) -> None:
    uuid = pynvml.nvmlDeviceGetUUID(gpu)
    assert uuid == "GPU-01234567-89ab-cdef-0123-456789abcd03"
    assert pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())) == 3


def test_what_a_gpu_or_an_older_library_does_not_have(gpu: Any) -> None:
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetFanSpeed(gpu)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetTemperature(gpu, 7)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetNvLinkState(gpu, 18)


def test_the_doctor_finds_every_function_it_asks(simulated: Simulated) -> None:
    asked = set(re.findall(r"\bnvml(?:Init|System|Device)\w+", Path(str(nvml.__file__)).read_text(encoding="utf-8")))
    assert len(asked) > 15
    assert [name for name in asked if not hasattr(simulated.lib, name)] == []


def test_the_doctor_sees_eight_gpus_like_the_recorded_one(simulated: Simulated) -> None:
    found = nvml.read(simulated.lib)
    assert (found["library"], found["error"], len(found["gpus"])) == (DRIVER, None, 8)
    assert len({each["pci"] for each in found["gpus"]} | {each["uuid"] for each in found["gpus"]}) == 16
    assert found["gpus"][3] | {"uuid": None} == {**FACTS_OF_H200, "index": 3, "uuid": None, "pci": "0000:4b:00"}


def test_without_a_module_the_driver_is_not_loaded(simulated: Simulated) -> None:
    simulated.module.unlink()
    assert nvml.read(simulated.lib) == {"library": DRIVER, "error": "DRIVER_NOT_LOADED", "gpus": None}


def test_a_library_apart_from_its_module_refuses(simulated: Simulated) -> None:
    simulated.load(OTHER_DRIVER)
    assert nvml.read(simulated.lib) == {"library": DRIVER, "error": "LIB_RM_VERSION_MISMATCH", "gpus": None}


def test_the_module_is_the_open_one(simulated: Simulated) -> None:
    assert parse.module(simulated.module.read_text()) == {"version": DRIVER, "open": True}


def test_persistence_mode_is_on_while_its_daemon_runs(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = simulated.root / "run/nvidia-persistenced/nvidia-persistenced.pid"
    daemon.unlink()
    assert nvml.read(simulated.lib)["gpus"][0]["persistence"] == 0
    daemon.touch()


# ---- faults ---------------------------------------------------------------------------------------------------------


def lines(facts: dict[str, Any]) -> list[str]:
    """What the doctor says of a host of 8 H200s."""
    host = Host(name="gpu1", address="10.0.0.1", groups=("gpu",), gpus=8, gpu="h200", interface="eth0")
    edge = Host(name="edge1", address="10.0.0.2", groups=("gateway", "monitoring"))
    chat = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1"])
    fleet = example_fleet(hosts=[host, edge], services=[chat])
    found = diagnose(fleet, place(fleet), host, facts, {"chat": "r"})
    return [f"{finding.severity} {str(finding).split(';')[0]}" for finding in found]


def facts_of(simulated: Simulated) -> dict[str, Any]:
    return healthy_facts(8, {"chat": {"release": "r"}}) | {"nvml": nvml.read(simulated.lib)}


def test_without_faults_the_doctor_is_silent(simulated: Simulated) -> None:
    assert lines(facts_of(simulated)) == []


@pytest.mark.parametrize(
    "fault, expected",
    [
        ("lost", ["error gpu1.gpu.3: NVML answers GPU_IS_LOST"]),
        (
            "ecc",
            [
                "error gpu1.gpu.3.ecc: 1 uncorrected memory errors",
                "warning gpu1.gpu.3.remap: a row waits to be remapped",
            ],
        ),
        ("throttle", ["warning gpu1.gpu.3.clocks: are held down by heat at 91 °C"]),
        ("brake", ["warning gpu1.gpu.3.clocks: are held down by the power brake"]),
        ("remap", ["error gpu1.gpu.3.remap: a row could not be remapped"]),
        ("orphan", []),  # an alert tells of it
        ("pcie", ["warning gpu1.gpu.3.pcie: runs 8 lanes wide of 16"]),
        ("nvlink", ["error gpu1.gpu.3.nvlink: 2 of 18 links are down (16, 17)"]),
        ("recovery", ["error gpu1.gpu.3.recovery: the driver asks for a reset"]),
    ],
)
def test_a_fault_is_found_until_it_is_cleared(simulated: Simulated, fault: str, expected: list[str]) -> None:
    assert nvidia_simulate.main([fault, "3"]) == 0
    assert nvidia_simulate.main([fault, "3"]) == 0, "twice is once"
    assert lines(facts_of(simulated)) == expected
    assert nvidia_simulate.main(["clear"]) == 0
    assert nvidia_simulate.main(["clear"]) == 0
    assert lines(facts_of(simulated)) == []


def test_every_fault_has_its_case() -> None:
    marks = test_a_fault_is_found_until_it_is_cleared.pytestmark  # type: ignore[attr-defined]
    (cases,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    assert {fault for fault, _ in cases} == set(nvidia_simulate.FAULTS)


def test_faults_of_several_gpus_add_up(simulated: Simulated) -> None:
    nvidia_simulate.main(["pcie", "0"])
    nvidia_simulate.main(["lost", "7"])
    assert [line.split(":")[0] for line in lines(facts_of(simulated))] == [
        "error gpu1.gpu.7",
        "warning gpu1.gpu.0.pcie",
    ]


def test_a_lost_gpu_is_lost_to_who_holds_its_handle(gpu: Any) -> None:
    nvidia_simulate.main(["lost", "3"])
    asked = [*CALLS.values(), pynvml.nvmlDeviceGetUUID, pynvml.nvmlDeviceGetPciInfo]
    for call in asked:
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            call(gpu)


def test_a_hot_gpu_is_held_down_for_longer_and_longer(gpu: Any, simulated: Simulated) -> None:
    simulated.state.write_text(f"gpu.3.violation.1=5+1000000000@{int(time.time()) - 100}\n")
    first = pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_THERMAL).violationTime
    second = pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_THERMAL).violationTime
    assert second > first >= 100 * 10**9
    assert pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_POWER).violationTime == 0


def test_the_state_may_also_speak_of_all_gpus_and_of_their_number(simulated: Simulated) -> None:
    simulated.state.write_text("gpus=7\npcie_width=4\ngpu.1.pcie_width=16\n")
    widths = [each["pcie"]["width"] for each in nvml.read(simulated.lib)["gpus"]]
    assert widths == [4, 16, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["lost", "8"], "nvidia-simulate: GPU 8: there is none; use 0 to 7"),
        (["xid", "9", "79"], "nvidia-simulate: GPU 9: there is none; use 0 to 7"),
    ],
)
def test_a_gpu_that_is_not_there(simulated: Simulated, arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(said)):
        nvidia_simulate.main(arguments)
    assert not simulated.state.exists()


@pytest.mark.parametrize("arguments", [[], ["fire", "1"], ["lost"], ["lost", "x"], ["xid", "1"]])
def test_what_it_does_not_know_gives_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert nvidia_simulate.main(arguments) == 2
    usage = capsys.readouterr().err
    assert all(f"nvidia-simulate {fault} GPU" in usage for fault in [*nvidia_simulate.FAULTS, "xid"])


def test_xids_are_records_of_the_kernels_log(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kmsg = tmp_path / "kmsg"
    monkeypatch.setattr(nvidia_simulate, "KMSG", kmsg)
    monkeypatch.setattr(nvidia_simulate, "NUMBERS", tmp_path / "numbers")
    with pytest.raises(SystemExit, match="the module is not loaded"):
        nvidia_simulate.main(["xid", "3", "79"])
    os.mkfifo(kmsg)
    journal = os.open(kmsg, os.O_RDWR | os.O_NONBLOCK)
    nvidia_simulate.main(["xid", "3", "79"])
    nvidia_simulate.main(["xid", "5", "31"])
    records = [os.read(journal, 8192).decode() for _ in range(2)]
    os.close(journal)
    assert [re.match(r"3,(\d+),\d+,-;", record)[1] for record in records] == ["0", "1"]  # type: ignore[index]
    printed = "".join(f"1790000000.0 gpu1 kernel: {record.split(';')[1]}" for record in records)
    facts = facts_of(simulated) | {"xids": {"complete": True, "seen": parse.xids(printed)}}
    assert [line.split(" (")[0] for line in lines(facts)] == [
        "error gpu1.gpu.3.xid: XID 79",
        "warning gpu1.gpu.5.xid: XID 31",
    ]


# ---- programs -------------------------------------------------------------------------------------------------------


def test_nvidia_smi_lists_and_queries(simulated: Simulated) -> None:
    listed = simulated.run("nvidia_smi.py", "-L").stdout.splitlines()
    assert len(listed) == 8
    assert listed[3] == "GPU 3: NVIDIA H200 (UUID: GPU-01234567-89ab-cdef-0123-456789abcd03)"
    query = "--query-gpu=index,name,uuid,driver_version,memory.total,memory.used"
    rows = simulated.run("nvidia_smi.py", query, "--format=csv").stdout.splitlines()
    assert rows[0] == "index, name, uuid, driver_version, memory.total [MiB], memory.used [MiB]"
    assert rows[1] == f"0, NVIDIA H200, GPU-01234567-89ab-cdef-0123-456789abcd00, {DRIVER}, 143771 MiB, 0 MiB"
    assert simulated.run("nvidia_smi.py", query, "--format=csv,noheader").stdout.splitlines() == rows[1:]
    table = simulated.run("nvidia_smi.py").stdout
    assert parse.nvidia_smi(table) == DRIVER
    assert len({len(line) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    "module, code, library", [(OTHER_DRIVER, 18, DRIVER.rsplit(".", 1)[0]), (None, 9, None)], ids=["mismatch", "none"]
)
def test_nvidia_smi_ends_as_the_real_one(
    simulated: Simulated, module: str | None, code: int, library: str | None
) -> None:
    if module:
        simulated.load(module)
    else:
        simulated.module.unlink()
    done = simulated.run("nvidia_smi.py")
    assert (done.returncode, parse.nvidia_smi(done.stdout)) == (code, library)


def test_nvidia_smi_stops_at_a_lost_gpu(simulated: Simulated) -> None:
    nvidia_simulate.main(["lost", "3"])
    done = simulated.run("nvidia_smi.py")
    assert done.returncode == 15
    assert "GPU3: GPU is lost" in done.stdout


@pytest.fixture
def programs(simulated: Simulated, tmp_path: Path) -> str:
    """PATH with nvidia-smi first, as nvidia-ctk wants it."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\nexec {sys.executable} {nvidia_debs.SOURCES}/nvidia_smi.py "$@"\n')
    smi.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_the_cdi_specification_names_what_is_visible(simulated: Simulated, programs: str, tmp_path: Path) -> None:
    output = tmp_path / "cdi" / "nvidia.yaml"
    simulated.state.write_text("gpus=7\n")
    done = simulated.run("nvidia_ctk.py", "cdi", "generate", f"--output={output}", PATH=programs)
    assert (done.returncode, done.stderr) == (0, "")
    assert parse.cdi(output.read_text()) == {"driver": DRIVER, "devices": [*map(str, range(7)), "all"]}


def test_no_cdi_specification_of_a_driver_apart(simulated: Simulated, programs: str, tmp_path: Path) -> None:
    simulated.load(OTHER_DRIVER)
    done = simulated.run("nvidia_ctk.py", "cdi", "generate", f"--output={tmp_path}/nvidia.yaml", PATH=programs)
    assert done.returncode == 1
    assert "Driver/library version mismatch" in done.stderr
    assert not (tmp_path / "nvidia.yaml").exists()


def test_one_gpus_device_of_the_specification() -> None:
    text = nvidia_ctk.specification(["0"], DRIVER)
    device = "- containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia0\n  name: "
    assert text.endswith(f'devices:\n{device}"0"\n{device}all\nkind: nvidia.com/gpu\n')


def program(name: str, folder: Path) -> str:
    """A shell program as a package has it."""
    text = (nvidia_debs.SOURCES / name).read_text().replace("@VERSION@", DRIVER)
    (folder / name).write_text(text)
    return str(folder / name)


def test_versions_are_printed_as_the_doctor_reads_them(tmp_path: Path) -> None:
    manager = subprocess.run(
        ["sh", program("nv-fabricmanager", tmp_path), "--version"], capture_output=True, text=True, check=True
    )
    assert parse.fabric_manager(manager.stdout) == DRIVER
    toolkit = subprocess.run(
        [sys.executable, program("nvidia_ctk.py", tmp_path), "--version"], capture_output=True, text=True, check=True
    )
    assert toolkit.stdout == f"NVIDIA Container Toolkit CLI version {DRIVER}\n"
