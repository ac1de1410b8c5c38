"""A host's driver, changed by pyinfra on this machine: dpkg, apt, the module, HAProxy and the reboot are a test's own.

What is checked of GPUs stands in test_observe_doctor.py; the order of hosts in test_planner_maintenance.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.fleets import service
from tests.unit.deploys import Deploy, Systemd
from tests.unit.gpu_host import healthy_facts
from tests.unit.haproxy import Haproxy
from vllm_fleet import packages, paths
from vllm_fleet.driver import Driver, declared, found, scripts
from vllm_fleet.network import admin
from vllm_fleet.operations import draining, install_driver, maintenance, run_unless, upgrade_driver
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import AptRepository, Fleet, Gateway, Host, Monitoring, Secret, Versions

OLD, NEW = "570.195.03", "580.159.04"
NAMES = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced", "nvidia-fabricmanager")
OTHERS = ("linux-headers-amd64", "nvidia-container-toolkit-base")

# `packages` has a line `name version want`; what is installed comes in the version of `candidate`
DPKG_QUERY = """\
#!/usr/bin/env python3
import fnmatch, sys
form, *patterns = sys.argv[3:]
for line in open("{root}/packages"):
    name, version, want = line.split()
    if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
        text = form.replace("\\\\t", "\\t").replace("\\\\n", "\\n")
        known = {{"Package": name, "Version": version, "db:Status-Want": want, "db:Status-Status": "installed"}}
        for field, value in known.items():
            text = text.replace("${{" + field + "}}", value)
        print(text, end="")
"""
APT_GET = """\
#!/usr/bin/env python3
import sys
words = [word for word in sys.argv[1:] if not word.startswith("-") and "::" not in word and "=30" not in word]
open("{root}/said", "a").write(("fetch " if "--download-only" in sys.argv else "") + " ".join(words) + "\\n")
if words[0] == "install" and "--download-only" not in sys.argv:
    new = open("{root}/candidate").read().strip()
    there = dict(line.split(" ", 1) for line in open("{root}/packages"))
    for word in words[1:]:
        name = word.partition("=")[0]
        if name in there and "hold" in there[name] and "--ignore-hold" not in sys.argv:
            sys.exit("E: Unable to correct problems, you have held broken packages.")
        there[name] = ("99-1" if name.startswith("linux") else "1.18.0-1" if "toolkit" in name else new) + " install\\n"
    open("{root}/packages", "w").write("".join(f"{{name}} {{rest}}" for name, rest in there.items()))
"""


class GpuHost:
    """What the stand-ins of a host's programs know; all in files, for the programs are processes."""

    def __init__(self, root: Path, systemd: Systemd) -> None:
        self.root = root
        root.mkdir()
        for name, text in {"packages": "", "candidate": f"{NEW}-1", "boot": "1", "said": ""}.items():
            (root / name).write_text(text)
        programs = {
            "dpkg-query": DPKG_QUERY,
            "apt-get": APT_GET,
            "apt-cache": '#!/bin/sh\n[ "$1" != policy ] || exec echo "  Candidate: $(cat {root}/candidate)"; exit 1\n',
            "apt-mark": (
                '#!/bin/sh\nsed -i "s/^\\($2 .*\\) install$/\\1 hold/" {root}/packages\necho "$@" >> {root}/said\n'
            ),
            "modprobe": "#!/bin/sh\nexit 1\n",
            "nvidia-ctk": '#!/bin/sh\necho "$1 $2" >> {root}/said; echo made > "${{3#--output=}}"\n',
        }
        for name, text in programs.items():
            systemd.program(name, text.format(root=root))

    def installed(self, version: str, *, module: str | None = None, want: str = "hold") -> None:
        rows = [f"{name} {version}-1 {want}\n" for name in NAMES]
        rows += [f"{OTHERS[0]} 99-1 install\n", f"{OTHERS[1]} 1.18.0-1 install\n"]
        (self.root / "packages").write_text("".join(rows))
        self.load(module or version)

    def load(self, version: str) -> None:
        text = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (builder@host)\n"
        (self.root / "module").write_text(text)

    def said(self) -> list[str]:
        """What apt and the others were told since the last call."""
        lines = (self.root / "said").read_text().splitlines()
        (self.root / "said").write_text("")
        return lines

    @property
    def reboots(self) -> int:
        return int((self.root / "boot").read_text()) - 1


