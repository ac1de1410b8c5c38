"""The operations, run by pyinfra on this machine as the current user, on paths in a test's directory.

systemctl and apt-get are a test's own. Weights and engines stand in test_operations_of_engines.py; what only calls
docker, in tests/host; when a host is asked, in test_converge.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.unit.deploys import GROUP, OWNER, Apply, Deploy, Systemd, applier, directory, file, mode_of, staged
from vllm_fleet import packages, paths
from vllm_fleet.operations import require, run_unless, tree
from vllm_fleet.render.files import Entry, Link
from vllm_fleet.tree import Tree, Unit, archive

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture
def apply() -> Apply:
    return applier()


# ---- trees: files -----------------------------------------------------------------------------------------------


def test_files_get_their_content_and_mode(apply: Apply, tmp_path: Path) -> None:
    wanted = {
        tmp_path / "etc" / "new" / "start": ("#!/bin/sh\nexec 'x' \"$y\" \\n\n", "0755"),
        tmp_path / "etc" / "secret.yaml": ("api-key: größe\n", "0600"),
        tmp_path / "etc" / "a name": ("", "0660"),  # more than the umask would leave
        tmp_path / "etc" / "large": ("0123456789abcdef" * 20_000, "0644"),  # longer than a command line may be
    }
    assert apply(tree, entries=[file(path, *state) for path, state in wanted.items()])
    for path, (content, mode) in wanted.items():
        assert path.read_text(encoding="utf-8") == content
        assert mode_of(path) == int(mode, 8)
        assert (path.owner(), path.group()) == (OWNER, GROUP)
    assert mode_of(tmp_path / "etc" / "new") == 0o755


def test_files_as_wanted_are_left_alone(apply: Apply, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", "a\n"), file(tmp_path / "b", "b\n", "0600", secret=True)]
    apply(tree, entries=files)
    untouched = (tmp_path / "a").stat().st_ino
    assert not apply(tree, entries=files)
    # a mode that changed is put right, and only there
    (tmp_path / "b").chmod(0o644)
    assert apply(tree, entries=files)
    assert mode_of(tmp_path / "b") == 0o600
    assert (tmp_path / "a").stat().st_ino == untouched


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(apply: Apply, tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("old")
    with path.open() as reader:
        assert apply(tree, entries=[file(path, "new")])
        # who had it open reads on in the old file
        assert reader.read() == "old"
        assert os.fstat(reader.fileno()).st_ino != path.stat().st_ino
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    assert not staged(tmp_path)


def test_a_link_is_replaced_not_followed(apply: Apply, tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "path"
    other.write_text("another's")
    path.symlink_to(other)
    assert apply(tree, entries=[file(path, "new")])
    assert not path.is_symlink()
    assert (path.read_text(), other.read_text()) == ("new", "another's")


def test_a_link_is_switched_and_then_left_alone(apply: Apply, tmp_path: Path) -> None:
    path = tmp_path / "current"
    for target in ("releases/a", "releases/b"):
        (tmp_path / target).mkdir(parents=True)  # a link to a directory must not be entered
        assert apply(tree, entries=[Link(str(path), target)])
        assert not apply(tree, entries=[Link(str(path), target)])
        assert os.readlink(path) == target
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "releases"]
    assert not any((tmp_path / "releases" / "a").iterdir())


def test_strangers_alone_are_a_change(apply: Apply, tmp_path: Path) -> None:
    own, entries = [str(tmp_path)], [file(tmp_path / "key")]
    apply(tree, entries=entries, owns=own)
    (tmp_path / "old key").touch()
    assert apply(tree, entries=entries, owns=own)
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
    assert not apply(tree, entries=entries, owns=own)


# ---- trees: checks ----------------------------------------------------------------------------------------------


def test_a_check_sees_all_entries_before_any_goes_live(apply: Apply, tmp_path: Path) -> None:
    live, same, link, cache = (tmp_path / name for name in ("live", "same", "link", "cache"))
    live.write_text("old")
    unchanged: list[Entry] = [file(same, "same", "0600", secret=True), Link(str(link), "same"), directory(cache)]
    apply(tree, entries=unchanged)
    there = f'[ "$(cat "$stage{live}" {live})" = newold ]'
    check = f'{there} && [ "$(cat "$stage{same}")" = same ] && [ -L "$stage{link}" ] && [ -d "$stage{cache}" ]'
    assert apply(tree, entries=[file(live, "new"), *unchanged], check=check)
    assert live.read_text() == "new"


@pytest.mark.parametrize("check", ["false", "false; true", "false && true", "exit 3"])
def test_a_failing_check_leaves_everything_as_it_was(
    apply: Apply, machine: Path, systemd: Systemd, tmp_path: Path, check: str
) -> None:
    systemd.runs("a.service")
    etc = tmp_path / "etc"
    old, new, stranger = etc / "old", etc / "sub" / "new", etc / "stranger"
    etc.mkdir()
    old.write_text("old")
    stranger.write_text("")
    inode = old.stat().st_ino
    wanted = [file(old, "changed"), file(new, "new"), Link(str(etc / "link"), "old"), directory(etc / "directory")]
    units = [Unit("a.service", restart_on=(*wanted,))]
    with pytest.raises(PyinfraError):
        apply(tree, entries=wanted, units=units, owns=[str(etc)], check=check)
    assert (old.read_text(), old.stat().st_ino) == ("old", inode)
    assert sorted(etc.iterdir()) == [old, stranger]
    assert not staged(tmp_path)
    # and no unit has anything to take up
    assert systemd.called() == []
    assert not machine.exists()


def test_a_check_is_not_run_when_nothing_changed(apply: Apply, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", "a")]
    apply(tree, entries=files)
    assert not apply(tree, entries=files, check="false")


# ---- trees: units -----------------------------------------------------------------------------------------------


def test_units_take_up_what_changed(apply: Apply, systemd: Systemd, tmp_path: Path) -> None:
    def wanted(config: str, key: str) -> dict[str, Any]:
        first, second = file(tmp_path / "config", config), file(tmp_path / "key", key, "0600", secret=True)
        unit = Unit("haproxy.service", restart_on=(first,), reload_on=(second,))
        return {"name": "HAProxy, the gateway's door", "entries": [first, second], "units": [unit]}

    assert apply(tree, **wanted("a", "a"))
    assert systemd.called() == ["enable haproxy.service", "restart haproxy.service"]
    assert not apply(tree, **wanted("a", "a"))
    assert systemd.called() == []
    assert apply(tree, **wanted("a", "b"))
    assert systemd.called() == ["reload-or-restart haproxy.service"]
    assert apply(tree, **wanted("b", "c"))
    assert systemd.called() == ["restart haproxy.service"]
    assert not apply(tree, **wanted("b", "c"))


def test_a_unit_that_does_not_come_up_fails_each_deploy_until_it_does(
    apply: Apply, machine: Path, systemd: Systemd, tmp_path: Path
) -> None:
    config = file(tmp_path / "config", "new")
    wanted: dict[str, Any] = {"entries": [config], "units": [Unit("a.service", restart_on=(config,))]}
    systemd.runs("a.service")
    systemd.fails("restart a.service")
    for _ in range(2):
        with pytest.raises(PyinfraError):
            apply(tree, **wanted)
        assert systemd.called() == ["restart a.service"]
    systemd.fails()
    assert apply(tree, **wanted)
    assert not apply(tree, **wanted)
    assert not any(path.is_file() for path in machine.rglob("*"))


# ---- trees: packages --------------------------------------------------------------------------------------------

PACKAGES = ["no-such-package", "it's none", "$(touch /nowhere)"]


def test_packages_are_installed_by_one_quoted_script() -> None:
    deploy = Deploy()
    (command,) = deploy.commands_of(deploy.add(tree, name="packages", packages=PACKAGES))
    shell, _, script = shlex.split(command)
    assert shell == "sh"
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    assert "--no-install-recommends" in script
    assert script.rstrip().endswith(shlex.join(PACKAGES))
    assert len(deploy.commands["here"]) == 1  # it was asked, and nothing was run


def test_package_lists_are_read_once_a_day(
    apply: Apply, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, stamp = tmp_path / "noted", tmp_path / "state" / "apt-updated"
    systemd.program("apt-get", f'#!/bin/sh\nfor last; do :; done; echo "$1 $last $DEBIAN_FRONTEND" >> {noted}\n')
    monkeypatch.setattr(packages, "STAMP", str(stamp))
    for age_hours, lists_are_read in [(None, True), (0, False), (25, True), (0, False)]:
        if age_hours is not None:
            then = stamp.stat().st_mtime - age_hours * 3600
            os.utime(stamp, (then, then))
        noted.unlink(missing_ok=True)
        assert apply(tree, packages=["no-such-package"])
        ran = noted.read_text().splitlines()
        assert ran[-1] == "install no-such-package noninteractive"
        assert [line.split()[0] for line in ran[:-1]] == (["update"] if lists_are_read else [])


# ---- what is shown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there_before", [False, True])
def test_a_secret_is_shown_neither_in_a_diff_nor_in_a_command(
    tmp_path: Path, there_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key, plain = file(tmp_path / "key", "sk-new\n", "0600", secret=True), file(tmp_path / "plain", "seen-new\n")
    if there_before:
        (tmp_path / "key").write_text("sk-old\n")
        (tmp_path / "plain").write_text("seen-old\n")
    with caplog.at_level("DEBUG", "pyinfra"):
        applier(diff=True)(tree, entries=[key, plain])
    shown = caplog.text
    assert "seen-new" in shown
    assert ("seen-old" in shown) is there_before
    assert "base64 -d | tar" in shown
    assert "sk-" not in shown
    # the files go to standard input, for a command line is anyone's to read
    sent = archive(Tree("", (key, plain)))
    assert sent.splitlines()[0] not in shown
    assert "".join(sent.split()) not in "".join(shown.split())


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said since the last call, without styles and the host's name."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()) for record in caplog.records]
    caplog.clear()
    return [line.split("] ", 1)[-1].rstrip() for line in lines if "Will " in line or line.startswith("  ")]


def test_a_plan_names_paths_and_shows_no_content(
    systemd: Systemd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("changed", "stranger", "key"):
        (own / name).write_text("old-content")
    systemd.runs("b.service")
    changed, key = file(own / "changed", "new-content"), file(own / "key", "sk-new", "0600", secret=True)
    unit = file(Path(f"{paths.UNITS}/a.service"), "new-content")
    wanted: dict[str, Any] = {
        "entries": [changed, key, Link(str(own / "link"), "a"), directory(own / "cache"), unit],
        "packages": ["no-such-package", "none-either"],
        "units": [Unit("a.service", restart_on=(unit,)), Unit("b.service", reload_on=(changed,))],
        "owns": [str(own)],
    }
    with caplog.at_level("INFO", "pyinfra"):
        plan = Deploy(look_first=True)
        assert plan.add(tree, name="a plan", **wanted).will_change
        assert said(caplog) == [
            "Will install no-such-package none-either",
            f"Will modify {own}/changed",
            f"Will modify {own}/key",
            f"Will create {own}/link",
            f"Will create {own}/cache",
            f"Will create {paths.UNITS}/a.service",
            f"Will remove {own}/stranger",
            "Will daemon-reload",
            "Will enable a.service",
            "Will restart a.service",
            "Will reload-or-restart b.service",
        ]
    assert len(plan.commands["here"]) == 1
    assert sorted(path.name for path in own.iterdir()) == ["changed", "key", "stranger"]
    assert systemd.called() == []


def test_a_plan_with_diff_shows_what_is_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").write_text("same\nold\n")
    (tmp_path / "b").symlink_to("a")
    entries = [
        file(tmp_path / "a", "same\nnew\n", "0600"),
        file(tmp_path / "b", "b\n"),
        file(tmp_path / "key", "sk-1\n", secret=True),
    ]
    with caplog.at_level("INFO", "pyinfra"):
        Deploy(look_first=True, diff=True).add(tree, name="a plan", entries=entries)
        shown = said(caplog)
    first, second, third = (shown.index(f"Will {what} {tmp_path}/{name}") for what, name in [
        ("modify", "a"), ("modify", "b"), ("create", "key"),
    ])  # fmt: skip
    of_a, of_b, of_key = shown[first + 1 : second], shown[second + 1 : third], shown[third + 1 :]
    assert "  - old" in of_a
    assert "  + new" in of_a
    assert of_a[-1] == "  mode 644 to 0600"
    # what a link points to is another's, and its target no mode
    assert [line for line in of_b if line.startswith(("  + ", "  - ", "  mode"))] == ["  + b"]
    assert of_key == ["  (secret content is not shown)"]


def test_a_diff_of_what_is_no_text_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "program").write_bytes(b"\xffold")
    with caplog.at_level("INFO", "pyinfra"):
        Deploy(look_first=True, diff=True).add(tree, name="a plan", entries=[file(tmp_path / "program", b"\xffnew\n")])
    assert said(caplog) == [f"Will modify {tmp_path}/program", "  (binary content, 5 bytes)"]


def test_a_deploy_without_diff_says_nothing_of_paths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "pyinfra"):
        applier()(tree, entries=[file(tmp_path / "a")])
    assert said(caplog) == []


# ---- commands and requirements ----------------------------------------------------------------------------------


def test_a_command_runs_unless_its_test_succeeds(apply: Apply, tmp_path: Path) -> None:
    made = tmp_path / "made"
    arguments = {"command": f'echo made >> {made}; echo "it\'s" >/dev/null', "test": f"[ -f {made} ]"}
    assert apply(run_unless, **arguments)
    assert not apply(run_unless, **arguments)
    assert made.read_text() == "made\n"


def test_a_requirement_that_fails_says_its_message(apply: Apply, caplog: pytest.LogCaptureFixture) -> None:
    assert not apply(require, test="true", message="never said")
    with caplog.at_level("ERROR", "pyinfra"), pytest.raises(PyinfraError):
        apply(require, test="false", message="the driver's too old; update it")
    assert "the driver's too old; update it" in caplog.text
    assert "never said" not in caplog.text
