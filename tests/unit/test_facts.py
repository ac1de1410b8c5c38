"""The facts: their commands run by a real shell, their output read as pyinfra reads it."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from vllm_fleet.facts import Files, FileState, Links, Names, Succeeds, Units

SALT = "5a17"
OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name
ODD_NAMES = ["a file", "it's", 'the "other"', "$HOME", "a\\nb", "-n", " leading", "*", "größe"]


def ask(fact: Any, **arguments: Any) -> Any:
    """What a host answers; without a line of output a fact is its default, as in pyinfra."""
    ran = subprocess.run(["sh", "-c", fact.command(**arguments)], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return fact.process(ran.stdout.splitlines()) if ran.stdout else fact.default()


def write(path: Path, content: str = "", mode: int = 0o644) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["644", "600", "755", "4755"])
def test_a_files_state(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "file", "a\n\nb", int(mode, 8))
    digest = hashlib.sha256(b"5a17a\n\nb").hexdigest()
    assert ask(Files(), paths=[path], salt=SALT) == {path: FileState(mode, OWNER, GROUP, digest)}


def test_files_of_odd_names(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, name) for name in ODD_NAMES]
    states = ask(Files(), paths=paths, salt=SALT)
    assert {path: state.digest for path, state in states.items()} == {
        path: hashlib.sha256((SALT + Path(path).name).encode()).hexdigest() for path in paths
    }


def test_what_is_no_regular_file_is_absent(tmp_path: Path) -> None:
    file = write(tmp_path / "file")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "directory").mkdir()
    paths = [str(tmp_path / name) for name in ("link", "directory", "missing")]
    assert ask(Files(), paths=[*paths, file], salt=SALT).keys() == {file}
    assert ask(Files(), paths=paths, salt=SALT) == {}
    assert ask(Files(), paths=[], salt=SALT) == {}


def test_the_hash_of_a_secret_differs_from_run_to_run(tmp_path: Path) -> None:
    path = write(tmp_path / "key", "secret")
    digests = {ask(Files(), paths=[path], salt=salt)[path].digest for salt in ("a", "b")}
    assert len(digests | {hashlib.sha256(b"secret").hexdigest()}) == 3


def test_a_strange_line_is_an_error_that_names_it() -> None:
    with pytest.raises(FactProcessError, match="'Permission denied'"):
        Files().process(["Permission denied"])


# ---- links and names --------------------------------------------------------------------------------------------


def test_links_and_their_targets(tmp_path: Path) -> None:
    targets = {}
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / name).symlink_to(f"releases/{number}")
        targets[str(tmp_path / name)] = f"releases/{number}"
    file, missing = write(tmp_path / "file"), str(tmp_path / "missing")
    assert ask(Links(), paths=[*targets, file, missing]) == targets
    assert ask(Links(), paths=[file, missing]) == {}


def test_names_in_a_directory_are_sorted(tmp_path: Path) -> None:
    directory = tmp_path / "the engines"
    directory.mkdir()
    for name in ("b", "B", "a c"):
        (directory / name).mkdir()
    assert ask(Names(), directory=str(directory)) == ["B", "a c", "b"]


def test_an_absent_directory_has_no_names(tmp_path: Path) -> None:
    assert ask(Names(), directory=str(tmp_path / "absent")) == []


# ---- tests and units --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "test, expected",
    [
        ("true", True),
        ("false", False),
        ("false || true", True),
        ("true && false", False),
        ("false; true", True),
        ("[ 'a b' = \"a b\" ]", True),
        ("echo yes; false", False),
        ("echo no", True),
        ("echo not shown >&2; true", True),
        ("no-such-command", False),
    ],
)
def test_whether_a_command_succeeds(test: str, expected: bool) -> None:
    assert ask(Succeeds(), test=test) is expected


# the form of `systemctl show` for several units: blocks with an empty line between them
UNITS = """\
Id=vllm-chat.service
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=absent.service
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no

Id=dev-disk-by\\x2dlabel-a=b.device
ActiveState=active
UnitFileState=generated
NeedDaemonReload=yes
"""


def test_units_as_systemctl_shows_them() -> None:
    assert Units().process(UNITS.splitlines()) == {
        "vllm-chat.service": {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"},
        "absent.service": {"ActiveState": "inactive", "UnitFileState": "", "NeedDaemonReload": "no"},
        "dev-disk-by\\x2dlabel-a=b.device": {
            "ActiveState": "active",
            "UnitFileState": "generated",
            "NeedDaemonReload": "yes",
        },
    }


def test_units_are_asked_for_in_one_quoted_command() -> None:
    command = Units().command(units=["haproxy.service", "a b.service"])
    assert command == (
        "systemctl show --property=Id,ActiveState,UnitFileState,NeedDaemonReload haproxy.service 'a b.service'"
    )
