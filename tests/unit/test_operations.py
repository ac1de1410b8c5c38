"""The operations, run by pyinfra on this machine as the current user, on paths in a test's directory.

Those that only call systemctl or docker stand in tests/host.
"""

from __future__ import annotations

import base64
import grp
import io
import os
import pwd
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op

from vllm_fleet import operations
from vllm_fleet.facts import Files
from vllm_fleet.operations import link, put_files, remove_old_releases, require, run_unless
from vllm_fleet.render.files import File

OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name

Apply = Callable[..., bool]


def applier(diff: bool = False) -> Apply:
    """Runs an operation as a deploy would; whether it changed anything. Raises PyinfraError when it fails."""
    state = State(Inventory((["@local"], {})), Config(FAIL_PERCENT=0, DIFF=diff))
    connect_all(state)
    # operations run as they are added, without a look ahead at what they would change
    state.is_executing = True
    state.check_for_changes = False

    def run(operation: Any, **arguments: Any) -> bool:
        (done,) = add_op(state, operation, **arguments).values()
        return bool(done.did_change())

    return run


@pytest.fixture
def apply() -> Apply:
    return applier()


def file(path: Path, content: str, mode: str = "0644", **more: Any) -> File:
    return File(str(path), content, mode, OWNER, GROUP, **more)


def staged(path: Path) -> list[Path]:
    """What was staged for a path and is still there."""
    return list(Path("/var/tmp").glob(f"vllm-fleet.*/{str(path).lstrip('/')}"))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# ---- files ------------------------------------------------------------------------------------------------------


def test_files_get_their_content_and_mode(apply: Apply, tmp_path: Path) -> None:
    wanted = {
        tmp_path / "etc" / "new" / "start": ("#!/bin/sh\nexec 'x' \"$y\" \\n\n", "0755"),
        tmp_path / "etc" / "secret.yaml": ("api-key: größe\n", "0600"),
        tmp_path / "etc" / "a name": ("", "0660"),  # more than the umask would leave
        tmp_path / "etc" / "large": ("0123456789abcdef" * 20_000, "0644"),  # longer than a command line may be
    }
    assert apply(put_files, files=[file(path, *state) for path, state in wanted.items()])
    for path, (content, mode) in wanted.items():
        assert path.read_text(encoding="utf-8") == content
        assert mode_of(path) == int(mode, 8)
        assert (path.owner(), path.group()) == (OWNER, GROUP)
    assert mode_of(tmp_path / "etc" / "new") == 0o755


