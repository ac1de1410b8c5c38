"""payload/nvml_exporter without NVML: the text, whose a process is, the kernel's log, the server."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllm_fleet.payload.nvml_exporter.kernel_log import KernelLog
from vllm_fleet.payload.nvml_exporter.pci import pci_slot
from vllm_fleet.payload.nvml_exporter.processes import cgroup, memory_by_unit, unit_of
from vllm_fleet.payload.nvml_exporter.server import server
from vllm_fleet.payload.nvml_exporter.text import Family, exposition, joined, labels

# ---- text -----------------------------------------------------------------------------------------------------------


def test_a_text() -> None:
    families = {
        "a_total": Family("a_total", "counter", "How often."),
        "b": Family("b", "gauge", "How much."),
        "c": Family("c", "gauge", "Not there."),
    }
    samples = [("b", 'x="1"', 0.5), ("a_total", "", 3), ("b", 'x="2"', 150754820096)]
    assert exposition(families, samples) == (
        "# HELP a_total How often.\n# TYPE a_total counter\na_total 3\n"
        '# HELP b How much.\n# TYPE b gauge\nb{x="1"} 0.5\nb{x="2"} 150754820096\n'
    )


def test_labels_are_escaped() -> None:
    assert labels(name='a "b"\\\n', link=3) == r'name="a \"b\"\\\n",link="3"'
    assert joined("", 'a="1"', "", 'b="2"') == 'a="1",b="2"'


@pytest.mark.parametrize("written", ["00000000:3B:00.0", "0000:3b:00", "0000:3b:00.0"])
def test_a_pci_slot(written: str) -> None:
    assert pci_slot(written) == "0000:3b:00"


# ---- whose a process is ---------------------------------------------------------------------------------------------

CONTAINER = "0123456789abcdef" * 4
KEY = "--config\0/etc/vllm-fleet/engines/chat-1/secret.yaml"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with processes of every kind: PID, its parent, cgroup, command line."""
    scope, slash = f"0::/system.slice/docker-{CONTAINER}.scope", f"0::/docker/{CONTAINER}"
    for pid, parent, group, argv in [
        (10, 1, "0::/system.slice/vllm-batch.service", "python3"),
        (11, 1, "12:pids:/x\n1:name=systemd:/system.slice/vllm-batch.service\n0::/", "python3"),
        (20, 1, scope, f"vllm\0serve\0{KEY}\0--port\08000\0"),
        (21, 20, scope, "VLLM::EngineCore\0"),
        (22, 21, scope, "VLLM::Worker_TP0\0"),
        (30, 1, slash, f"vllm\0serve\0{KEY}\0"),
        (40, 1, scope, "python3\0train.py\0"),
        (50, 1, "0::/user.slice/user-1000.slice/session-3.scope", "python3\0"),
        (51, 1, "0::/user.slice/user-1000.slice/user@1000.service/app.slice/jupyter.scope", "python3\0"),
        (60, 2, "0::/", ""),
    ]:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(group + "\n")
        (tmp_path / str(pid) / "cmdline").write_text(argv)
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    return tmp_path


@pytest.mark.parametrize(
    "pid, unit",
    [
        (10, "vllm-batch.service"),
        (11, "vllm-batch.service"),
        (20, "vllm-chat-1.service"),
        (22, "vllm-chat-1.service"),
        (30, "vllm-chat-1.service"),
        (40, "docker-0123456789ab.scope"),
        (50, "session-3.scope"),
        (51, "jupyter.scope"),
        (60, ""),
        (99, ""),
    ],
)
def test_the_unit_of_a_process(proc: Path, pid: int, unit: str) -> None:
    assert unit_of(pid, proc) == unit


def test_memory_adds_up_by_unit(proc: Path) -> None:
    running = [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in [(21, 5), (22, 7), (10, 1), (40, None)]]
    assert memory_by_unit(running, proc) == {"vllm-chat-1.service": 12, "vllm-batch.service": 1}


def test_a_cgroup_file_that_says_nothing() -> None:
    assert cgroup("") == cgroup("garbage\n5:cpu:/a\n") == ""


# ---- the kernel's log -----------------------------------------------------------------------------------------------


def entry(message: object, number: int) -> bytes:
    found = {"__CURSOR": f"s={number}", "__REALTIME_TIMESTAMP": str(number * 10**6), "MESSAGE": message}
    return json.dumps(found).encode() + b"\n"


def test_xids_are_counted_with_the_time_of_the_last() -> None:
    log = KernelLog()
    for line in [
        entry("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', GPU has fallen off the bus.", 1),
        entry("NVRM: Xid (0000:3B:00): 79, an old driver's", 2),
        entry("NVRM: Xid (PCI:0000:3b:00 GPU-I:02): 43, of a MIG device", 3),
        entry("eth0: link up", 4),
        entry([78, 86], 5),
        b'{"MESSAGE": "NVRM: Xid (PCI:0000:3b',
        b'{"MESSAGE": "NVRM: Xid (PCI:0000:3b:00): 48"}\n',
        entry(["NVRM: Xid (PCI:0000:3b:00): 48"], 6),
    ]:
        log.take(line)
    assert log.seen() == {("0000:3b:00", 79): (2, 2.0), ("0000:3b:00", 43): (1, 3.0)}


def test_the_journal_is_followed_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines").write_bytes(entry("NVRM: Xid (PCI:0000:3b:00): 79, x", 7))
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/called\ncat {tmp_path}/lines\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = KernelLog()
    log.follow()
    (tmp_path / "lines").write_bytes(entry("NVRM: Xid (PCI:0000:3b:00): 79, x", 8))
    log.follow()
    assert log.seen() == {("0000:3b:00", 79): (2, 8.0)}
    first, second = (tmp_path / "called").read_text().splitlines()
    assert first == "--dmesg --follow --no-tail --output=json --output-fields=MESSAGE"
    assert second == f"{first} --after-cursor=s=7"


def test_without_a_journal_there_are_no_xids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    log = KernelLog()
    log.follow()
    assert (log.followed, log.seen()) == (False, {})


# ---- the server -----------------------------------------------------------------------------------------------------


def test_metrics_are_served_and_nothing_else() -> None:
    listening = server("127.0.0.1", 0, lambda: b"up 1\n")
    serving = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    url = f"http://127.0.0.1:{listening.server_address[1]}"
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        assert answer.read() == b"up 1\n"
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/", timeout=10)
    listening.shutdown()
    serving.join()
    listening.server_close()
