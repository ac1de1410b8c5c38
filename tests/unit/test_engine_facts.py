"""payload/engine_facts: what it finds out about an engine, through a systemctl, a journal and an API of the test's."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.readiness import COMPLETION, KEY, START, Api, journal_line, shown
from vllm_fleet.payload.engine_facts import watch
from vllm_fleet.payload.engine_facts.app import step
from vllm_fleet.payload.engine_facts.kv_cache import kv_cache_tokens
from vllm_fleet.payload.engine_facts.watch import SERVING, UNKNOWN, Facts, Watch

STARTED = 1795248420.25
"""2026-11-21 08:07:00.25 UTC, as `shown` says."""
METRICS = """\
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{engine="0",skip_layers="[\\"a\\", b]",kv_cache_size_tokens="919824",num_gpu_blocks="57489"} 1.0
"""
PROGRAM = """\
#!/bin/sh
# {name} of a unit: what stands in a file of its name
for word; do case "$word" in vllm-*) cat "{root}/{name}-$word"; exit ;; esac; done
"""


class Host:
    """A directory of engines, and what systemd and the journal say of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.engines, self.programs = root, root / "engines", root / "bin"
        self.engines.mkdir()
        self.programs.mkdir()
        for name in ("systemctl", "journalctl"):
            (self.programs / name).write_text(PROGRAM.format(name=name, root=root), encoding="utf-8")
            (self.programs / name).chmod(0o755)

    def place(self, instance: str, url: str, release: str = "new", *, head: bool = True) -> None:
        """An engine and its current release, older than its start."""
        directory = self.engines / instance
        (directory / "releases" / release).mkdir(parents=True)
        unit = f"vllm-{instance}.service"
        engine = {"instance": instance, "unit": unit, "service": instance, "replica": 1, "head": head}
        engine |= {"url": url, "model_name": "tiny", "start_seconds": 30}
        (directory / "releases" / release / "engine.json").write_text(json.dumps(engine), encoding="utf-8")
        (directory / "secret.yaml").write_text(f"api-key: {KEY}\n", encoding="utf-8")
        os.utime(directory / "secret.yaml", (STARTED - 9, STARTED - 9))
        self.switch(instance, release, STARTED - 9)
        self.say(instance, shown())

    def switch(self, instance: str, release: str, at: float) -> None:
        link = self.engines / instance / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{release}")
        os.utime(link, (at, at), follow_symlinks=False)

    def say(self, instance: str, unit: str, *lines: str) -> None:
        """What systemctl and the journal say from now on."""
        journal = [journal_line(line, _SYSTEMD_INVOCATION_ID="aa") for line in lines]
        (self.root / f"systemctl-vllm-{instance}.service").write_text(unit, encoding="utf-8")
        (self.root / f"journalctl-vllm-{instance}.service").write_text("\n".join(journal), encoding="utf-8")

    def look(self, watched: Watch) -> Facts:
        watched.look()
        assert watched.facts
        return watched.facts


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{host.programs}:{os.environ['PATH']}")
    return host


@pytest.fixture
def chat(host: Host, api: str) -> Watch:
    """An engine that serves."""
    Api.routes = {"/v1/completions": (200, COMPLETION), "/metrics": (200, METRICS)}
    host.place("chat", api)
    return Watch("chat", host.engines)


CLOSED = "http://127.0.0.1:9"


# ---- one look ---------------------------------------------------------------------------------------------------


def test_an_engine_that_serves(host: Host, chat: Watch) -> None:
    before = time.time()
    facts = host.look(chat)
    assert (facts.phase, facts.release, facts.started) == (SERVING, "new", STARTED)
    assert facts.kv_tokens == {"0": 919824}
    assert facts.probe
    assert facts.probe.answer.ok
    assert before <= facts.probe.at <= facts.at
    assert Api.asked == [("/v1/completions", {"model": "tiny", "prompt": "Hi", "max_tokens": 1})]


