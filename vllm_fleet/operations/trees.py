"""A role's whole tree on a host, as one operation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from io import StringIO

from pyinfra import host, logger, state
from pyinfra.api import StringCommand
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from vllm_fleet.converge import Commands, converge
from vllm_fleet.facts import Question
from vllm_fleet.operations.shell import is_shown, say, script
from vllm_fleet.packages import install, update
from vllm_fleet.render.files import Entry, File
from vllm_fleet.tree import Changes, Found, Tree, Unit, act, archive, compare, found, look, place


def tree(
    name: str,
    entries: Sequence[Entry] = (),
    packages: Sequence[str] = (),
    units: Sequence[Unit] = (),
    check: str = ":",
    owns: Sequence[str] = (),
) -> OperationMeta:
    """What a role needs on a host: packages, then files, links and directories, then the units that read them.

    + packages: Debian packages, installed if they are missing; an upgrade is not this operation's matter
    + entries: what must stand on the host: content, mode, owner; `secret` files are never shown by `--diff`
    + units: enabled, running, and restarted or reloaded when one of the entries they name changed
    + check: a shell command that must succeed before anything goes live, e.g. `haproxy -c -f
      "$stage/etc/haproxy/haproxy.cfg"`; `$stage` holds all entries under their full paths. It runs with the host's
      other files as they are, and only when an entry changed.
    + owns: directories in which nothing else may stand

    Unchanged entries are left alone, all others go in one archive. Owners must exist before the operation runs.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())  # a name may hold an apostrophe
    wanted = Tree(slug, tuple(entries), tuple(packages), tuple(units), check, tuple(owns))

    def make(now: Found) -> Commands:
        changes = compare(wanted, now)
        _report(changes, now)
        if changes.packages:
            yield script(update() + install(changes.packages))
        if changes.entries or changes.stale:
            yield StringCommand("sh", "-c", shlex.quote(place(wanted, changes)), _stdin=archive(wanted))
        if changes.actions:
            yield script(act(wanted, changes))
        if not changes:
            host.noop("all is as wanted")

    return converge(name, Question(look([wanted]), found, wanted, look), make)


def _report(changes: Changes, now: Found) -> None:
    """Say what will change, path by path, while a plan is made or under `--diff`; secrets are not shown."""
    if not is_shown():
        return
    if changes.packages:
        say("install", " ".join(changes.packages))
    for entry in changes.entries:
        there = now.entries.get(entry.path)
        say("modify" if there else "create", entry.path)
        if isinstance(entry, File) and state.config.DIFF:
            _show(entry, there)
    for path in changes.stale:
        say("remove", path)
    for action in changes.actions:
        say(*action.split(" ", 1))


def _show(file: File, there: str | None) -> None:
    if file.secret:
        logger.info("  (secret content is not shown)")
        return
    if isinstance(file.content, bytes):
        logger.info("  (binary content, %d bytes)", len(file.content))
        return
    mode = there.split()[1] if there and there.startswith("f ") else ""  # a link or a directory has no content to show
    old = (host.get_fact(FileContents, path=file.path) or []) if mode else []
    for line in generate_color_diff([line + "\n" for line in old], StringIO(file.content).readlines()):
        logger.info("  %s", line)
    if mode and mode != file.mode.lstrip("0"):
        logger.info("  mode %s to %s", mode, file.mode)
