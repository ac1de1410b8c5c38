"""payload/nvml_exporter, asking the lab's stand-in for NVML: every family, every fault, and that it goes on."""

from __future__ import annotations

import ast
import json
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pynvml
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.nvidia import nvidia_simulate
from tests.unit.gpu_host import RECORDED
from tests.unit.simulated_nvml import DRIVER, OTHER_DRIVER, Simulated
from vllm_fleet.payload.nvml_exporter.collector import SELDOM_ROUNDS, Collector, Snapshot
from vllm_fleet.payload.nvml_exporter.families import FAMILIES, LIBRARY
from vllm_fleet.payload.nvml_exporter.kernel_log import KernelLog
from vllm_fleet.payload.nvml_exporter.server import server

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="the stand-in is compiled")

UUID = "GPU-01234567-89ab-cdef-0123-456789abcd03"


@pytest.fixture
def simulated(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """The stand-in, which nvidia-ml-py asks."""
    monkeypatch.setattr(pynvml, "nvmlLib", simulated.lib)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    simulated.state.parent.mkdir(parents=True, exist_ok=True)
    return simulated


@pytest.fixture
def collector(simulated: Simulated) -> Collector:
    return Collector(8, KernelLog())


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(text: str) -> Series:
    """Every sample of a text that Prometheus' own parser takes; none is there twice."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def of_gpu(found: Series, index: int = 3) -> dict[str, float]:
    """One GPU's values by `family` or `family label label`, its own labels left out."""
    return {
        " ".join([name, *(value for key, value in sorted(labels) if key not in ("gpu", "uuid"))]): number
        for (name, labels), number in found.items()
        if ("gpu", str(index)) in labels
    }


def total(found: Series, name: str) -> float:
    """A value of the whole host."""
    return found[name, frozenset()]


# ---- families -------------------------------------------------------------------------------------------------------


def recorded(name: str) -> Any:
    """A value of `data/h200_nvml.json`: a number, a list, or the numbers in a structure's text."""
    text = RECORDED[name]
    if "(" in text and ":" in text:
        return [int(number) for number in re.findall(r": (\d+)", text)]
    return ast.literal_eval(text)


def test_every_value_is_the_recorded_one(collector: Collector) -> None:
    collector.collect()  # activity is what was between two rounds
    found = of_gpu(series(collector.collect()))
    total_memory, _, reserved = recorded("mem")
    replay, recovery, flit, data = recorded("nvlerr")
    busy, touched = recorded("util")
    links = recorded("nvlinkall")
    expected = {
        "nvml_gpu_up": 1,
        f"nvml_gpu_info {DRIVER} {RECORDED['name']} 0000:4b:00 0000000000000 96.00.A5.00.1A": 1,
        "nvml_memory_total_bytes": total_memory,
        "nvml_memory_reserved_bytes": reserved,
        "nvml_memory_used_bytes": 0,
        "nvml_memory_free_bytes": total_memory - reserved,
        "nvml_utilization_ratio gpu": busy / 100,
        "nvml_utilization_ratio memory": touched / 100,
        "nvml_temperature_celsius gpu": recorded("tempgpu"),
        "nvml_temperature_celsius memory": recorded("memtemp")[0][2],
        "nvml_temperature_margin_celsius": recorded("margin"),
        "nvml_power_watts": recorded("power") / 1000,
        "nvml_power_limit_watts": recorded("powerlimit") / 1000,
        "nvml_clock_hertz sm": recorded("smclk") * 10**6,
        "nvml_clock_hertz memory": recorded("memclk") * 10**6,
        "nvml_ecc_enabled": recorded("eccmode")[0],
        "nvml_ecc_errors_total aggregate corrected": recorded("ecc_c"),
        "nvml_ecc_errors_total aggregate uncorrected": recorded("ecc_u"),
        "nvml_ecc_errors_total volatile uncorrected": recorded("ecc_vu"),
        "nvml_pcie_link_width": recorded("pciewidth"),
        "nvml_pcie_link_width_max": recorded("pciemaxw"),
        "nvml_pcie_link_generation": recorded("pciegen"),
        "nvml_pcie_link_generation_max": recorded("pciemaxgen"),
        "nvml_pcie_replays_total": recorded("replay"),
        "nvml_mig_enabled": recorded("mig")[0],
        **{f"nvml_nvlink_up {link}": state for link, state in enumerate(links)},
        "nvml_nvlink_errors_total 0 replay": replay,
        "nvml_nvlink_errors_total 0 recovery": recovery,
        "nvml_nvlink_errors_total 0 crc_flit": flit,
        "nvml_nvlink_errors_total 17 crc_data": data,
    }
    remapped = ("remapped_rows correctable", "remapped_rows uncorrectable", "row_remap_pending", "row_remap_failure")
    expected |= {f"nvml_{name}": value for name, value in zip(remapped, recorded("remap"), strict=True)}
    assert {name: found.get(name) for name in expected} == expected
    assert found["nvml_energy_joules_total"] > recorded("energy") / 1000
    # what the recording has no value of, as lab/nvidia/h200 has it
    others = {
        "nvml_fabric_state": 3,
        "nvml_fabric_status": 0,
        "nvml_recovery_action": 0,
        "nvml_clock_max_hertz sm": 1980 * 10**6,
        "nvml_throttle_seconds_total power_brake": 0,
        "nvml_nvlink_transmitted_bytes_total 17": 0,
        "nvml_nvlink_received_bytes_total 17": 0,
        "nvml_activity_ratio tensor": 0,
    }
    assert {name: found.get(name) for name in others} == others


def test_numbers_come_in_base_units(collector: Collector, simulated: Simulated) -> None:
    simulated.state.write_text(
        "utilization=87\ngpm.5=40\nfield.138.2=3\nfield.139.2=5\nfield.271=1500000000\nenergy=2500\n"
    )
    collector.collect()
    found = of_gpu(series(collector.collect()))
    assert found["nvml_utilization_ratio gpu"] == 0.87
    assert found["nvml_activity_ratio tensor"] == 0.4
    assert found["nvml_nvlink_transmitted_bytes_total 2"] == 3072
    assert found["nvml_nvlink_received_bytes_total 2"] == 5120
    assert found["nvml_throttle_seconds_total power_brake"] == 1.5
    assert found["nvml_energy_joules_total"] == 2.5


def test_errors_of_nvlinks_are_asked_one_link_a_round(collector: Collector, simulated: Simulated) -> None:
    collector.collect()
    simulated.state.write_text("nvlink_errors.0=5\n")
    marks = re.compile(r'^nvml_nvlink_errors_total{gpu="(\d)".*,link="(\d+)",type="replay"} 5$', re.MULTILINE)
    now = [marks.findall(collector.collect()) for _ in range(9)]
    assert [len(found) for found in now] == [*range(1, 10)]
    # the first link of GPU 0 was asked before
    assert sorted(now[-1]) == sorted([*((str(gpu), "0") for gpu in range(1, 8)), ("0", "1"), ("1", "1")])


def test_activity_begins_with_the_second_round(collector: Collector) -> None:
    first, second = collector.collect(), collector.collect()
    assert "nvml_activity_ratio" not in first
    assert len(re.findall(r"^nvml_activity_ratio{", second, re.MULTILINE)) == 8 * 9


def test_each_series_of_a_gpu_says_which(collector: Collector) -> None:
    found = series(collector.collect())
    for name, labels in found:
        assert {"gpu", "uuid"} <= {key for key, _ in labels} or name in LIBRARY, name
    # what it is stands in one series alone
    assert [name for name, labels in found if "driver" in dict(labels) or "pci" in dict(labels)] == [
        "nvml_gpu_info"
    ] * 8


def test_labels_are_those_of_the_table(collector: Collector) -> None:
    for name, labels in series(collector.collect()):
        own = {key for key, _ in labels} - {"gpu", "uuid"}
        assert own == set(FAMILIES[name].labels), name


def test_memory_by_the_unit_that_holds_it(
    collector: Collector, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = {71: "vllm-chat.service", 72: "vllm-chat.service", 73: ""}
    monkeypatch.setattr("vllm_fleet.payload.nvml_exporter.processes.unit_of", lambda pid, _root: units[pid])
    lines = [f"gpu.3.process.{place}.pid={pid}\n" for place, pid in enumerate(units)]
    simulated.state.write_text("".join([*lines, *(f"gpu.3.process.{place}.memory=1000\n" for place in range(3))]))
    found = series(collector.collect())
    held = {name: value for name, value in of_gpu(found).items() if name.startswith("nvml_process")}
    assert held == {"nvml_process_memory_bytes vllm-chat.service": 2000, "nvml_process_memory_bytes ": 1000}
    assert not [name for name in of_gpu(found, 2) if name.startswith("nvml_process")]


def test_a_divided_gpu_has_families_of_its_own(
    collector: Collector, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_fleet.payload.nvml_exporter.processes.unit_of", lambda *_: "vllm-a.service")
    part = "gpu.3.mig.0."
    of_part = {"memory": 100, "memory_reserved": 10, "memory_used": 30, "uuid": "MIG-1", "name": "NVIDIA H200 MIG 1g"}
    of_part |= {"process.0.pid": 7, "process.0.memory": 30}
    lines = ["gpu.3.mig_mode=1\n", *(f"{part}{key}={value}\n" for key, value in of_part.items())]
    simulated.state.write_text("".join(lines))
    found = of_gpu(series(collector.collect()))
    assert {name: value for name, value in found.items() if "mig" in name} == {
        "nvml_mig_enabled": 1,
        "nvml_mig_info 0 MIG-1 NVIDIA H200 MIG 1g": 1,
        "nvml_mig_memory_total_bytes 0": 100,
        "nvml_mig_memory_used_bytes 0": 40,
        "nvml_mig_memory_free_bytes 0": 60,
    }
    found = of_gpu(series(collector.collect()))
    assert found["nvml_process_memory_bytes vllm-a.service"] == 30


def xid_entry(slot: str, number: int, second: int) -> bytes:
    message = f"NVRM: Xid (PCI:{slot}): {number}, pid=1, name=python3"
    entry = {"__CURSOR": f"s={second}", "__REALTIME_TIMESTAMP": f"{second}500000", "MESSAGE": message}
    return json.dumps(entry).encode() + b"\n"


def test_xids_belong_to_their_gpu(simulated: Simulated) -> None:
    log = KernelLog()
    for second, slot in enumerate(("0000:4b:00", "0000:4b:00", "0000:ff:00"), 1790000000):
        log.take(xid_entry(slot, 79, second))
    text = Collector(8, log).collect()
    found = of_gpu(series(text))
    assert found["nvml_xid_errors_total 79"] == 2
    assert found["nvml_xid_last_timestamp_seconds 79"] == 1790000001.5
    assert 'nvml_xid_errors_total{gpu="",uuid="",xid="79"} 1\n' in text, "a GPU that was not there at the start"


def test_every_family_is_made_sometimes(simulated: Simulated) -> None:
    log = KernelLog()
    log.take(xid_entry("0000:4b:00", 79, 1790000000))
    simulated.state.write_text(
        "gpu.3.process.0.pid=1\ngpu.2.mig_mode=1\ngpu.2.mig.0.memory=2\ngpu.2.mig.0.memory_reserved=0\n"
        "gpu.2.mig.0.memory_used=0\ngpu.2.mig.0.uuid=MIG-1\ngpu.2.mig.0.name=part\n"
    )
    collector = Collector(8, log)
    first = collector.collect()
    pynvml._nvmlGetFunctionPointer_cache["nvmlDeviceGetPowerUsage"] = lambda *_: pynvml.NVML_ERROR_UNKNOWN
    text = Snapshot(collector.collect(), time.monotonic()).scrape().decode()
    simulated.module.unlink()
    down = Collector(8, log).collect()
    made = set(re.findall(r"^# TYPE (\S+)", first + text + down, re.MULTILINE))
    assert made == set(FAMILIES)


# ---- faults ---------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[dict[str, float]], bool]] = {
    "lost": lambda now: now == {"nvml_gpu_up": 0},
    "ecc": lambda now: (
        now["nvml_ecc_errors_total volatile uncorrected"] == 1
        and now["nvml_row_remap_pending"] == 1
        and now["nvml_remapped_rows uncorrectable"] == 1
    ),
    "throttle": lambda now: (
        now["nvml_temperature_celsius gpu"] == 91 and now["nvml_throttle_seconds_total hardware_thermal"] >= 0
    ),
    "brake": lambda now: now["nvml_throttle_seconds_total power_brake"] > 0,
    "remap": lambda now: now["nvml_row_remap_failure"] == 1,
    "orphan": lambda now: (
        now.get("nvml_process_memory_bytes init.scope", now.get("nvml_process_memory_bytes ")) == 8 << 30
    ),
    "pcie": lambda now: now["nvml_pcie_link_width"] == 8 and now["nvml_pcie_link_generation"] == 3,
    "nvlink": lambda now: [now[f"nvml_nvlink_up {link}"] for link in (15, 16, 17)] == [1, 0, 0],
    "recovery": lambda now: now["nvml_recovery_action"] == 1,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_in_the_next_round_and_on_its_gpu_alone(collector: Collector, fault: str) -> None:
    before = series(collector.collect())
    nvidia_simulate.main([fault, "3"])
    after = series(collector.collect())
    assert not FAULTS[fault](of_gpu(before))
    assert FAULTS[fault](of_gpu(after))
    assert of_gpu(after, 2)["nvml_gpu_up"] == 1
    assert not FAULTS[fault](of_gpu(after, 2))


def test_every_fault_of_the_lab_has_its_case() -> None:
    assert set(FAULTS) == set(nvidia_simulate.FAULTS)


def test_a_lost_gpu_keeps_its_name_until_it_is_back(collector: Collector) -> None:
    collector.collect()
    nvidia_simulate.main(["lost", "3"])
    text = collector.collect()
    assert f'nvml_gpu_up{{gpu="3",uuid="{UUID}"}} 0\n' in text
    assert total(series(text), "nvml_gpus_visible") == 7
    nvidia_simulate.main(["clear"])
    rounds = [collector.collect() for _ in range(SELDOM_ROUNDS)]
    assert of_gpu(series(rounds[-1]))["nvml_gpu_up"] == 1, "it is looked for once in so many rounds"
    assert total(series(rounds[-1]), "nvml_gpus_visible") == 8


def test_a_gpu_that_was_lost_before_the_start_has_no_uuid(collector: Collector) -> None:
    nvidia_simulate.main(["lost", "3"])
    assert 'nvml_gpu_up{gpu="3",uuid=""} 0\n' in collector.collect()


def test_fewer_gpus_than_declared(collector: Collector, simulated: Simulated) -> None:
    simulated.state.write_text("gpus=7\n")
    found = series(collector.collect())
    assert (total(found, "nvml_gpus_visible"), total(found, "nvml_gpus_declared")) == (7, 8)


def test_what_is_not_supported_has_no_series(collector: Collector) -> None:
    cache = pynvml._nvmlGetFunctionPointer_cache
    cache["nvmlDeviceGetPowerUsage"] = lambda *_: pynvml.NVML_ERROR_NOT_SUPPORTED
    cache["nvmlGpmQueryDeviceSupport"] = lambda *_: pynvml.NVML_ERROR_NOT_SUPPORTED
    cache["nvmlDeviceGetNvLinkState"] = lambda *_: pynvml.NVML_ERROR_NOT_SUPPORTED
    collector.collect()
    text = collector.collect()
    assert not re.search(r"^nvml_(power_watts|activity_ratio|nvlink_\w+|errors_total)", text, re.MULTILINE)
    assert of_gpu(series(text))["nvml_gpu_up"] == 1


def test_another_error_costs_one_series_and_is_counted(collector: Collector) -> None:
    pynvml._nvmlGetFunctionPointer_cache["nvmlDeviceGetPowerUsage"] = lambda *_: pynvml.NVML_ERROR_TIMEOUT
    collector.collect()
    found = of_gpu(series(collector.collect()))
    assert "nvml_power_watts" not in found
    assert found["nvml_errors_total TIMEOUT"] == 2
    assert found["nvml_temperature_celsius gpu"] == 34


# ---- the library ----------------------------------------------------------------------------------------------------


def down(text: str) -> str | None:
    """The error of a round in which nothing could be asked; only the library's own families are then there."""
    found = series(text)
    if total(found, "nvml_up"):
        return None
    assert {name for name, _ in found} <= LIBRARY
    assert total(found, "nvml_gpus_declared") == 8
    return next(dict(labels)["error"] for name, labels in found if name == "nvml_error_info")


def test_without_the_library_it_tries_again(
    collector: Collector, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str) -> None:
        raise OSError

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    with monkeypatch.context() as absent:
        absent.setattr(pynvml, "CDLL", missing)
        assert [down(collector.collect()) for _ in range(2)] == ["LIBRARY_NOT_FOUND"] * 2
    monkeypatch.setattr(pynvml, "CDLL", lambda _name: simulated.lib)
    assert down(collector.collect()) is None


def test_without_its_module_it_tries_again(collector: Collector, simulated: Simulated) -> None:
    simulated.module.unlink()
    assert [down(collector.collect()) for _ in range(2)] == ["DRIVER_NOT_LOADED"] * 2
    simulated.load(DRIVER)
    assert down(collector.collect()) is None


def test_a_driver_apart_from_its_library(collector: Collector, simulated: Simulated) -> None:
    simulated.load(OTHER_DRIVER)
    assert down(collector.collect()) == "LIB_RM_VERSION_MISMATCH"


def test_a_driver_that_goes_away_and_comes_back(collector: Collector) -> None:
    assert down(collector.collect()) is None
    cache = pynvml._nvmlGetFunctionPointer_cache
    real = cache.pop("nvmlDeviceGetMemoryInfo_v2")
    cache["nvmlDeviceGetMemoryInfo_v2"] = lambda *_: pynvml.NVML_ERROR_UNINITIALIZED
    assert down(collector.collect()) == "UNINITIALIZED"
    cache["nvmlDeviceGetMemoryInfo_v2"] = real
    assert down(collector.collect()) is None


def test_while_nvml_hangs_a_scrape_is_answered_and_ages(collector: Collector, simulated: Simulated) -> None:
    collector.snapshot = Snapshot(collector.collect(), time.monotonic())
    simulated.state.write_text("gpu.3.hang=1\n")
    stuck = threading.Thread(target=collector.collect, daemon=True)
    stuck.start()
    listening = server("127.0.0.1", 0, lambda: collector.snapshot.scrape())
    serving = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    url = f"http://127.0.0.1:{listening.server_address[1]}/metrics"
    answers = [series(urllib.request.urlopen(url, timeout=10).read().decode()) for _ in range(2)]
    assert stuck.is_alive()
    first, second = (total(answer, "nvml_snapshot_age_seconds") for answer in answers)
    assert second > first >= 0
    assert all(of_gpu(answer)["nvml_gpu_up"] == 1 for answer in answers)
    simulated.state.unlink()
    stuck.join(30)
    assert not stuck.is_alive(), "it goes on when NVML does"
    listening.shutdown()
    serving.join()
    listening.server_close()
