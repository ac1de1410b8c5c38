"""Our own pyinfra operations: packages, whole trees of files, weights, engines. How they work: `converge`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand, operation
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from vllm_fleet import paths
from vllm_fleet.converge import Commands, converge
from vllm_fleet.engine.weights import archive_path, copy_command, share_command
from vllm_fleet.facts import Question, holds, names_in
from vllm_fleet.packages import install, update
from vllm_fleet.render.files import Entry, File
from vllm_fleet.schema import Archive, Host, Secret
from vllm_fleet.schema.weights import Source
from vllm_fleet.shell import Failed, is_shown, run, say, script
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
    mode = there.split()[1] if there and there.startswith("f ") else ""  # a link or a directory has no content to show
    old = (host.get_fact(FileContents, path=file.path) or []) if mode else []
    for line in generate_color_diff([line + "\n" for line in old], StringIO(file.content).readlines()):
        logger.info("  %s", line)
    if mode and mode != file.mode.lstrip("0"):
        logger.info("  mode %s to %s", mode, file.mode)


def run_unless(name: str, command: str, test: str, at_once: int = 0) -> OperationMeta:
    """Run a shell command unless a read-only test already succeeds; on so many hosts at once, 0 for all."""

    def run(already: bool) -> Commands:
        if already:
            host.noop("already so")
            return
        yield script(command)

    return converge(name, holds(test), run, at_once=at_once)


def require(name: str, test: str, message: str) -> OperationMeta:
    """Fail the host with a one-line message unless a read-only test succeeds."""
    return run_unless(name, f"echo {shlex.quote(message)} >&2; exit 1", test)


def fetch_weights(
    name: str, source: Source, command: str, complete: str, token: tuple[str, Secret] | None = None, at_once: int = 0
) -> OperationMeta:
    """A model's files on the host from where they come, unless they are there already.

    + source: an Archive is sent first, over the deploy's own connection
    + command: fetches, checks and moves the files into place
    + complete: a read-only shell test that is true when nothing is to do
    + token: path of a file that holds the hub token while the command runs, and the token
    + at_once: how many hosts may fetch at the same time
    """

    def fetch(there: bool) -> Commands:
        if there:
            host.noop(f"{source.name} is there")
            return
        yield from _from_origin(source, command, token)

    return converge(name, holds(complete), fetch, at_once=at_once)


def copy_weights(
    name: str, source: Source, peer: Host, port: int, command: str, complete: str, token: tuple[str, Secret] | None
) -> OperationMeta:
    """A model's files from another host, unless they are there already; from where they come if that host cannot.

    The peer is asked over the deploy's own connection for the sum of its list of sums, so nothing on the way between
    the two can send other bytes.

    + peer: a host whose own operation for the same model comes earlier
    + port: where it shares its files meanwhile
    """

    def copy(there: bool) -> Commands:
        if there:
            host.noop(f"{source.name} is there")
            return
        sums: list[str] = []
        yield FunctionCommand(_share, (peer.name, share_command(peer, port, source), sums), {})
        if not sums:
            logger.warning("%s: %s does not share its weights; asking the origin", host.name, peer.name)
            yield from _from_origin(source, command, token)
            return
        yield script(copy_command(peer, port, source, sums[0]))

    return converge(name, holds(complete), copy)


def _share(peer: str, command: str, sums: list[str]) -> None:
    """Run on another host of this deploy; `sums` stays empty where that is not possible (`--limit`)."""
    other = host.inventory.get_host(peer)
    if other.connected:
        with suppress(Failed):
            sums += [line.split()[0] for line in run(other, command)[-1:]]


def _from_origin(source: Source, command: str, token: tuple[str, Secret] | None) -> Commands:
    if isinstance(source, Archive):
        path = archive_path(source)
        yield FileUploadCommand(str(Path(source.path).resolve()), path, remote_temp_filename=f"{path}.sent")
        yield f"rm -f {path}.sent"
    if not token:
        yield script(command)
        return
    path, secret = token
    yield StringCommand(f"umask 077; cat > {path}", _stdin=secret.read("model.token"))
    yield script(f"trap 'rm -f {path}' EXIT; {command}")


def remove_engines(name: str, keep: list[str]) -> OperationMeta:
    """Stop and remove the engines that are no longer placed on this host; their caches go too, weights stay."""

    def remove(there: list[str]) -> Commands:
        extra = [instance for instance in there if instance not in keep]
        for instance in extra:
            unit = shlex.quote(f"vllm-{instance}.service")
            yield f"systemctl disable --now {unit}; rm -f {paths.UNITS}/{unit}; systemctl daemon-reload"
            yield f"rm -rf {shlex.quote(paths.engine(instance))} {shlex.quote(paths.cache(instance))}"
        if not extra:
            host.noop("no other engine is here")

    return converge(name, names_in(paths.ENGINES), remove)


def await_engines(name: str, seconds: dict[str, int]) -> OperationMeta:
    """Wait until engines answer real completions; fails with the phase each was in and its last error lines.

    The program on the host puts the last release that answered back when the new one does not.

    + seconds: how long each may take, by instance
    """
    instances = shlex.join(seconds)
    # `good` too, for an engine that was quicker than the deploy's look at it has not been noted as good yet
    noted = [f'[ "$(readlink {at}/good)" = "$(readlink {at}/current)" ]' for at in map(paths.engine, seconds)]

    def wait(answer: bool) -> Commands:
        if answer:
            host.noop(f"{', '.join(seconds)} answer")
            return
        yield StringCommand(wait_command(seconds), _timeout=wait_seconds(seconds))

    question = holds(" && ".join([*noted, f"{paths.READY_COMMAND} {instances} --once"]))
    return converge(name, question, wait, of_fleet=True)


def wait_command(seconds: dict[str, int]) -> str:
    """The program on the host that waits until these engines answer, by instance; it keeps the time itself."""
    return f"{paths.READY_COMMAND} {shlex.join(seconds)} --wait"


def wait_seconds(seconds: dict[str, int]) -> int:
    """How long that may take: twice over, for the new release, and on failure for the one put back."""
    return 2 * sum(seconds.values()) + 120


@operation()
def all_hosts_here() -> Commands:
    """Nothing on a host; but all hosts get here before any goes on.

    pyinfra lets each host run ahead on its own chain of operations (state.get_op_order, 3.10); an operation that all
    hosts have in common is where the chains meet.
    """
    host.noop("here")
    yield from ()
