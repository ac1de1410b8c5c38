"""What an H200 exposes: the lab's stand-in (tests/golden), and a real one.

`data/h200_metrics.txt` was written by `bench/nvml_scrapes.py --save` on an idle H200 in a virtual machine (driver
580.159.04, nvidia-ml-py as locked, 2026-11-21), its UUID and serial number blanked.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from vllm_fleet.observe.alerts import ALERTS
from vllm_fleet.payload.nvml_exporter.families import FAMILIES, LIBRARY

STAND_IN = Path(__file__).parents[1] / "golden" / "expected" / "nvml-scrape.txt"
RECORDED = Path(__file__).parent / "data" / "h200_metrics.txt"
MAY_LACK = {
    *("nvml_error_info", "nvml_errors_total"),  # after an error
    *("nvml_xid_errors_total", "nvml_xid_last_timestamp_seconds"),  # after an XID
    "nvml_process_memory_bytes",  # with work
    *("nvml_mig_info", "nvml_mig_memory_total_bytes", "nvml_mig_memory_used_bytes", "nvml_mig_memory_free_bytes"),
    # in a virtual machine with one GPU: its host has the NVSwitches, and the others at the ends of its links
    *("nvml_fabric_state", "nvml_fabric_status", "nvml_nvlink_up", "nvml_nvlink_errors_total"),
    *("nvml_nvlink_transmitted_bytes_total", "nvml_nvlink_received_bytes_total"),
}
"""What a whole and idle H200 may lack."""


@pytest.fixture(
    params=[STAND_IN, RECORDED],
    ids=["stand-in", "recorded"],
)
def families(request: pytest.FixtureRequest) -> dict[str, Metric]:
    """By the name of their series: the parser takes `_total` off a counter's."""
    found = text_string_to_metric_families(request.param.read_text(encoding="utf-8"))
    return {family.samples[0].name: family for family in found}


def test_every_family_is_there(families: dict[str, Metric]) -> None:
    assert FAMILIES.keys() - MAY_LACK <= families.keys() <= FAMILIES.keys()


def test_each_has_its_type_and_labels(families: dict[str, Metric]) -> None:
    for name, family in families.items():
        declared = FAMILIES[name]
        assert family.type == declared.kind
        labels = {*declared.labels, *(() if name in LIBRARY else ("gpu", "uuid"))}
        assert all(sample.labels.keys() == labels for sample in family.samples), name


def test_values_that_alerts_select_are_there(families: dict[str, Metric]) -> None:
    """A selector of a value that no series has would never fire."""
    asked = 0
    for alert in ALERTS:
        for name, selector in re.findall(r"\b(nvml_\w+){(.+?)}", alert.condition):
            for label, pattern in re.findall(r'(\w+)=~?"(.+?)"', selector):
                if name not in MAY_LACK:
                    values = {sample.labels[label] for sample in families[name].samples}
                    assert {*pattern.split("|")} <= values, alert.name
                    asked += 1
    assert asked >= 4


def test_it_has_an_h200s_memory(families: dict[str, Metric]) -> None:
    """As recorded with NVML on one (docs/performance.md, "GPU exporter")."""
    assert {sample.value for sample in families["nvml_memory_total_bytes"].samples} == {150754820096}
    gpus = families["nvml_gpu_up"].samples
    assert [gpu.value for gpu in gpus] == [1] * len(gpus)


def test_the_stand_in_has_an_h200s_links() -> None:
    found = {each.name: each for each in text_string_to_metric_families(STAND_IN.read_text(encoding="utf-8"))}
    gpus = found["nvml_gpu_up"].samples
    assert [link.value for link in found["nvml_nvlink_up"].samples] == [1] * 18 * len(gpus)
