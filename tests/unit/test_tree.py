"""tree.py without a host: what is read in a host's answer, what differs, and what units do about it.

Its shell commands run in test_tree_on_host.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from dataclasses import replace

import pytest

from vllm_fleet import tree as tree_module
from vllm_fleet.paths import UNITS
from vllm_fleet.render.files import Directory, Entry, File, Link
from vllm_fleet.tree import Found, Tree, Unit, act, archive, compare, found, look, state

CONFIG, KEY = File("/etc/a/config", "x = 1\n"), File("/etc/a/key", "sk-1\n", "0600", secret=True)
DROP_IN = File(f"{UNITS}/a.service.d/start.conf", "[Service]\n")
A, B = Unit("a.service", restart_on=(CONFIG, DROP_IN), reload_on=(KEY,)), Unit("b.service", reload_on=(CONFIG,))
TREE = Tree("of-a-test", (CONFIG, KEY, DROP_IN), ("haproxy", "nftables"), (A, B))
RUNS = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}


def as_wanted(tree: Tree = TREE, *, without: tuple[Entry, ...] = (), unfinished: tuple[str, ...] = ()) -> Found:
    """A host on which all is well, but for entries that are not as wanted and for what was left undone."""
    return Found(
        packages=frozenset(tree.packages),
        entries={entry.path: state(entry) for entry in tree.entries if entry not in without},
        units={unit.name: {"Id": unit.name, **RUNS} for unit in tree.units},
        unfinished=unfinished,
    )


def actions(now: Found, tree: Tree = TREE) -> tuple[str, ...]:
    return compare(tree, now).actions


# ---- what differs -----------------------------------------------------------------------------------------------


def test_as_wanted_nothing_changes() -> None:
    assert not compare(TREE, as_wanted())
    assert not compare(Tree("empty"), Found())


def test_an_empty_host_gets_everything() -> None:
    changes = compare(TREE, Found())
    assert changes
    assert (changes.packages, changes.entries, changes.stale) == (TREE.packages, TREE.entries, ())
    assert changes.actions == (
        "daemon-reload", "enable a.service", "restart a.service", "enable b.service", "restart b.service",
    )  # fmt: skip


def test_missing_packages_are_named_in_their_order() -> None:
    tree = Tree("packages", packages=("c", "a", "b"))
    changes = compare(tree, Found(packages=frozenset({"a", "other"})))
    assert changes
    assert changes.packages == ("c", "b")


@pytest.mark.parametrize(
    "there",
    [
        "f 600 root root",
        "f 644 vllm root",
        "f 644 root vllm",
        "f 4644 root root",
        "d 644 root root",
        "l 644 root root",
        "p 644 root root",
    ],
)
def test_another_mode_owner_or_kind_is_a_change(there: str) -> None:
    digest = hashlib.sha256(CONFIG.content.encode()).hexdigest()
    now = as_wanted()
    now.entries[CONFIG.path] = f"f 644 root root {digest}"
    assert compare(TREE, now).entries == ()
    now.entries[CONFIG.path] = f"{there} {digest}"
    assert compare(TREE, now).entries == (CONFIG,)


@pytest.mark.parametrize(
    "wanted, there",
    [
        (Link("/a", "releases/1"), "l releases/2"),
        (Link("/a", "releases/1"), "d 755 root root"),
        (Directory("/a"), "d 750 root root"),
        (Directory("/a"), "l releases/1"),
        (File("/a", ""), "d 644 root root"),
    ],
)
def test_a_link_and_a_directory_are_compared_too(wanted: Entry, there: str) -> None:
    tree = Tree("one", (wanted,))
    assert not compare(tree, Found(entries={"/a": state(wanted)}))
    assert compare(tree, Found(entries={"/a": there})).entries == (wanted,)


def test_strangers_in_owned_directories_are_stale_but_not_the_way_to_what_is_wanted() -> None:
    wanted = (File("/own/a/b/file", ""), Link("/own/link", "a"), Directory("/own/empty"))
    tree = Tree("owner", wanted, owns=("/own",))
    now = as_wanted(tree)
    now.entries.update({"/own/a": "d 755 root root", "/own/a/b": "d 755 root root"})
    assert not compare(tree, now)
    strangers = ["/own/a/b/file2", "/own/a/bc", "/own/a2", "/own/empty/file", "/own/fil", "/own/link/x"]
    now.entries.update(dict.fromkeys(strangers, "f 644 root root 0"))
    changes = compare(tree, now)
    assert changes.stale == tuple(strangers)
    assert (changes.entries, changes.actions) == ((), ())


# ---- what units do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_state, enable", [
    ("enabled", False), ("static", False), ("generated", False), ("disabled", True), ("masked", True), ("", True),
])  # fmt: skip
def test_a_unit_is_enabled_only_when_it_must_be(file_state: str, enable: bool) -> None:
    now = as_wanted()
    now.units["a.service"]["UnitFileState"] = file_state
    assert actions(now) == (("enable a.service",) if enable else ())


@pytest.mark.parametrize("active, start", [
    ("active", False), ("activating", False), ("reloading", False),
    ("inactive", True), ("failed", True), ("deactivating", True),
])  # fmt: skip
def test_a_unit_is_started_when_it_does_not_run(active: str, start: bool) -> None:
    now = as_wanted()
    now.units["b.service"]["ActiveState"] = active
    assert actions(now) == (("restart b.service",) if start else ())
    # a change that a reload takes up elsewhere is taken up by that start
    now = replace(now, entries=as_wanted(without=(CONFIG,)).entries)
    took_up = "restart b.service" if start else "reload-or-restart b.service"
    assert actions(now) == ("restart a.service", took_up)


def test_a_unit_that_is_not_known_yet_is_enabled_and_started() -> None:
    now = as_wanted()
    del now.units["b.service"]
    assert actions(now) == ("enable b.service", "restart b.service")


@pytest.mark.parametrize(
    "changed, unfinished, done",
    [
        ((KEY,), (), ["reload-or-restart a.service"]),
        ((CONFIG,), (), ["restart a.service", "reload-or-restart b.service"]),
        ((CONFIG, KEY), (), ["restart a.service", "reload-or-restart b.service"]),
        # a deploy that was cut off between placing files and this
        ((), ("restart a.service",), ["restart a.service"]),
        ((), ("reload-or-restart a.service",), ["reload-or-restart a.service"]),
        ((KEY,), ("restart a.service",), ["restart a.service"]),
        ((CONFIG,), ("reload-or-restart a.service",), ["restart a.service", "reload-or-restart b.service"]),
        (
            (),
            ("restart b.service", "reload-or-restart a.service"),
            ["reload-or-restart a.service", "restart b.service"],
        ),
        ((), ("restart another.service", "restart"), []),
    ],
)
def test_units_take_up_changes_once(changed: tuple[Entry, ...], unfinished: tuple[str, ...], done: list[str]) -> None:
    assert list(actions(as_wanted(without=changed, unfinished=unfinished))) == done


def test_systemd_reads_its_units_anew_before_anything_else() -> None:
    assert actions(as_wanted(without=(DROP_IN,))) == ("daemon-reload", "restart a.service")
    # what was placed but never read, which systemd may not see
    now = as_wanted(unfinished=("daemon-reload", "restart a.service"))
    assert actions(now) == ("daemon-reload", "restart a.service")
    now = as_wanted(without=(KEY,))
    now.units["b.service"]["NeedDaemonReload"] = "yes"
    assert actions(now) == ("daemon-reload", "reload-or-restart a.service")


def test_a_file_beside_systemds_directory_is_no_unit() -> None:
    tree = Tree("beside", (File(f"{UNITS}.d/a.conf", ""), File("/usr/lib/systemd/system/a.service", "")))
    assert actions(Found(), tree) == ()


def test_actions_run_in_their_order_and_end_with_the_note() -> None:
    changes = compare(TREE, as_wanted(without=(DROP_IN, CONFIG)))
    assert act(TREE, changes) == (
        "set -e; systemctl daemon-reload; systemctl restart a.service; systemctl reload-or-restart b.service; "
        "rm -f /var/lib/vllm-fleet/unfinished/of-a-test"
    )


# ---- what a host says -------------------------------------------------------------------------------------------

# the form of `systemctl show` for several units: blocks with an empty line between them
SHOWN = """\
Id=vllm-chat.service
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=absent.service
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no