@pytest.fixture
def gpu_host(machine: Path, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuHost:
    """This machine as gpu1, with a driver of the declared version where a test says so."""
    root = tmp_path / "gpu-host"
    known = GpuHost(root, systemd)
    at_boot = (
        f"v=$(sed -n 's/^nvidia-kernel-open-dkms \\(.*\\)-1 .*/\\1/p' {root}/packages); "
        f'[ -e {root}/broken ] || echo "NVRM version: Open Kernel Module  $v  Release" > {root}/module; '
        f"echo $(($(cat {root}/boot) + 1)) > {root}/boot"
    )
    monkeypatch.setattr(scripts, "REBOOT", at_boot)
    monkeypatch.setattr(scripts, "BOOT_ID", f"cat {root}/boot")
    monkeypatch.setattr(found, "_SYSTEM", "printf 'distribution\\tdebian13\\narchitecture\\tamd64\\n'\n")
    monkeypatch.setattr(found, "LOADED", found.LOADED.replace("/proc/driver/nvidia/version", f"{root}/module"))
    for module in (found, scripts):
        monkeypatch.setattr(module, "CDI", f"{root}/cdi/nvidia.yaml")
    monkeypatch.setattr(packages, "STAMP", str(root / "stamp"))
    monkeypatch.setattr(maintenance, "RECONNECT_SECONDS", 0)
    monkeypatch.setattr(maintenance, "FIT_SECONDS", 0)
    monkeypatch.setattr(draining, "_POLL_SECONDS", 0)
    # owners of files are root's, which the current user may not be; sources and pins are golden/test_nvidia.py's matter
    monkeypatch.setattr(declared, "package_files", lambda *_: [])
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(healthy_facts(8, {})))
    monkeypatch.setattr(maintenance.remote, "LOADER", f"print(open({str(facts)!r}).read())")
    program = f'#!/bin/sh\necho "$*" >> {root}/said\n'
    systemd.program("readiness", program)
    monkeypatch.setattr(paths, "READY_COMMAND", "readiness")
    return known


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Haproxy]:
    monkeypatch.setattr(admin, "SOCKET", str(tmp_path / "admin.sock"))
    gateway = Haproxy(tmp_path / "admin.sock", "chat/gpu1", "chat/gpu2", "batch/gpu1")
    yield gateway
    gateway.close()


def fleet(branch: int = 580) -> Fleet:
    hosts = [
        Host(name=f"gpu{number}", address=f"10.0.0.{number}", groups=("gpu",), gpus=8, gpu="h200") for number in (1, 2)
    ]
    hosts.append(Host(name="edge1", address="10.0.0.10", groups=("gateway", "monitoring")))
    chat = service("chat", "org/a", hosts=["gpu1", "gpu2"], replicas=2)
    batch = service("batch", "org/b", hosts=["gpu1"], port=8100, drain_seconds=0)
    source = AptRepository(line="deb [trusted=yes] http://mirror.example ./", packages=["dkms"])
    return Fleet(
        hosts=hosts,
        services=[chat, batch],
        gateway=Gateway(api_keys=[Secret(env="CLIENT_KEY")]),
        monitoring=Monitoring(),
        versions=Versions(nvidia_driver=branch, nvidia_packages=[source]),
    )


def arguments(branch: int = 580, **more: Any) -> dict[str, Any]:
    wanted = fleet(branch)
    driver = Driver(wanted.versions, wanted.host("gpu1"))
    return {"name": "Driver", "fleet": wanted, "placements": place(wanted), "driver": driver} | more


