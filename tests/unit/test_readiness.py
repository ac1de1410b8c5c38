"""payload/readiness/ready.py: what it reads in an engine's files, and what it does with the links.

The whole program, too, as a deploy installs it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.readiness import BAD_OPTION, COMPLETION, KEY, NO_MEMORY, START, Api, journal_line, shown
from vllm_fleet import paths
from vllm_fleet.payload.readiness import ready
from vllm_fleet.payload.readiness.journal import unit_of
from vllm_fleet.roles.engine import programs

# ---- files and links --------------------------------------------------------------------------------------------


def make_release(directory: Path, release: str, **values: Any) -> None:
    target = directory / "releases" / release
    target.mkdir(parents=True)
    engine = {
        "instance": "chat",
        "unit": "vllm-chat.service",
        "service": "chat",
        "replica": 0,
        "head": True,
        "url": "http://127.0.0.1:9",
        "model_name": "tiny",
        "runtime": "venv",
        "start_seconds": 30,
    }
    (target / "engine.json").write_text(json.dumps(engine | values), encoding="utf-8")


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    """Engine `chat` with the releases `new` (current) and `old` (good)."""
    directory = tmp_path / "chat"
    make_release(directory, "new")
    make_release(directory, "old")
    (directory / "secret.yaml").write_text(f'api-key: "{KEY}"\n', encoding="utf-8")
    ready.point(directory / "current", "releases/new")
    ready.point(directory / "good", "releases/old")
    return tmp_path


def test_an_engine_is_loaded_from_current(engines: Path) -> None:
    engine = ready.load("chat", engines)
    assert (engine.release, engine.unit) == ("new", "vllm-chat.service")
    assert ready.key_of(engine.directory) == KEY


@pytest.mark.parametrize("key", ["plain-key", "12345", "!tag", "it's", "'quoted'", '"double"', "a#b", "{x}", "ключ"])
def test_a_key_is_read_as_the_deploy_writes_it(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump({"api-key": key}), encoding="utf-8")
    assert ready.key_of(tmp_path) == key


@pytest.mark.parametrize("text", ["", "api-key:\n", 'api-key: ""\n', "other: x\n"])
def test_a_secret_file_without_a_key_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="no api-key"):
        ready.key_of(tmp_path)


def test_a_link_is_switched_and_leaves_nothing_behind(engines: Path) -> None:
    link = engines / "chat" / "good"
    ready.point(link, "releases/new")
    assert os.readlink(link) == "releases/new"
    assert sorted(os.listdir(engines / "chat")) == ["current", "good", "releases", "secret.yaml"]


def test_a_link_to_a_removed_release_names_none(engines: Path) -> None:
    link = engines / "chat" / "good"
    assert ready.target_of(link) == "old"
    ready.point(link, "releases/removed")
    assert ready.target_of(link) is None
    assert ready.target_of(engines / "chat" / "absent") is None


def test_a_process_older_than_the_link_or_the_key_does_not_run_the_release(engines: Path) -> None:
    unit = unit_of(shown())
    directory = engines / "chat"
    assert unit.started is not None
    before, after = unit.started.timestamp() - 1, unit.started.timestamp() + 1
    for name, when, runs in [
        ("current", before, False),
        ("secret.yaml", before, True),
        ("current", after, False),
        ("current", before, True),
        ("secret.yaml", after, False),
    ]:
        os.utime(directory / name, (when, when), follow_symlinks=False)
        assert ready.runs_current(unit, directory) is runs
    os.utime(directory / "secret.yaml", (before, before))
    assert not ready.runs_current(unit_of(shown(pid=0)), directory)


# ---- the whole program against commands that stand in for systemctl and journalctl ------------------------------

SYSTEMCTL = """\
#!/bin/sh
# `show` prints the state of the release that `current` names; `restart` is noted
echo "$*" >> {root}/commands
release=$(basename "$(readlink {root}/chat/current)")
case "$1" in
  show) cat "{root}/show-$release" ;;
  restart) if [ -f "{root}/restarted-$release" ]; then cp "{root}/restarted-$release" "{root}/show-$release"; fi ;;
