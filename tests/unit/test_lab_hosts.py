"""lab/hosts.py and lab/supervisor.py: command lines compared whole, who starts again, whose process it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from lab import cgroup, hosts, supervisor
from lab.topology import HOSTS, Paths

HERE = Paths(Path("/repo"))


def test_a_host_is_booted_with_exactly_this_command() -> None:
    home = "/repo/.lab/run/hosts/gpu-1"
    assert hosts.nspawn_argv("gpu-1", HERE) == [
        "env",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "systemd-nspawn",
        "--boot",
        f"--directory={home}/root",
        "--machine=gpu-1",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--network-bridge=vfleet0",
        "--capability=all",
        "--drop-capability=CAP_SYS_MODULE",
        "--system-call-filter=@keyring bpf add_key",
        f"--bind={home}/plain/var-lib-docker:/var/lib/docker",
        f"--bind={home}/plain/var-lib-containerd:/var/lib/containerd",
    ]


def test_the_disk_is_an_overlay_over_the_shared_base() -> None:
    home = HERE.host("ops-1")
    layers = f"lowerdir=/base,upperdir={home}/upper,workdir={home}/work"
    argv = hosts.mount_argv(home, Path("/base"))
    assert argv == ["mount", "-t", "overlay", "-o", layers, "vllm-fleet-lab", f"{home}/root"]


def test_a_host_knows_its_address_its_neighbours_and_the_apt_cache() -> None:
    files = hosts.files("gpu-2", "deb https://mirror.example/debian trixie main\n")
    assert "Address=10.231.77.12/24" in files["etc/systemd/network/10-host0.network"]
    assert all(f"{address} {name}\n" in files["etc/hosts"] for name, address in HOSTS.items())
    assert files["etc/hostname"] == "gpu-2\n"
    assert files["etc/apt/apt.conf.d/90mirror"] == (
        'Acquire::http::Pipeline-Depth "0";\n'
        'Acquire::http::Proxy "http://10.231.77.1:3142";\nAcquire::http::Proxy::10.231.77.1 "DIRECT";\n'
    )
    assert files["etc/apt/sources.list"] == "deb http://HTTPS///mirror.example/debian trixie main\n"


def test_ssh_needs_no_question_and_accepts_known_hosts_only() -> None:
    config = hosts.ssh_config(HERE)
    assert "Host gpu-1\n  HostName 10.231.77.11\n" in config
    assert "StrictHostKeyChecking yes" in config
    assert hosts.ssh_argv(HERE, "gpu-1", ["true"]) == [
        *("ssh", "-F", "/repo/.lab/ssh/config"),
        *("-o", "BatchMode=yes", "gpu-1", "true"),
    ]


@pytest.mark.parametrize(
    "kind, code, again",
    [("host", 133, True), ("host", 0, False), ("host", -9, False), ("mirror", 1, True), ("mirror", 0, True)],
)
def test_who_starts_again(kind: str, code: int, again: bool) -> None:
    assert supervisor.start_again(kind, code) is again


def status_of(tmp_path: Path, pid: int) -> Paths:
    """A checkout whose supervisor is said to have this process id."""
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    supervisor.status_file(paths).write_text(json.dumps({"supervisor": pid, "children": {"gpu-1": {"pid": 1}}}))
    return paths


def test_a_stale_process_id_is_not_the_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reboot of the machine the number may belong to somebody else: here, to pytest itself."""
    monkeypatch.setattr(cgroup, "processes", lambda: [os.getpid()])
    paths = status_of(tmp_path, os.getpid())
    assert supervisor.pid(paths) is None
    assert supervisor.status(paths) == {}


def test_a_supervisor_outside_the_labs_cgroup_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_alike = subprocess.Popen(["sleep", "60", "lab.supervisor"], stderr=subprocess.DEVNULL)
    try:
        paths = status_of(tmp_path, look_alike.pid)
        monkeypatch.setattr(cgroup, "processes", list)
        assert supervisor.pid(paths) is None
    finally:
        look_alike.kill()
        look_alike.wait()


def test_no_record_or_half_a_record_is_no_supervisor(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert supervisor.pid(paths) is None
    paths.run.mkdir(parents=True)
    supervisor.status_file(paths).write_text("{")
    assert supervisor.pid(paths) is None


def test_cgroup_v2_is_found_beside_v1() -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
        "proc /proc proc rw 0 0\n"
    )
    assert cgroup.mount_point(mounts) == Path("/sys/fs/cgroup/unified")
    assert cgroup.mount_point("proc /proc proc rw 0 0\n") is None
