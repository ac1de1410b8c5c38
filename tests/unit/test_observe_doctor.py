"""observe/doctor: a healthy host is silent, and each planted fault is one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.fleets import IMAGE, example_fleet, service
from tests.unit.gpu_host import DRIVER, Nvml, healthy_facts
from vllm_fleet.engine.command import container_name
from vllm_fleet.observe.doctor import diagnose
from vllm_fleet.observe.doctor.finding import same_version, some
from vllm_fleet.payload.doctor_facts import nvml
from vllm_fleet.planner.placement import on_host, place
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.versions import Versions

Facts = dict[str, Any]
OTHER_IMAGE = "vllm/vllm-openai@sha256:" + "f" * 64


def gpu_host(name: str, number: int, **values: Any) -> Host:
    given = {"gpus": 8, "gpu": "h200", "interface": "eth0", **values}
    return Host(name=name, address=f"10.0.0.{number}", groups=("gpu",), **given)


EDGE = Host(name="edge1", address="10.0.0.10", groups=("gateway", "monitoring"))


class Site:
    """A fleet, placed once."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.placements = fleet, place(fleet)

    def releases(self, name: str) -> dict[str, str]:
        return {each.instance: f"release-{each.instance}" for each in on_host(self.placements, name)}

    def facts(self, name: str = "gpu1", lib: Nvml | None = None) -> Facts:
        """Those of a host where all is as declared."""
        engines = {instance: {"release": release, "image": IMAGE} for instance, release in self.releases(name).items()}
        return healthy_facts(self.fleet.host(name).gpus, engines, lib)

    def lines(self, facts: Facts, name: str = "gpu1") -> list[str]:
        found = diagnose(self.fleet, self.placements, self.fleet.host(name), facts, self.releases(name))
        return [f"{finding.severity} {finding}" for finding in found]


@pytest.fixture(scope="module")
def site() -> Site:
    """Engines of `gpu1`: chat and large."""
    return Site(example_fleet(hosts=[gpu_host("gpu1", 11), gpu_host("gpu2", 12), EDGE]))


@pytest.mark.parametrize("name", ["gpu1", "gpu2"])
def test_a_healthy_host_is_silent(site: Site, name: str) -> None:
    assert site.lines(site.facts(name), name) == []


def test_the_recorded_h200_alone_is_healthy() -> None:
    chat = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1"])
    alone = Site(example_fleet(hosts=[gpu_host("gpu1", 11, gpus=1), EDGE], services=[chat]))
    assert alone.lines(alone.facts()) == []


def test_a_host_without_nvidia_is_silent_where_none_is_declared(site: Site) -> None:
    nothing = ("module", "nvml", "fabric_manager", "toolkit", "cdi", "packages", "xids", "containers")
    facts = healthy_facts(0, {}) | dict.fromkeys(nothing)
    assert site.lines(facts, "edge1") == []


def test_a_host_without_nvidia_says_so_once_where_gpus_are_declared(site: Site) -> None:
    nothing = ("module", "nvml", "fabric_manager", "toolkit", "packages", "xids")
    assert site.lines(site.facts() | dict.fromkeys(nothing)) == [
        "error gpu1.driver.module: no NVIDIA module is loaded, but 8 GPUs are declared; install the driver of branch "
        "580 and reboot, or read `journalctl -k -b | grep NVRM` for why it does not load"
    ]


def gpu(facts: Facts, index: int = 3) -> Facts:
    found: Facts = facts["nvml"]["gpus"][index]
    return found


def unit(facts: Facts, name: str, **values: str) -> None:
    facts["units"][name] |= values


def xid(facts: Facts, number: int, count: int = 1, pci: str = "0000:09:00", last: float | None = 1790000000.0) -> None:
    facts["xids"]["seen"].append({"pci": pci, "xid": number, "count": count, "last": last})