esac
"""
JOURNALCTL = """\
#!/bin/sh
case "$*" in *--since=*--unit*|*--unit*--since=*)
  cat "{root}/journal-$(basename "$(readlink {root}/chat/current)")" ;; esac
"""


@pytest.fixture
def host(engines: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's directory root, with `systemctl` and `journalctl` of its own and quick polls."""
    programs = engines / "bin"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (programs / name).write_text(text.format(root=engines), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(ready, "ENGINES", engines)
    monkeypatch.setattr(ready, "POLL_SECONDS", 0.01)
    before = 1_700_000_000
    for link in ("current", "good", "secret.yaml"):
        os.utime(engines / "chat" / link, (before, before), follow_symlinks=False)
    return engines


def state(host: Path, release: str, unit: str, lines: list[str]) -> None:
    (host / f"show-{release}").write_text(unit, encoding="utf-8")
    journal = "\n".join(journal_line(line, _SYSTEMD_INVOCATION_ID="aa") for line in lines)
    (host / f"journal-{release}").write_text(journal + "\n", encoding="utf-8")


def started_now() -> str:
    stamp = time.strftime("%a %Y-%m-%d %H:%M:%S.999999 UTC", time.gmtime(time.time() + 5))
    return shown().replace("Sat 2026-11-21 08:07:00.250000 UTC", stamp)


def said(output: str) -> str:
    """What was said, whatever time it took: this machine may be busy."""
    return re.sub(r"\d+ s\)", "N s)", output)


def serve(host: Path, release: str, url: str) -> None:
    path = host / "chat" / "releases" / release / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"url": url}), encoding="utf-8")