def test_files_as_wanted_are_left_alone(apply: Apply, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", "a\n"), file(tmp_path / "b", "b\n", "0600")]
    apply(put_files, files=files)
    untouched = (tmp_path / "a").stat().st_ino
    assert not apply(put_files, files=files)
    # a mode that changed is put right, and only there
    (tmp_path / "b").chmod(0o644)
    assert apply(put_files, files=files)
    assert mode_of(tmp_path / "b") == 0o600
    assert (tmp_path / "a").stat().st_ino == untouched


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(apply: Apply, tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("old")
    with path.open() as reader:
        assert apply(put_files, files=[file(path, "new")])
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
    assert apply(put_files, files=[file(path, "new")])
    assert not path.is_symlink()
    assert (path.read_text(), other.read_text()) == ("new", "another's")


def test_a_check_sees_the_changed_files_before_they_go_live(apply: Apply, tmp_path: Path) -> None:
    live, same = tmp_path / "live", tmp_path / "same"
    live.write_text("old")
    apply(put_files, files=[file(same, "same")])
    check = f'[ "$(cat "$stage{live}" {live})" = newold ] && [ ! -e "$stage{same}" ]'
    assert apply(put_files, files=[file(live, "new"), file(same, "same")], check=check)
    assert live.read_text() == "new"


@pytest.mark.parametrize("check", ["false", "false; true", "false && true", "exit 3"])
def test_a_failing_check_leaves_everything_as_it_was(apply: Apply, tmp_path: Path, check: str) -> None:
    old, new = tmp_path / "old", tmp_path / "sub" / "new"
    old.write_text("old")
    inode = old.stat().st_ino
    with pytest.raises(PyinfraError):
        apply(put_files, files=[file(old, "changed"), file(new, "new")], check=check)
    assert (old.read_text(), old.stat().st_ino) == ("old", inode)
    assert list(tmp_path.iterdir()) == [old]
    assert not staged(tmp_path)


def test_a_check_is_not_run_when_nothing_changed(apply: Apply, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", "a")]
    apply(put_files, files=files)
    assert not apply(put_files, files=files, check="false")


def test_what_is_wanted_is_what_the_fact_sees_afterwards(apply: Apply, tmp_path: Path) -> None:
    wanted = file(tmp_path / "key", "no end of line", "0600")
    apply(put_files, files=[wanted])
    command = Files().command(paths=[wanted.path], salt=operations.RUN_SALT)
    with os.popen(command) as shell:
        assert Files().process(shell.read().splitlines()) == {wanted.path: operations._wanted(wanted)}


def test_the_archive_names_owners_and_no_absolute_path() -> None:
    sent = operations._archive([File("/etc/a/key", "größe", "0600", "root", "haproxy"), File("/etc/b", "")])
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(sent))) as archive:
        first, second = archive.getmembers()
        content = archive.extractfile(first)
        assert content is not None
        assert content.read().decode() == "größe"
    assert (first.name, first.mode, first.uname, first.gname) == ("etc/a/key", 0o600, "root", "haproxy")
    assert (second.name, second.mode, second.size) == ("etc/b", 0o644, 0)


@pytest.mark.parametrize("there_before", [False, True])
def test_a_secret_is_shown_neither_in_a_diff_nor_in_a_command(
    tmp_path: Path, there_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key, plain = file(tmp_path / "key", "sk-new\n", "0600", secret=True), file(tmp_path / "plain", "seen-new\n")
    if there_before:
        (tmp_path / "key").write_text("sk-old\n")
        (tmp_path / "plain").write_text("seen-old\n")
    with caplog.at_level("DEBUG", "pyinfra"):
        applier(diff=True)(put_files, files=[key, plain])
    shown = caplog.text
    assert "seen-new" in shown
    assert ("seen-old" in shown) is there_before
    assert "base64 -d | tar" in shown
    assert "sk-" not in shown
    # the files go to standard input, for a command line is anyone's to read
    assert operations._archive([key, plain]).splitlines()[0] not in shown


# ---- links, releases, tests -------------------------------------------------------------------------------------


def test_a_link_is_switched_and_then_left_alone(apply: Apply, tmp_path: Path) -> None:
    path = tmp_path / "current"
    for target in ("releases/a", "releases/b"):
        (tmp_path / target).mkdir(parents=True)  # a link to a directory must not be entered
        assert apply(link, path=str(path), target=target)
        assert not apply(link, path=str(path), target=target)
        assert os.readlink(path) == target
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "releases"]
    assert not any((tmp_path / "releases" / "a").iterdir())


def test_a_link_left_half_switched_does_no_harm(apply: Apply, tmp_path: Path) -> None:
    (tmp_path / "releases" / "a").mkdir(parents=True)
    (tmp_path / "current.new").symlink_to("releases/a")
    assert apply(link, path=str(tmp_path / "current"), target="releases/b")
    assert os.readlink(tmp_path / "current") == "releases/b"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "releases"]
    assert not any((tmp_path / "releases" / "a").iterdir())


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine with the releases r1 (oldest) to r6."""
    for number in range(1, 7):
        release = tmp_path / "engine" / "releases" / f"r{number}"
        release.mkdir(parents=True)
        (release / "start").touch()
        os.utime(release, (number, number))
    return tmp_path / "engine"


def releases(engine: Path) -> list[str]:
    return sorted(entry.name for entry in (engine / "releases").iterdir())


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
    apply: Apply, engine: Path, current: str | None, good: str | None, kept: list[str]
) -> None:
    for name, release in (("current", current), ("good", good)):
        if release:
            (engine / name).symlink_to(f"releases/{release}")
    assert apply(remove_old_releases, directory=str(engine / "releases"))
    assert releases(engine) == kept
    assert not apply(remove_old_releases, directory=str(engine / "releases"))


def test_a_command_runs_unless_its_test_succeeds(apply: Apply, tmp_path: Path) -> None:
    made = tmp_path / "made"
    arguments = {"command": f"echo made >> {made}", "test": f"[ -f {made} ]"}
    assert apply(run_unless, **arguments)
    assert not apply(run_unless, **arguments)
    assert made.read_text() == "made\n"


def test_a_requirement_that_fails_says_its_message(apply: Apply) -> None:
    assert not apply(require, test="true", message="never said")
    with pytest.raises(PyinfraError, match="the driver is too old; update it"):
        apply(require, test="false", message="the driver is too old; update it")