def test_it_is_asked_for_a_token_once_in_a_while(host: Host, chat: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        host.look(chat)
    assert len(Api.asked) == 1
    monkeypatch.setattr(watch, "PROBE_SECONDS", 0.0)
    host.look(chat)
    assert len(Api.asked) == 2


def test_a_frozen_engine_serves_and_its_probe_fails(host: Host, chat: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/metrics` goes on, as measured on vLLM 0.32."""
    monkeypatch.setattr(watch, "DEADLINE_SECONDS", 0.3)
    Api.routes["/v1/completions"] = (200, None)
    facts = host.look(chat)
    assert facts.phase == SERVING
    assert facts.probe
    assert (facts.probe.answer.ok, facts.probe.answer.why) == (False, "no answer within 0.3 s")
    assert facts.probe.seconds >= 0.3


@pytest.mark.parametrize(
    ("unit", "phase"),
    [
        (shown("activating", "auto-restart", pid=0), "waiting for a restart"),
        (shown("inactive", "dead", pid=0), "stopped"),
        (shown("failed", "failed", pid=0), "failed"),
        (shown("deactivating", "stop-sigterm"), "stopping"),
        ("LoadState=not-found\nActiveState=inactive\n", "stopped"),
    ],
)
def test_one_that_does_not_serve_is_not_asked(host: Host, chat: Watch, unit: str, phase: str) -> None:
    host.look(chat)
    host.say("chat", unit)
    facts = host.look(chat)
    assert (facts.phase, facts.kv_tokens, facts.probe) == (phase, {}, None)
    assert (facts.release is None) == (facts.started is None) == ("MainPID=42" not in unit)
    assert len(Api.asked) == 1


@pytest.mark.parametrize(("lines", "phase"), [(0, "starting"), (5, "loading weights"), (9, "capturing graphs")])
def test_one_that_starts_tells_how_far_it_got(host: Host, lines: int, phase: str) -> None:
    host.place("chat", CLOSED)
    host.say("chat", shown(), *START[:lines])
    facts = host.look(Watch("chat", host.engines))
    assert (facts.phase, facts.release, facts.probe) == (phase, "new", None)


def test_the_lines_of_an_earlier_start_do_not_count(host: Host) -> None:
    host.place("chat", CLOSED)
    host.say("chat", shown(invocation="bb"), *START)
    assert host.look(Watch("chat", host.engines)).phase == "starting"


def test_a_new_start_is_asked_anew(host: Host, chat: Watch) -> None:
    host.look(chat)
    host.say("chat", shown(invocation="bb"))
    Api.routes["/metrics"] = (200, METRICS.replace("919824", "800000"))
    assert host.look(chat).kv_tokens == {"0": 800000}
    assert len(Api.asked) == 2


def test_the_release_of_the_process_not_of_the_link(host: Host, chat: Watch) -> None:
    assert host.look(chat).release == "new"
    os.rename(host.engines / "chat" / "releases" / "new", host.engines / "chat" / "releases" / "newer")
    host.switch("chat", "newer", STARTED + 60)
    assert host.look(chat).release == "new"
    # nobody saw that process start
    assert host.look(Watch("chat", host.engines)).release == UNKNOWN


def test_a_host_that_only_follows_has_no_phase_and_is_not_asked(host: Host, api: str) -> None:
    host.place("large", api, head=False)
    facts = host.look(Watch("large", host.engines))
    assert (facts.phase, facts.release, facts.kv_tokens, facts.probe) == (None, "new", {}, None)
    assert Api.asked == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (METRICS, {"0": 919824}),
        (METRICS + METRICS.splitlines()[1].replace('engine="0"', 'engine="1"'), {"0": 919824, "1": 919824}),
        (METRICS.replace("919824", "None"), {}),
        ("vllm:num_requests_running 0\n", {}),
        ("", {}),
    ],
    ids=["one", "two data parallel ranks", "no KV cache", "not told", "nothing"],
)
def test_the_kv_cache_is_read_from_the_metrics(text: str, tokens: dict[str, int]) -> None:
    assert kv_cache_tokens(text) == tokens


# ---- the file -----------------------------------------------------------------------------------------------------


class Written:
    """The file that the program writes, and the engines it watches."""

    def __init__(self, host: Host) -> None:
        self.path, self.watches, self._engines = host.root / "engines.prom", dict[str, Watch](), host.engines

    def samples(self) -> set[str]:
        """Those of the next file, but times and durations."""
        step(self.watches, self._engines, str(self.path))
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return {line for line in lines if not line.startswith("#") and "_seconds{" not in line}


@pytest.fixture
def written(host: Host) -> Iterator[Written]:
    written = Written(host)
    yield written
    for one in written.watches.values():
        one.stop()


def eventually(look: Callable[[], bool]) -> None:
    """Wait until it is so: the engines are looked at in threads."""
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)  # until the threads have looked; bounded above


CHAT, LARGE = (f'replica="1",service="{name}",unit="vllm-{name}.service"' for name in ("chat", "large"))
OF_CHAT = {
    f'vllm_fleet_engine_phase_info{{phase="serving",{CHAT}}} 1.0',
    f'vllm_fleet_engine_running_info{{release="new",{CHAT}}} 1.0',
    f'vllm_fleet_kv_cache_tokens{{engine="0",{CHAT}}} 919824.0',
    f"vllm_fleet_probe_success{{{CHAT}}} 1.0",
}
OF_LARGE = {f'vllm_fleet_engine_running_info{{release="new",{LARGE}}} 1.0'}


@pytest.mark.usefixtures("chat")
def test_what_is_written_and_that_nothing_of_a_removed_engine_stays(host: Host, written: Written, api: str) -> None:
    host.place("large", api, head=False)
    eventually(lambda: written.samples() == OF_CHAT | OF_LARGE)
    assert KEY not in written.path.read_text(encoding="utf-8")
    os.rename(host.engines / "chat", host.root / "removed")
    assert written.samples() == OF_LARGE
    assert list(host.root.glob("engines.prom*")) == [written.path]


@pytest.mark.usefixtures("chat")
def test_a_frozen_engine_keeps_no_other_waiting(host: Host, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "METRICS_SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host.place("a-frozen-one", f"http://127.0.0.1:{silent.getsockname()[1]}")
        eventually(lambda: written.samples() == OF_CHAT)
        assert written.watches["a-frozen-one"].facts is None


@pytest.mark.usefixtures("chat")
def test_why_there_was_no_answer_is_told(written: Written) -> None:
    Api.routes["/v1/completions"] = (500, "")
    wanted = {
        f"vllm_fleet_probe_success{{{CHAT}}} 0.0",
        f'vllm_fleet_probe_failure_info{{reason="HTTP 500",{CHAT}}} 1.0',
    }
    eventually(lambda: wanted <= written.samples())


@pytest.mark.usefixtures("chat")
def test_an_engine_without_files_is_one_line_and_has_no_facts(
    host: Host, written: Written, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "PROBE_SECONDS", 0.0)
    (host.engines / "half").mkdir()
    written.samples()
    eventually(lambda: len(Api.asked) > 5)  # so often it was looked at, too
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("half: FileNotFoundError: ")
    assert written.samples() == OF_CHAT