FAULTS: list[tuple[Callable[[Facts], Any], str]] = [
    # the driver
    (
        lambda facts: facts["nvml"].update(library="580.95.05"),
        "error gpu1.driver.library: is 580.95.05, the loaded module 580.159.04; drain and reboot, so that the "
        "installed module is loaded",
    ),
    (
        lambda facts: facts["nvml"].update(library="580.95", error="LIB_RM_VERSION_MISMATCH", gpus=None),
        "error gpu1.driver.library: is 580.95, the loaded module 580.159.04; drain and reboot, so that the installed "
        "module is loaded",
    ),
    (
        lambda facts: facts.update(fabric_manager="580.95.05"),
        "error gpu1.driver.fabric_manager: is 580.95.05, the loaded module 580.159.04; install nvidia-fabricmanager "
        "580.159.04, hold it, and restart it when the host is drained",
    ),
    (
        lambda facts: unit(facts, "nvidia-fabricmanager.service", active="failed", sub="failed"),
        "error gpu1.driver.fabric_manager: its unit is failed; read `journalctl -u nvidia-fabricmanager.service`, then "
        "start it",
    ),
    (
        lambda facts: unit(facts, "nvidia-fabricmanager.service", active="inactive", sub="dead"),
        "error gpu1.driver.fabric_manager: its unit is inactive; read `journalctl -u nvidia-fabricmanager.service`, "
        "then start it",
    ),
    (
        lambda facts: gpu(facts).update(persistence=0),
        "warning gpu1.driver.persistence: is off on GPU 3; run `systemctl enable --now nvidia-persistenced`",
    ),
    (
        lambda facts: facts["packages"]["libnvidia-ml1"].update(held=False),
        "warning gpu1.driver.packages: not held, so an upgrade would part library and module: libnvidia-ml1; run "
        "`apt-mark hold libnvidia-ml1`",
    ),
    # CDI
    (
        lambda facts: facts.update(cdi=None),
        "error gpu1.cdi: there is no CDI specification; run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`",
    ),
    (
        lambda facts: facts["cdi"][0].update(driver="570.86.15"),
        "error gpu1.cdi: /etc/cdi/nvidia.yaml was made for driver 570.86.15, 580.159.04 is loaded; run `nvidia-ctk cdi "
        "generate --output=/etc/cdi/nvidia.yaml`",
    ),
    (
        lambda facts: facts["cdi"][0]["devices"].remove("7"),
        "error gpu1.cdi: /etc/cdi/nvidia.yaml does not name GPU 7; run `nvidia-ctk cdi generate "
        "--output=/etc/cdi/nvidia.yaml`",
    ),
    # the GPUs
    (
        lambda facts: facts.update(nvml=None),
        "error gpu1.gpus: libnvidia-ml is not installed, so they cannot be looked at; install the driver's libraries, "
        "580.159.04",
    ),
    (
        lambda facts: facts["nvml"].update(error="UNKNOWN", gpus=None),
        "error gpu1.gpus: NVML answers UNKNOWN; read `journalctl -k -b | grep NVRM`, then drain and reboot",
    ),
    (
        lambda facts: facts.update(nvml=None, unread={"nvml": "no answer within 8 s"}),
        "error gpu1.gpus: NVML: no answer within 8 s; read `journalctl -k -b | grep NVRM`, then drain and reboot",
    ),
    (
        lambda facts: facts["nvml"]["gpus"].pop(),
        "error gpu1.gpus: 7 of 8 declared are there; read `journalctl -k -b | grep NVRM`, drain and reboot; if it "
        "stays away, have it serviced",
    ),
    (
        lambda facts: facts["nvml"]["gpus"].__setitem__(3, {"index": 3, "error": "GPU_IS_LOST"}),
        "error gpu1.gpu.3: NVML answers GPU_IS_LOST; drain and reboot; if it stays, have it serviced",
    ),
    (
        lambda facts: gpu(facts).update(error="TIMEOUT"),
        "warning gpu1.gpu.3: NVML answers TIMEOUT; drain and reboot; if it stays, have it serviced",
    ),
    (
        lambda facts: gpu(facts).update(name="NVIDIA H100 80GB HBM3"),
        "error gpu1.gpus: NVIDIA H100 80GB HBM3 at 3, declared is H200 SXM 141GB; set gpu of gpu1 in the inventory to "
        "what is there, then plan and deploy",
    ),
    (
        lambda facts: gpu(facts).update(name="NVIDIA Z1000"),
        "error gpu1.gpus: NVIDIA Z1000 at 3, declared is H200 SXM 141GB; set gpu of gpu1 in the inventory to what is "
        "there, then plan and deploy",
    ),
    (
        lambda facts: gpu(facts)["ecc"].update(uncorrected=2),
        "error gpu1.gpu.3.ecc: 2 uncorrected memory errors; drain the host and run `nvidia-smi --gpu-reset`; have it "
        "serviced if they come back",
    ),
    (
        lambda facts: gpu(facts)["remap"].update(pending=True),
        "warning gpu1.gpu.3.remap: a row waits to be remapped; run `nvidia-smi --gpu-reset` when the host is next "
        "drained",
    ),
    (
        lambda facts: gpu(facts)["remap"].update(pending=True, failure=True),
        "error gpu1.gpu.3.remap: a row could not be remapped; take it out of service and have it replaced",
    ),
    (
        lambda facts: gpu(facts).update(recovery_action=1),
        "error gpu1.gpu.3.recovery: the driver asks for a reset; drain the host and run `nvidia-smi --gpu-reset`",
    ),
    (
        lambda facts: gpu(facts).update(recovery_action=99),
        "error gpu1.gpu.3.recovery: the driver asks for recovery action 99; drain and reboot",
    ),
    (
        lambda facts: xid(facts, 79),
        "error gpu1.gpu.3.xid: XID 79 (fallen off the bus) once since boot, last 2026-09-21 14:13 UTC; drain and "
        "reboot; have the GPU serviced if it comes back",
    ),
    (
        lambda facts: xid(facts, 31, count=300, last=None),
        "warning gpu1.gpu.3.xid: XID 31 (an access outside of memory) 300 times since boot; read the engine's journal "
        "of that time",
    ),
    (
        lambda facts: xid(facts, 48, pci="0000:ff:00"),
        "error gpu1.pci.0000:ff:00.xid: XID 48 (an uncorrectable memory error) once since boot, last 2026-09-21 14:13 "
        "UTC; drain the host and run `nvidia-smi --gpu-reset`; have the GPU serviced if it comes back",
    ),
    (
        lambda facts: facts["xids"].update(complete=False),
        "warning gpu1.xids: the kernel log is too long to be read whole; look for older ones with `journalctl -k -b "
        "--grep 'NVRM: Xid'`",
    ),
    (
        lambda facts: gpu(facts)["pcie"].update(width=8),
        "warning gpu1.gpu.3.pcie: runs 8 lanes wide of 16; reseat the card or its riser at next service",
    ),
    (
        lambda facts: (gpu(facts)["pcie"].update(generation=3), gpu(facts).update(clock_reasons=0)),
        "warning gpu1.gpu.3.pcie: runs at generation 3 of 5, and is not idle; look for PCIe errors with `journalctl -k "
        "-b | grep AER`, and at the slot's setting in the firmware",
    ),
    (
        lambda facts: gpu(facts).update(nvlinks=[True] * 16 + [False] * 2),
        "error gpu1.gpu.3.nvlink: 2 of 18 links are down (16, 17); look at `nvidia-smi nvlink --status` and the fabric "
        "manager's journal, then drain and reset the GPU",
    ),
    (
        lambda facts: gpu(facts).update(clock_reasons=0x48, temperature_celsius=91),
        "warning gpu1.gpu.3.clocks: are held down by heat at 91 °C; look at fans, air flow and inlet temperature",
    ),
    (
        lambda facts: gpu(facts).update(clock_reasons=0x80),
        "warning gpu1.gpu.3.clocks: are held down by the power brake; look at the power supplies and their feeds",
    ),
    # the machine
    (
        lambda facts: facts.update(containers=None, unread={"containers": "no answer within 5 s"}),
        "warning gpu1.facts.containers: could not be read: no answer within 5 s; look on the host, as root",
    ),
    (
        lambda facts: facts.update(reboot={"required": True, "packages": ["linux-image-amd64", "libc6"]}),
        "warning gpu1.reboot: is pending: linux-image-amd64, libc6 ask for it; drain and reboot",
    ),
    (
        lambda facts: facts.update(reboot={"required": True, "packages": []}),
        "warning gpu1.reboot: is pending: a package asks for it; drain and reboot",
    ),
    (
        lambda facts: facts.update(clock={"synchronized": False, "ntp": False}),
        "warning gpu1.clock: is not synchronised; deploy again, which starts chrony",
    ),
    (
        lambda facts: facts.update(clock={"synchronized": False, "ntp": True}),
        "warning gpu1.clock: is not synchronised; look at `chronyc sources`",
    ),
    (
        lambda facts: facts["disks"]["/"].update(used=86 << 30, free=14 << 30),
        "warning gpu1.disk./: is 86% full, 14 GiB are free; remove models and images that nothing runs, or give it a "
        "larger disk",
    ),
    (
        lambda facts: facts["disks"]["/var/lib/vllm-fleet"].update(used=950 << 30, free=50 << 30),
        "error gpu1.disk./var/lib/vllm-fleet: is 95% full, 50 GiB are free; remove models and images that nothing "
        "runs, or give it a larger disk",
    ),
    # the engines
    (
        lambda facts: facts["units"].pop("vllm-chat.service"),
        "error gpu1.engine.chat: systemd does not know vllm-chat.service; deploy again",
    ),
    (
        lambda facts: unit(facts, "vllm-chat.service", active="activating", sub="auto-restart"),
        "error gpu1.engine.chat: vllm-chat.service is activating (auto-restart); read `journalctl -u "
        "vllm-chat.service`, then deploy again",
    ),
    (
        lambda facts: facts["engines"]["chat"].update(current="old", good="old"),
        "error gpu1.engine.chat.release: is old, declared is release-chat; deploy again",
    ),
    (
        lambda facts: facts["engines"].pop("chat"),
        "error gpu1.engine.chat.release: is not there, declared is release-chat; deploy again",
    ),
    (
        lambda facts: facts["engines"]["chat"].update(good="old"),
        "warning gpu1.engine.chat.release: release-chat has not answered a completion yet; deploy again, which waits "
        "for one",
    ),
    (
        lambda facts: facts["containers"]["vllm-chat"].update(image=OTHER_IMAGE),
        f"error gpu1.engine.chat.image: is {OTHER_IMAGE}, declared is {IMAGE}; deploy again",
    ),
    (
        lambda facts: facts["engines"].update(old={"current": "x", "good": "x"}),
        "warning gpu1.engine.old: is not declared; deploy again, which removes it",
    ),
]


