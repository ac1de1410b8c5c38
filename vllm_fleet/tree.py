"""A role's whole tree: its packages, files, links, directories, and the units that read them, as one thing.

What stands on a host is asked by one question (`look`), compared with what is wanted (`compare`), and all that differs
is made so by two shell scripts (`place`, `act`). Nothing here talks to a host.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import shlex
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_fleet import paths
from vllm_fleet.render.files import Directory, Entry, File, Link

# Keys the hashes of secrets for one run: a hash that is seen cannot be looked up or compared with another run's.
SALT = secrets.token_hex(16)

_UNIT_PROPERTIES = "Id,ActiveState,UnitFileState,NeedDaemonReload"


@dataclass(frozen=True)
class Unit:
    """A systemd unit that is enabled and runs, and the entries whose change it takes up by a restart or a reload."""

    name: str
    restart_on: tuple[Entry, ...] = ()
    reload_on: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Tree:
    """Everything of one role on one host.

    `slug` names it on the host. `check` is a shell command that must succeed before anything goes live, with all
    entries under `$stage`. What stands in the directories `owns` and is not wanted is removed.
    """

    slug: str
    entries: tuple[Entry, ...] = ()
    packages: tuple[str, ...] = ()
    units: tuple[Unit, ...] = ()
    check: str = ":"
    owns: tuple[str, ...] = ()

    @property
    def unfinished(self) -> str:
        """Names what the units still have to take up: a deploy that is cut off is finished by the next one."""
        return f"{paths.STATE}/unfinished/{self.slug}"


@dataclass(frozen=True)
class Found:
    """What stands on a host: packages, paths with what `state` says of an entry, units, and actions left undone."""

    packages: frozenset[str] = frozenset()
    entries: dict[str, str] = field(default_factory=dict)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What must be done. `actions` are systemctl's, as in `restart haproxy.service`."""

    packages: tuple[str, ...]
    entries: tuple[Entry, ...]
    stale: tuple[str, ...]
    actions: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.packages or self.entries or self.stale or self.actions)


def look(trees: list[Tree]) -> str:
    """The shell command that finds out what stands on a host, for all trees at once; `found` reads its output."""
    packages = [name for tree in trees for name in tree.packages]
    entries = [entry for tree in trees for entry in tree.entries]
    plain = [entry.path for entry in entries if isinstance(entry, File) and not entry.secret]
    hidden = [entry.path for entry in entries if isinstance(entry, File) and entry.secret]
    owned = [directory for tree in trees for directory in tree.owns]
    units = [unit.name for tree in trees for unit in tree.units]
    form = r"-printf 'entry\t%y\t%m\t%u\t%g\t%l\t%p\n'"
    # echo: a note that was cut off in its last line must not run into what follows
    commands = [f"sed 's/^/unfinished\\t/' {shlex.join(tree.unfinished for tree in trees)}; echo"]
    if packages:
        form_of_dpkg = r"--showformat 'package\t${db:Status-Status}\t${Package}\n'"
        commands.append(f"dpkg-query --show {form_of_dpkg} {shlex.join(packages)}")
    if entries:
        commands.append(f"find {shlex.join(entry.path for entry in entries)} -maxdepth 0 {form}")
    if owned:
        commands.append(f"find {shlex.join(owned)} -mindepth 1 {form}")
    if plain:
        commands.append(f"find {shlex.join(plain)} -maxdepth 0 -type f -exec sha256sum {{}} + | sed 's/^/sum\\t/'")
    if hidden:
        keyed = f'$({{ printf %s {SALT}; cat "$f"; }} | sha256sum | cut -c -64)'
        line = f'printf "sum\\t%s  %s\\n" "{keyed}" "$f"'
        commands.append(f'for f in {shlex.join(hidden)}; do if [ -f "$f" ] && [ ! -L "$f" ]; then {line}; fi; done')
    if units:
        show = f"systemctl show --property={_UNIT_PROPERTIES} {shlex.join(units)}"
        commands.append(f"{show} | sed 's/^/unit\\t/'")
    return "; ".join(commands)


def found(lines: list[str]) -> Found:
    """What `look` printed, as an object."""
    packages = set()
    kinds: dict[str, tuple[str, str]] = {}
    digests: dict[str, str] = {}
    units: dict[str, dict[str, str]] = {}
    unfinished = []
    properties: dict[str, str] = {}
    for line in lines:
        match line.split("\t"):
            case ["package", "installed", name]:
                packages.add(name)
            case ["entry", kind, mode, user, group, target, path]:
                kinds[path] = (kind, target if kind == "l" else f"{mode} {user} {group}")
            case ["sum", rest]:
                digest, _, path = rest.partition("  ")
                digests[path] = digest
            case ["unit", ""]:
                properties = {}
            case ["unit", setting]:
                key, _, properties[key] = setting.partition("=")
                if key == "Id":
                    units[properties["Id"]] = properties
            case ["unfinished", action]:
                unfinished.append(action)
    entries = {path: " ".join(filter(None, [*what, digests.get(path)])) for path, what in kinds.items()}
    return Found(frozenset(packages), entries, units, tuple(unfinished))