NeedDaemonReload=yes
Id=dev-disk-by\\x2dlabel-a=b.device
ActiveState=active
UnitFileState=generated
"""


def test_units_as_systemctl_shows_them() -> None:
    units = found([f"unit\t{line}" for line in SHOWN.splitlines()]).units
    for name, unit in units.items():
        assert unit.pop("Id") == name
    assert units == {
        "vllm-chat.service": {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"},
        "absent.service": {"ActiveState": "inactive", "UnitFileState": "", "NeedDaemonReload": "no"},
        "dev-disk-by\\x2dlabel-a=b.device": {
            "ActiveState": "active",
            "UnitFileState": "generated",
            "NeedDaemonReload": "yes",
        },
    }


def test_units_are_asked_for_in_one_quoted_command() -> None:
    asked = look([Tree("units", units=(Unit("haproxy.service"), Unit("a b.service")))])
    assert (
        "systemctl show --property=Id,ActiveState,UnitFileState,NeedDaemonReload haproxy.service 'a b.service'" in asked
    )
    assert asked.count("systemctl") == 1


def test_only_installed_packages_are_there() -> None:
    lines = ["package\tinstalled\tchrony", "package\tconfig-files\thaproxy", "package\tunpacked\ttar", "package\t\ta"]
    assert found(lines).packages == {"chrony"}


def test_entries_as_a_host_lists_them() -> None:
    lines = [
        "entry\tf\t644\troot\troot\t\t/etc/a file",
        "entry\tl\t777\troot\troot\treleases/a b\t/etc/current",
        "entry\td\t750\tvllm\troot\t\t/var/cache/a",
        "entry\tf\t600\troot\thaproxy\t\t/etc/gone meanwhile",
        f"sum\t{'0' * 64}  /etc/a file",
    ]
    assert found(lines).entries == {
        "/etc/a file": f"f 644 root root {'0' * 64}",
        "/etc/current": "l releases/a b",
        "/var/cache/a": "d 750 vllm root",
        "/etc/gone meanwhile": "f 600 root haproxy",
    }


def test_what_was_left_undone() -> None:
    assert found(["unfinished\tdaemon-reload", "unfinished\trestart a.service"]).unfinished == (
        "daemon-reload",
        "restart a.service",
    )


def test_a_strange_line_is_taken_for_nothing() -> None:
    # so what it should have told counts as not there, and is made anew
    assert found(["Permission denied", "", "entry", "entry\tf\t644", "sum", "unit", "package\tinstalled"]) == Found()


# ---- content ----------------------------------------------------------------------------------------------------


def test_the_hash_of_a_secret_differs_from_run_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = File("/key", "secret", "0600", secret=True)
    states = {state(secret)}
    for salt in ("a", "b"):
        monkeypatch.setattr(tree_module, "SALT", salt)
        states.add(state(secret))
    plain = f"f 600 root root {hashlib.sha256(b'secret').hexdigest()}"
    assert len(states | {plain}) == 4
    # what is no secret has the hash that anyone computes
    assert state(replace(secret, secret=False)) == plain


def test_a_tree_shows_no_secret() -> None:
    assert "sk-1" not in repr(TREE)
    assert "sk-1" not in look([TREE])


def test_the_archive_names_owners_and_no_absolute_path() -> None:
    entries = (
        File("/etc/a/key", "größe", "0600", "root", "haproxy"),
        File("/etc/b", ""),
        Link("/etc/current", "releases/1"),
        Directory("/var/cache/a", "0750", "vllm"),
    )
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive(Tree("sent", entries))))) as sent:
        first, second, link, directory = sent.getmembers()
        content = sent.extractfile(first)
        assert content is not None
        assert content.read().decode() == "größe"
    assert (first.name, first.mode, first.uname, first.gname) == ("etc/a/key", 0o600, "root", "haproxy")
    assert (second.name, second.mode, second.size) == ("etc/b", 0o644, 0)
    assert (link.name, link.issym(), link.linkname) == ("etc/current", True, "releases/1")
    assert (directory.name, directory.isdir(), directory.mode) == ("var/cache/a", True, 0o750)
    assert (directory.uname, directory.gname) == ("vllm", "root")