@pytest.mark.parametrize("plant, line", FAULTS, ids=[re.split(r"[:;] ", line)[0] for _, line in FAULTS])
def test_a_planted_fault_is_found_alone(site: Site, plant: Callable[[Facts], Any], line: str) -> None:
    facts = site.facts()
    plant(facts)
    assert site.lines(facts) == [line]


def test_another_branch_than_declared(site: Site) -> None:
    newer = Site(site.fleet.model_copy(update={"versions": Versions(nvidia_driver=590)}))
    assert newer.lines(newer.facts()) == [
        f"error gpu1.driver.branch: the loaded module {DRIVER} is not of the declared branch 590; install the driver "
        "of branch 590 and reboot, or set versions.nvidia_driver"
    ]


@pytest.mark.parametrize(
    "harmless",
    [
        lambda facts: xid(facts, 45),  # a clean-up after another XID
        lambda facts: gpu(facts)["pcie"].update(generation=1),  # idle, as its clocks say
        lambda facts: gpu(facts).update(clock_reasons=0x4),  # the power cap
        lambda facts: gpu(facts)["ecc"].update(uncorrected_ever=1),  # remapped long ago
        lambda facts: facts["nvml"]["gpus"].append({"index": 8, "error": "GPU_IS_LOST"}),  # not the fleet's
        lambda facts: facts["units"].pop("nvidia-fabricmanager.service"),  # the hypervisor's business
        lambda facts: facts["packages"].update(nvidia_x={"version": "1.18.0-1", "held": False}),
        lambda facts: facts["cdi"].insert(0, facts["cdi"][0] | {"path": "/etc/cdi/old.yaml", "driver": "570.86.15"}),
        lambda facts: facts.update(clock=None, packages=None),
        lambda facts: facts["disks"].update({"/var/lib/vllm-fleet": None}),
    ],
)
def test_what_is_no_fault(site: Site, harmless: Callable[[Facts], Any]) -> None:
    facts = site.facts()
    harmless(facts)
    assert site.lines(facts) == []