def compare(tree: Tree, now: Found) -> Changes:
    """What differs from what is wanted, and what the units must do about it."""
    missing = tuple(name for name in tree.packages if name not in now.packages)
    changed = tuple(entry for entry in tree.entries if now.entries.get(entry.path) != state(entry))
    wanted = {entry.path for entry in tree.entries}
    owned = tuple(f"{directory}/" for directory in tree.owns)
    stale = tuple(path for path in sorted(now.entries) if path.startswith(owned) and not _covers(path, wanted))
    return Changes(missing, changed, stale, _actions(tree, now, changed))


def _covers(path: str, wanted: set[str]) -> bool:
    """Whether a path is wanted itself or a directory on the way to what is."""
    return path in wanted or any(other.startswith(f"{path}/") for other in wanted)


def state(entry: Entry) -> str:
    """An entry as `found` describes it: kind, mode, owner, group and a digest of the content, or a link's target."""
    match entry:
        case Link():
            return f"l {entry.target}"
        case Directory():
            return f"d {entry.mode.lstrip('0')} {entry.owner} {entry.group}"
        case File():
            salt = SALT.encode() if entry.secret else b""
            digest = hashlib.sha256(salt + entry.data).hexdigest()
            return f"f {entry.mode.lstrip('0')} {entry.owner} {entry.group} {digest}"


def _actions(tree: Tree, now: Found, changed: tuple[Entry, ...]) -> tuple[str, ...]:
    actions = []
    for unit in tree.units:
        current = now.units.get(unit.name, {})
        if current.get("UnitFileState") not in ("enabled", "static", "generated"):
            actions.append(f"enable {unit.name}")
        restart, reload = f"restart {unit.name}", f"reload-or-restart {unit.name}"
        runs = current.get("ActiveState") in ("active", "activating", "reloading")
        if not runs or restart in now.unfinished or set(unit.restart_on) & set(changed):
            actions.append(restart)
        elif reload in now.unfinished or set(unit.reload_on) & set(changed):
            actions.append(reload)
    # systemd 252 does not see that the first drop-in of a unit came: NeedDaemonReload stays "no" for a while
    stale_unit = any(now.units.get(unit.name, {}).get("NeedDaemonReload") == "yes" for unit in tree.units)
    changed_unit = any(entry.path.startswith(f"{paths.UNITS}/") for entry in changed)
    if stale_unit or changed_unit or "daemon-reload" in now.unfinished:
        actions.insert(0, "daemon-reload")
    return tuple(actions)


# The archive on standard input is unpacked beside its targets' file system root and checked there. Then each entry
# that changed is moved over its target: a reader sees the old file or the new one, never half of one.
_PLACE = """\
set -eu; umask 022
stage=$(mktemp -d /var/tmp/vllm-fleet.XXXXXX); trap 'rm -rf "$stage"' EXIT
base64 -d | tar --extract --preserve-permissions --directory "$stage"
( {check} )
{note}
for path in {changed}; do
  mkdir -p "${{path%/*}}"
  if [ -d "$stage$path" ] && [ ! -L "$stage$path" ]; then
    [ ! -L "$path" ] || rm "$path"
    mkdir -p "$path"; chmod --reference "$stage$path" "$path"; chown --reference "$stage$path" "$path"
  else
    # what an earlier run left under that name is neither followed nor entered
    cp -T --remove-destination --no-dereference --preserve=mode,ownership "$stage$path" "$path.$$"
    mv -fT "$path.$$" "$path"
  fi
done
{remove}
"""


def place(tree: Tree, changes: Changes) -> str:
    """The shell script that makes changed entries as wanted, from `archive(tree)` on its standard input."""
    return _PLACE.format(
        check=tree.check,
        note=_note(tree, changes.actions),
        changed=shlex.join(entry.path for entry in changes.entries),
        remove=f"rm -rf {shlex.join(changes.stale)}" if changes.stale else "",
    )


def act(tree: Tree, changes: Changes) -> str:
    """The shell script with which units take up the changes, all at once: each engine drains for a while."""
    of_verb: dict[str, list[str]] = {verb: [] for verb in ("daemon-reload", "enable", "restart", "reload-or-restart")}
    for action in changes.actions:
        verb, _, unit = action.partition(" ")
        of_verb[verb].append(unit)
    steps = [f"systemctl {verb} {' '.join(units)}".rstrip() for verb, units in of_verb.items() if units]
    return "; ".join(["set -e", *steps, f"rm -f {tree.unfinished}"])


def _note(tree: Tree, actions: Sequence[str]) -> str:
    if not actions:
        return ":"
    folder = tree.unfinished.rpartition("/")[0]
    return f"mkdir -p {folder}; printf '%s\\n' {shlex.join(actions)} > {tree.unfinished}"


def archive(tree: Tree) -> str:
    """All entries as base64 of a tar archive, names relative to `/`; owners by name, so the host's numbers count."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in tree.entries:
            header = tarfile.TarInfo(entry.path.lstrip("/"))
            content = b""
            match entry:
                case Link():
                    header.type, header.linkname = tarfile.SYMTYPE, entry.target
                case Directory():
                    header.type = tarfile.DIRTYPE
                case File():
                    content = entry.data
            if not isinstance(entry, Link):  # a link is root's and has no mode
                header.mode, header.uname, header.gname = int(entry.mode, 8), entry.owner, entry.group
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return base64.encodebytes(buffer.getvalue()).decode()