def serves(*instances: str) -> None:
    for instance in instances:
        Path(paths.engine(instance)).mkdir(parents=True)


def deploy(branch: int = 580, look_first: bool = False) -> Deploy:
    """Both operations of the role, as gpu1's deploy has them."""
    added = Deploy("gpu1", "edge1", look_first=look_first)
    added.add(install_driver, on="gpu1", **arguments(branch))
    added.add(upgrade_driver, on="gpu1", **arguments(branch, together=("gpu1",)))
    return added


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()) for record in caplog.records]
    return [line.split("] ", 1)[-1].strip() for line in lines]


INSTALL = f"install {' '.join(NAMES)}"
FINISH = [*(f"hold {name}" for name in NAMES), "cdi generate"]


def test_a_fresh_host_gets_the_driver_and_reboots_where_it_does_not_load(gpu_host: GpuHost, systemd: Systemd) -> None:
    deploy().run()
    everything = f"{INSTALL} {' '.join(OTHERS)}"
    assert gpu_host.said() == ["update", f"fetch {everything}", everything, *FINISH]
    assert gpu_host.reboots == 1
    units = ["nvidia-persistenced.service nvidia-fabricmanager.service"]
    assert systemd.called() == [f"enable {units[0]}", f"restart {units[0]}"]
    # and then nothing is to do, for one command
    again = deploy()
    again.run()
    assert (gpu_host.said(), gpu_host.reboots) == ([], 1)
    assert len(again.commands["gpu1"]) == 1


def test_a_host_that_serves_is_drained_upgraded_rebooted_and_admitted(gpu_host: GpuHost, haproxy: Haproxy) -> None:
    gpu_host.installed(OLD)
    deploy(570).run()  # units and CDI, which disturb no one
    assert (gpu_host.said(), gpu_host.reboots) == (["cdi generate"], 0)
    serves("chat", "batch")
    haproxy.requests["chat/gpu1"] = [2, 2, 1, 0]
    deploy().run()
    assert gpu_host.said() == ["update", f"fetch {INSTALL}", INSTALL, *FINISH, "chat batch --wait"]
    assert gpu_host.reboots == 1
    assert haproxy.requests["chat/gpu1"] == [0]
    assert haproxy.said == ["drain batch/gpu1", "drain chat/gpu1", "ready batch/gpu1", "ready chat/gpu1"]
    assert not Path(found.drained_note()).exists()


def test_what_a_person_took_out_stays_out(gpu_host: GpuHost, haproxy: Haproxy) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("chat", "batch")
    haproxy.status["batch/gpu1"] = "MAINT"
    deploy().run()
    assert haproxy.said == ["drain chat/gpu1", "ready chat/gpu1"]
    assert gpu_host.reboots == 1