def test_what_nvml_does_not_support_is_no_fault(site: Site) -> None:
    unsupported = {
        name: -nvml.NOT_SUPPORTED
        for name in Nvml().answers
        if name.startswith("nvmlDeviceGet") and not name.endswith("_v2")
    }
    assert site.lines(site.facts(lib=Nvml(8, **unsupported))) == []


def test_a_source_that_failed_is_not_taken_for_absence(site: Site) -> None:
    facts = site.facts()
    for name in set(facts) - {"unread"}:
        facts[name] = None
        facts["unread"][name] = "no answer within 2 s"
    found = site.lines(facts)
    assert len(found) == len(facts) - 1
    assert all("no answer within 2 s" in line for line in found)


def test_links_of_cards_that_only_a_bridge_joins_are_left_alone() -> None:
    chat = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1"])
    bridged = Site(example_fleet(hosts=[gpu_host("gpu1", 11, gpus=2, gpu="h100-nvl"), EDGE], services=[chat]))
    lib = Nvml(2, nvmlDeviceGetName="NVIDIA H100 NVL", nvmlDeviceGetNvLinkState=[0])
    assert bridged.lines(bridged.facts(lib=lib)) == []


def test_containers_have_the_names_that_docker_is_asked_for(site: Site) -> None:
    for placement in site.placements:
        assert container_name(placement) == f"vllm-{placement.instance}"
        assert placement.unit == f"vllm-{placement.instance}.service"


@pytest.mark.parametrize(
    "one, other, same",
    [
        (DRIVER, DRIVER, True),
        ("580.159", DRIVER, True),
        ("580.95.05", DRIVER, False),
        ("535.161", "550.54.14", False),
    ],
)
def test_versions_without_their_last_part(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same


def test_long_lists_are_cut() -> None:
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