def test_an_engine_that_answers_becomes_good(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    assert ready.main(["chat", "--once"]) == 0
    assert ready.target_of(host / "chat" / "good") == "old"
    assert ready.main(["chat", "--wait"]) == 0
    assert ready.target_of(host / "chat" / "good") == "new"
    assert said(capsys.readouterr().out) == "chat: answers\nchat: answers (release new, N s)\n"


def second(host: Path, url: str) -> None:
    """An engine `embed` beside `chat`, whose unit is in the same state."""
    directory = host / "embed"
    make_release(directory, "new", instance="embed", unit="vllm-embed.service", url=url)
    (directory / "secret.yaml").write_text(f'api-key: "{KEY}"\n', encoding="utf-8")
    ready.point(directory / "current", "releases/new")
    for name in ("current", "secret.yaml"):
        os.utime(directory / name, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def test_several_engines_are_asked_in_turn(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    second(host, api)
    state(host, "new", shown(), START)
    assert ready.main(["chat", "embed", "--once"]) == 0
    assert len(Api.asked) == 2
    assert ready.main(["embed", "chat", "--wait"]) == 0
    assert [ready.target_of(host / name / "good") for name in ("chat", "embed")] == ["new", "new"]
    assert said(capsys.readouterr().out).splitlines() == [
        "chat: answers",
        "embed: answers",
        "embed: answers (release new, N s)",
        "chat: answers (release new, N s)",
    ]


@pytest.mark.parametrize("mode", ["--once", "--wait"])
@pytest.mark.parametrize("order", ["absent chat embed", "chat absent embed", "chat embed absent"])
def test_each_engine_has_its_turn_whatever_came_of_the_others(
    host: Path, api: str, capsys: pytest.CaptureFixture[str], order: str, mode: str
) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    second(host, api)
    state(host, "new", shown(), START)
    assert ready.main([*order.split(), mode]) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("absent: not ready: starting: FileNotFoundError: ")
    assert [line.split(":")[0] for line in out.splitlines()] == ["chat", "embed"]
    assert ready.target_of(host / "chat" / "good") == ("new" if mode == "--wait" else "old")


def test_an_engine_that_does_not_answer_leaves_the_next_its_turn(host: Path, api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    second(host, api)
    # chat's port is nobody's, so within its time nothing answers
    path = host / "chat" / "releases" / "new" / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start_seconds": 0.05}), encoding="utf-8")
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START[:5])
    assert ready.main(["chat", "embed", "--wait"]) == 1
    assert ready.target_of(host / "embed" / "good") == "new"


def make_old_releases(directory: Path) -> None:
    """The releases r1 (oldest) to r6."""
    for number in range(1, 7):
        make_release(directory, f"r{number}")
        os.utime(directory / "releases" / f"r{number}", (number, number))


def releases(directory: Path) -> list[str]:
    return sorted(os.listdir(directory / "releases"))


@pytest.mark.parametrize(
    "current, good, kept",
    [
        ("r6", "r1", ["r1", "r4", "r5", "r6"]),
        ("r6", "r6", ["r4", "r5", "r6"]),
        ("r2", "r3", ["r2", "r3", "r5", "r6"]),
        ("r5", None, ["r4", "r5", "r6"]),
    ],
)
def test_the_linked_releases_and_the_two_latest_others_stay(
    tmp_path: Path, current: str, good: str | None, kept: list[str]
) -> None:
    directory = tmp_path / "chat"
    make_old_releases(directory)
    ready.point(directory / "current", f"releases/{current}")
    if good:
        ready.point(directory / "good", f"releases/{good}")
    engine = ready.load("chat", tmp_path)
    for _ in range(2):
        ready.prune(engine)
        assert releases(directory) == kept
    assert (directory / "current" / "engine.json").exists()


def test_old_releases_go_when_a_new_one_answers(host: Path, api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    directory = host / "chat"
    serve(host, "new", api)
    state(host, "new", shown(), START)
    make_old_releases(directory)
    os.utime(directory / "releases" / "old", (3.5, 3.5))
    # a look removes nothing, nor does a release that does not answer
    assert ready.main(["chat", "--once"]) == 0
    state(host, "old", shown("failed", "failed", pid=0), NO_MEMORY)
    os.rename(host / "show-new", host / "show-later")
    state(host, "new", shown("failed", "failed", pid=0), NO_MEMORY)
    assert ready.main(["chat", "--wait"]) == 1
    assert len(releases(directory)) == 8
    ready.point(directory / "current", "releases/new")
    os.utime(directory / "current", (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    os.rename(host / "show-later", host / "show-new")
    assert ready.main(["chat", "--wait"]) == 0
    # `good` is the current one by then, so what was good is one of the others
    assert ready.target_of(directory / "good") == "new"
    assert releases(directory) == ["new", "r5", "r6"]


def test_an_engine_of_another_release_does_not_count(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    # switched after that start
    os.utime(host / "chat" / "current", (4e9, 4e9), follow_symlinks=False)
    assert ready.main(["chat", "--once"]) == 1
    assert Api.asked == []
    assert capsys.readouterr().out == (
        "chat: does not answer: its unit is active (running) and does not run release new yet\n"
    )


def test_an_engine_that_nobody_restarted_is(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    (host / "restarted-new").write_text(started_now(), encoding="utf-8")
    os.utime(host / "chat" / "current", (time.time(), time.time()), follow_symlinks=False)
    assert ready.main(["chat", "--wait"]) == 0
    assert said(capsys.readouterr().out).splitlines() == [
        "chat: still runs with an older release or key; restarting it",
        "chat: answers (release new, N s)",
    ]


def test_a_bad_option_ends_the_wait_and_the_old_release_comes_back(
    host: Path, api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "old", api)
    state(host, "new", shown("activating", "auto-restart", pid=0), [*START[:1], *BAD_OPTION])
    state(host, "old", started_now(), START)
    assert ready.main(["chat", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert said(out) == "chat: waiting for a restart (N s)\nchat: going back to release old\n"
    assert err.splitlines() == [
        (
            "chat: not ready: starting: vLLM refuses an option: unrecognized arguments: --swap-space 4; "
            "correct the service's options"
        ),
        "  vllm serve: error: unrecognized arguments: --swap-space 4",
        "chat: rolled back to release old, which answers",
    ]
    assert ready.target_of(host / "chat" / "current") == "old"
    commands = [line for line in (host / "commands").read_text().splitlines() if not line.startswith("show")]
    assert commands == ["reset-failed vllm-chat.service", "restart vllm-chat.service"]


def test_a_key_in_a_refused_option_is_not_shown(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready.point(host / "chat" / "good", "releases/new")
    refused = f"vllm: error: unrecognized arguments: --apikey {KEY}"
    state(host, "new", shown("activating", "auto-restart", pid=0), [refused])
    assert ready.main(["chat", "--wait"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("chat: not ready: starting: vLLM refuses an option: unrecognized arguments: --apikey ***;")
    assert KEY not in err


def test_a_release_that_does_not_answer_either_is_said_so(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state(host, "new", shown("activating", "auto-restart", pid=0), BAD_OPTION)
    state(host, "old", shown("failed", "failed", pid=0), NO_MEMORY)
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "chat: rolled back to release old, which does not answer either: the weights leave no memory for the KV cache"
    )


@pytest.mark.parametrize(
    ("good", "said"),
    [
        ("new", "chat: not rolled back: this release is the last that answered"),
        ("removed", "chat: not rolled back: no release has answered yet"),
    ],
)
def test_without_another_good_release_nothing_is_switched(
    host: Path, good: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.point(host / "chat" / "good", f"releases/{good}")
    state(host, "new", shown("activating", "auto-restart", pid=0), BAD_OPTION)
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert ready.target_of(host / "chat" / "current") == "new"
    assert "restart" not in (host / "commands").read_text()


def test_a_silent_engine_meets_start_seconds(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine_json = host / "chat" / "releases" / "new" / "engine.json"
    engine_json.write_text(json.dumps(json.loads(engine_json.read_text()) | {"start_seconds": 0.2}), encoding="utf-8")
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START[:5])
    assert ready.main(["chat", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert said(out) == "chat: loading weights (N s)\n"
    assert err.splitlines()[0] == (
        "chat: not ready: loading weights: no answer within 0.2 s (last: connection refused); "
        "raise start_seconds if it was still on its way, else read journalctl -u vllm-chat.service"
    )


def test_a_refused_key_ends_the_wait(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve(host, "new", api)
    (host / "chat" / "secret.yaml").write_text("api-key: another-key\n", encoding="utf-8")
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START)
    assert ready.main(["chat", "--wait"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("chat: not ready: serving: the key in secret.yaml is refused (HTTP 401); ")
    assert "another-key" not in err


def test_a_stranger_on_the_port_does_not_end_the_wait(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve(host, "new", api)  # it answers 404 to everything
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START[:3])
    path = host / "chat" / "releases" / "new" / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start_seconds": 0.2}), encoding="utf-8")
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.startswith("chat: not ready: starting: no answer within 0.2 s (last: no route takes")


@pytest.mark.usefixtures("host")
def test_an_engine_without_files_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ready.main(["absent", "--once"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("absent: not ready: starting: FileNotFoundError: ")


def test_the_program_runs_from_the_files_that_a_deploy_installs(tmp_path: Path) -> None:
    for file in programs():
        path = tmp_path / file.path.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
    # called in a directory of somebody's own, whose files root must not import
    (tmp_path / "json.py").write_text("raise SystemExit('not the standard library')", encoding="utf-8")
    command = paths.READY_COMMAND.replace(paths.PROGRAMS, f"{tmp_path}{paths.PROGRAMS}")
    # -S: the standard library alone
    command = command.replace("python3", f"{sys.executable} -S")
    done = subprocess.run(
        ["sh", "-c", f"{command} absent --once"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("absent: not ready: starting: FileNotFoundError: ")
    assert not list(tmp_path.rglob("__pycache__"))
