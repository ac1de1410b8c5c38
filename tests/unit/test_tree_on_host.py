"""tree.py's shell commands, run by a real shell as the current user on paths in a test's directory."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploys import GROUP, ODD_NAMES, OWNER, Systemd, directory, file, mode_of, staged
from vllm_fleet import tree as tree_module
from vllm_fleet.render.files import Entry, Link
from vllm_fleet.tree import Changes, Found, Tree, Unit, act, archive, compare, found, look, place, state

pytestmark = pytest.mark.usefixtures("machine")


def ask(*trees: Tree) -> Found:
    ran = subprocess.run(
        ["sh", "-c", look([*trees])], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20
    )
    return found(ran.stdout.decode().splitlines())


def put(tree: Tree, script: str = 'exec sh -c "$0"') -> Changes:
    """Place what differs, as the operation does."""
    changes = compare(tree, ask(tree))
    subprocess.run(["sh", "-c", script, place(tree, changes)], input=archive(tree).encode(), check=True, timeout=20)
    return changes


def take_up(tree: Tree, changes: Changes) -> bool:
    return subprocess.run(["sh", "-c", act(tree, changes)], check=False).returncode == 0


def of(*entries: Entry, owns: tuple[Path, ...] = (), units: tuple[Unit, ...] = ()) -> Tree:
    return Tree("of-a-test", entries, units=units, owns=tuple(map(str, owns)))


# ---- looking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("mode", ["644", "600", "755", "4755"])
def test_a_files_state(tmp_path: Path, mode: str, secret: bool) -> None:
    path = tmp_path / "file"
    path.write_text("a\n\nb")
    path.chmod(int(mode, 8))
    wanted = file(path, "a\n\nb", f"0{mode}", secret=secret)
    digest = hashlib.sha256(((tree_module.SALT if secret else "") + "a\n\nb").encode()).hexdigest()
    assert ask(of(wanted)).entries == {str(path): f"f {mode} {OWNER} {GROUP} {digest}"} == {str(path): state(wanted)}


def test_bytes_arrive_as_they_are(tmp_path: Path) -> None:
    wanted = of(file(tmp_path / "program", bytes(range(256)) * 300))
    put(wanted)
    assert (tmp_path / "program").read_bytes() == bytes(range(256)) * 300
    assert not compare(wanted, ask(wanted))


@pytest.mark.parametrize("secret", [False, True])
def test_what_is_no_regular_file_is_none(tmp_path: Path, secret: bool) -> None:
    (tmp_path / "there").write_text("")
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")  # who reads it waits for ever
    names = ["there", "link", "directory", "pipe", "missing"]
    wanted = {name: file(tmp_path / name, secret=secret) for name in names}
    tree = of(*wanted.values())
    now = ask(tree).entries
    assert {path.rpartition("/")[2]: there[0] for path, there in now.items()} == {
        "there": "f", "link": "l", "directory": "d", "pipe": "p",
    }  # fmt: skip
    assert compare(tree, ask(tree)).entries == tuple(wanted[name] for name in names[1:])


def test_an_absent_tree_is_nothing(tmp_path: Path) -> None:
    entries = (file(tmp_path / "a"), Link(str(tmp_path / "b"), "a"), file(tmp_path / "c", secret=True))
    assert ask(of(*entries, owns=(tmp_path / "d",))) == Found()
    assert ask(of()) == Found()


def test_one_look_at_several_trees_tells_each_its_own(tmp_path: Path, systemd: Systemd) -> None:
    systemd.runs("a.service")
    key, own = file(tmp_path / "own" / "key", "key", "0600", secret=True), tmp_path / "own"
    config = file(tmp_path / "config", "x")
    first = Tree("first", (config,), ("no-such-package",), (Unit("a.service", restart_on=(config,)),))
    second = Tree("second", (key, directory(own)), owns=(str(own),))
    put(first)
    put(second)
    (own / "stranger").write_text("")
    now = ask(first, second)
    changes = compare(first, now)
    assert (changes.packages, changes.entries, changes.stale) == (("no-such-package",), (), ())
    assert changes.actions == ("restart a.service",)
    changes = compare(second, now)
    assert (changes.entries, changes.stale, changes.actions) == ((), (str(own / "stranger"),), ())


def test_packages_that_nobody_knows_are_missing() -> None:
    tree = Tree("packages", packages=("no-such-package", "it's none"))
    assert compare(tree, ask(tree)).packages == tree.packages


def test_a_host_is_not_changed_by_looking(tmp_path: Path, systemd: Systemd) -> None:
    ask(of(file(tmp_path / "a"), owns=(tmp_path,), units=(Unit("a.service"),)))
    assert not (tmp_path / "a").exists()
    assert systemd.called() == []


# ---- placing ----------------------------------------------------------------------------------------------------


def test_what_is_placed_is_what_is_seen_afterwards(tmp_path: Path) -> None:
    entries = (
        file(tmp_path / "etc" / "start", "#!/bin/sh\nexec 'x' \"$y\" \\n\n", "0755"),
        file(tmp_path / "etc" / "key", "no end of line", "0600", secret=True),
        file(tmp_path / "etc" / "empty", "", "0660"),
        Link(str(tmp_path / "current"), "releases/1 a"),
        directory(tmp_path / "cache" / "a", "0750"),
    )
    tree = of(*entries)
    assert put(tree).entries == entries
    assert ask(tree).entries == {entry.path: state(entry) for entry in entries}
    assert not compare(tree, ask(tree))
    assert not staged(tmp_path)


def test_names_may_be_odd(tmp_path: Path) -> None:
    wanted: list[Entry] = []
    for name in ODD_NAMES:
        root = tmp_path / "own" / name
        wanted += [
            file(root / "file" / name, name),
            file(root / "secret" / name, name, "0600", secret=True),
            Link(str(root / "link" / name), name),
            directory(root / "directory" / name),
        ]
    tree = of(*wanted, owns=(tmp_path / "own",))
    put(tree)
    for name in ODD_NAMES:
        root = tmp_path / "own" / name
        assert (root / "file" / name).read_text() == (root / "secret" / name).read_text() == name
        assert os.readlink(root / "link" / name) == name
        assert (root / "directory" / name).is_dir()
    assert not compare(tree, ask(tree))
    # and what is not wanted may be as odd
    strangers = {str(tmp_path / "own" / "strangers" / name) for name in ODD_NAMES}
    (tmp_path / "own" / "strangers").mkdir()
    for stranger in strangers:
        Path(stranger).write_text("")
    assert set(put(tree).stale) == strangers | {str(tmp_path / "own" / "strangers")}
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == sorted(ODD_NAMES)


def test_strangers_leave_an_owned_directory(tmp_path: Path) -> None:
    own, wanted = tmp_path / "own", file(tmp_path / "own" / "a" / "wanted", "wanted")
    tree = of(wanted, owns=(own,))
    put(tree)
    untouched = Path(wanted.path).stat().st_ino
    outside = tmp_path / "outside"
    outside.write_text("another's")
    (own / "a" / "stranger").write_text("")
    (own / "strange directory" / "sub").mkdir(parents=True)
    (own / "strange directory" / "sub" / "file").write_text("")
    (own / "strange link").symlink_to(outside)
    (own / "link to a directory").symlink_to(tmp_path)
    assert put(tree).entries == ()
    assert sorted(path.relative_to(own) for path in own.rglob("*")) == [Path("a"), Path("a/wanted")]
    assert Path(wanted.path).stat().st_ino == untouched
    # links went, not what they point to
    assert outside.read_text() == "another's"


def test_a_directory_is_put_right_and_keeps_what_stands_in_it(tmp_path: Path) -> None:
    path, other = tmp_path / "cache", tmp_path / "other"
    path.mkdir(0o777)
    (path / "kept").write_text("kept")
    put(of(directory(path, "0750")))
    assert (mode_of(path), (path / "kept").read_text()) == (0o750, "kept")
    # a link in its place is replaced, not followed
    other.mkdir(0o755)
    (tmp_path / "link").symlink_to(other)
    put(of(directory(tmp_path / "link", "0700")))
    assert not (tmp_path / "link").is_symlink()
    assert (mode_of(tmp_path / "link"), mode_of(other)) == (0o700, 0o755)


@pytest.mark.parametrize("name", ["current", "file"])
def test_what_was_left_half_done_does_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / "releases" / "a").mkdir(parents=True)
    wanted = {"current": Link(str(tmp_path / "current"), "releases/b"), "file": file(tmp_path / "file", "new")}[name]
    # the process had the same number
    put(of(wanted), script=f'cd {tmp_path}; ln -s releases/a {name}.$$; exec sh -c "$0"')
    assert not compare(of(wanted), ask(of(wanted)))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "releases"])
    assert not any((tmp_path / "releases" / "a").iterdir())


# ---- taking up --------------------------------------------------------------------------------------------------


def test_a_deploy_that_is_cut_off_is_finished_by_the_next(tmp_path: Path, systemd: Systemd) -> None:
    for unit in ("a.service", "b.service"):
        systemd.runs(unit)
    config, key = file(tmp_path / "config", "x"), file(tmp_path / "key", "y", "0600", secret=True)
    units = (Unit("a.service", restart_on=(config,)), Unit("b.service", reload_on=(key,)))
    tree = of(config, key, units=units)
    due = ("restart a.service", "reload-or-restart b.service")
    assert put(tree).actions == due
    # cut off here: all entries are as wanted, and still
    again = compare(tree, ask(tree))
    assert (again.entries, again.actions) == ((), due)
    # cut off once more, after a change that alone needs less
    Path(config.path).write_text("another's")
    assert put(tree).actions == due
    assert take_up(tree, again)
    assert systemd.called() == list(due)
    assert not compare(tree, ask(tree))
    assert not Path(tree.unfinished).exists()


def test_units_that_failed_are_taken_up_again(tmp_path: Path, systemd: Systemd) -> None:
    config = file(tmp_path / "config")
    tree = of(config, units=tuple(Unit(f"{name}.service", restart_on=(config,)) for name in "abc"))
    for name in "abc":
        systemd.runs(f"{name}.service")
    changes = put(tree)
    systemd.fails("restart b.service")
    assert not take_up(tree, changes)
    assert systemd.called() == ["restart a.service b.service c.service"]
    assert Path(tree.unfinished).exists()
    # they all are active, but which of them has the new file nobody noted
    again = compare(tree, ask(tree))
    assert again.actions == ("restart a.service", "restart b.service", "restart c.service")
    systemd.fails()
    assert take_up(tree, again)
    assert not Path(tree.unfinished).exists()
    assert not compare(tree, ask(tree))


def test_without_units_there_is_no_note(tmp_path: Path) -> None:
    tree = of(file(tmp_path / "a"))
    put(tree)
    assert not Path(tree.unfinished).parent.exists()


def test_a_first_deploy_enables_and_starts(tmp_path: Path, systemd: Systemd) -> None:
    config = file(tmp_path / "config")
    tree = of(config, units=(Unit("a.service", reload_on=(config,)), Unit("b.service")))
    assert take_up(tree, put(tree))
    assert systemd.called() == ["enable a.service b.service", "restart a.service b.service"]
    assert not compare(tree, ask(tree))