def test_a_gateway_that_this_deploy_leaves_out_ends_it_before_anything(
    gpu_host: GpuHost, haproxy: Haproxy, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("chat")
    alone = deploy()
    alone.state.inventory.get_host("edge1").connected = False
    with pytest.raises(PyinfraError):
        alone.run()
    assert errors(caplog)[0] == (
        "gpu1: cannot be drained, for this deploy is not connected to gateway edge1; deploy without --limit, or add "
        "--limit edge1"
    )
    assert (haproxy.said, gpu_host.said(), gpu_host.reboots) == ([], [], 0)


def test_a_source_without_the_branch_ends_it_before_anything(
    gpu_host: GpuHost, haproxy: Haproxy, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_host.installed(OLD)
    serves("chat")
    with pytest.raises(PyinfraError):
        deploy(595).run()
    assert errors(caplog)[0] == (
        "gpu1: versions.nvidia_driver: no package source of gpu1 has nvidia-driver-cuda 595.*, the candidate is "
        f"{NEW}-1; add it to the mirror, or declare a driver that is there"
    )
    assert (haproxy.said, gpu_host.said(), gpu_host.reboots) == ([], ["update"], 0)


def test_a_gateway_that_refuses_leaves_nothing_drained(gpu_host: GpuHost, haproxy: Haproxy) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("chat")
    haproxy.refuses = "Require 'admin'."
    with pytest.raises(PyinfraError):
        deploy().run()
    assert gpu_host.reboots == 0
    assert haproxy.status["chat/gpu1"] == "UP"


def test_an_unfit_host_stays_drained_until_a_deploy_finds_it_fit(
    gpu_host: GpuHost, haproxy: Haproxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("chat")
    facts = healthy_facts(8, {})
    facts["nvml"]["gpus"][3]["pcie"]["width"] = 8
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(PyinfraError):
        deploy().run()
    assert errors(caplog)[-2] == (
        "gpu1.gpu.3.pcie: runs 8 lanes wide of 16; reseat the card or its riser at next service; gpu1 takes no "
        "requests until a deploy finds it in order"
    )
    assert haproxy.status["chat/gpu1"] == "DRAIN"
    assert Path(found.drained_note()).read_text() == "edge1 batch/gpu1\nedge1 chat/gpu1\n"
    (tmp_path / "facts.json").write_text(json.dumps(healthy_facts(8, {})))
    deploy().run()
    assert haproxy.status["chat/gpu1"] == "UP"
    assert gpu_host.reboots == 1
    assert not Path(found.drained_note()).exists()


def test_no_later_host_is_touched_after_a_failure(gpu_host: GpuHost, haproxy: Haproxy) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("chat")
    haproxy.refuses = "Require 'admin'."
    rounds = Deploy("gpu1", "gpu2", "edge1")
    turns: dict[str, dict[str, Any]] = {
        "gpu1": {"operation": upgrade_driver, **arguments(together=("gpu1",))},
        "gpu2": {"operation": run_unless, "name": "its turn", "command": "true", "test": "false"},
    }
    for number, (name, turn) in enumerate(turns.items()):
        rounds.state.inventory.get_host(name).loop_position = [number]  # as host.loop has it
        rounds.add(on=name, **turn)
    with pytest.raises(PyinfraError):
        rounds.run()
    assert rounds.commands["gpu1"]
    assert rounds.commands["gpu2"] == []


def test_a_plan_says_what_reboots_and_whom_that_interrupts(
    gpu_host: GpuHost, haproxy: Haproxy, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_host.installed(OLD)
    serves("chat", "batch")
    with caplog.at_level("INFO", "pyinfra"):
        deploy(595, look_first=True)
    assert [line for line in errors(caplog) if line.startswith("Will")] == [
        "Will install driver 595.*",
        f"Will reboot (driver {OLD} is loaded)",
        "Will enable nvidia-persistenced.service",
        "Will restart nvidia-persistenced.service",
        "Will enable nvidia-fabricmanager.service",
        "Will restart nvidia-fabricmanager.service",
        "Will generate the CDI specification",
        "Will drain gpu1 meanwhile",
        "Will interrupt batch: no replica elsewhere",
    ]
    assert (haproxy.said, gpu_host.said()) == ([], [])


def test_engines_that_are_not_there_yet_are_not_waited_for(gpu_host: GpuHost) -> None:
    gpu_host.installed(NEW, module=OLD)
    deploy().run()
    assert "--wait" not in "".join(gpu_host.said())
    assert gpu_host.reboots == 1


def test_requests_that_do_not_end_are_cut_off_after_drain_seconds(
    gpu_host: GpuHost, haproxy: Haproxy, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_host.installed(NEW, module=OLD)
    serves("batch")
    haproxy.requests["batch/gpu1"] = [5]
    deploy().run()
    assert "edge1: batch/gpu1 still has 5 requests after 0 s; they are cut off" in errors(caplog)
    assert gpu_host.reboots == 1
