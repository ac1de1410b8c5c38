"""Our own pyinfra operations: packages, whole trees of files, weights, engines. How they work: `converge`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import gevent
from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, FunctionCommand, State, StringCommand, operation
from pyinfra.api import Host as Connected
from pyinfra.api.operation import OperationMeta
from pyinfra.api.output import format_text
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from vllm_fleet import paths
from vllm_fleet.converge import Commands, converge
from vllm_fleet.engine import fabric
from vllm_fleet.engine.weights import archive_path, copy_command, share_command
from vllm_fleet.facts import Question, holds, names_in
from vllm_fleet.render.files import Entry, File
from vllm_fleet.schema import Archive, Host, Secret
from vllm_fleet.schema.weights import Source
from vllm_fleet.tree import Changes, Found, Tree, Unit, act, archive, compare, found, look, place

# Package lists are read anew once a day, and when a source was added since. No question may be asked on a terminal
# nobody watches, and a mirror that hangs must not hang the deploy.
_INSTALL = """\
set -e; stamp={stamp}
if [ -z "$(find $stamp -mmin -1440 2>/dev/null)" ] || [ -n "$(find /etc/apt -newer $stamp -print -quit)" ]; then
  apt-get update --quiet {options}; mkdir -p "${{stamp%/*}}"; touch $stamp
fi
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends {options} \
  -o Dpkg::Options::=--force-confold {packages}
"""
_STAMP = f"{paths.STATE}/apt-updated"
_APT_OPTIONS = "-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=60"


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
            yield _script(_INSTALL.format(stamp=_STAMP, options=_APT_OPTIONS, packages=shlex.join(changes.packages)))
        if changes.entries or changes.stale:
            yield StringCommand("sh", "-c", shlex.quote(place(wanted, changes)), _stdin=archive(wanted))
        if changes.actions:
            yield _script(act(wanted, changes))
        if not changes:
            host.noop("all is as wanted")

    return converge(name, Question(look([wanted]), found, wanted, look), make)


def _report(changes: Changes, now: Found) -> None:
    """Say what will change, path by path, while a plan is made or under `--diff`; secrets are not shown."""
    if state.is_executing and not state.config.DIFF:
        return
    if changes.packages:
        _say("install", " ".join(changes.packages))
    for entry in changes.entries:
        there = now.entries.get(entry.path)
        _say("modify" if there else "create", entry.path)
        if isinstance(entry, File) and state.config.DIFF:
            _show(entry, there)
    for path in changes.stale:
        _say("remove", path)
    for action in changes.actions:
        _say(*action.split(" ", 1))


def _say(verb: str, what: str = "") -> None:
    host.log(f"Will {verb} {format_text(what, bold=True)}", logger.info)


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
        yield _script(command)

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
        yield _script(copy_command(peer, port, source, sums[0]))

    return converge(name, holds(complete), copy)


def _share(peer: str, command: str, sums: list[str]) -> None:
    """Run on another host of this deploy; `sums` stays empty where that is not possible (`--limit`)."""
    other = host.inventory.get_host(peer)
    if other.connected:
        done, output = other.run_shell_command(_script(command), _sudo=True)
        if done and output.stdout_lines:
            sums.append(output.stdout_lines[-1].split()[0])


def _from_origin(source: Source, command: str, token: tuple[str, Secret] | None) -> Commands:
    if isinstance(source, Archive):
        path = archive_path(source)
        yield FileUploadCommand(str(Path(source.path).resolve()), path, remote_temp_filename=f"{path}.sent")
        yield f"rm -f {path}.sent"
    if not token:
        yield _script(command)
        return
    path, secret = token
    yield StringCommand(f"umask 077; cat > {path}", _stdin=secret.read("model.token"))
    yield _script(f"trap 'rm -f {path}' EXIT; {command}")


def prove_fabric(name: str, proven: str, digest: str, commands: dict[str, str]) -> OperationMeta:
    """Prove that the hosts of a replica can talk, on all of them at once, unless that was proven already.

    + proven: path of the file that holds the digest of what was proven last
    + commands: what each member runs at the same time, by host in rank order (engine/fabric.py)
    """

    def prove(already: bool) -> Commands:
        if already:
            host.noop("proven")
            return
        yield FunctionCommand(_prove, (commands,), {}, _timeout=fabric.SECONDS)
        yield _script(f"mkdir -p {shlex.quote(str(Path(proven).parent))} && echo {digest} > {shlex.quote(proven)}")

    return converge(name, holds(f'[ "$(cat {shlex.quote(proven)})" = {digest} ]'), prove)


def _prove(state: State, host: Connected, commands: dict[str, str]) -> bool:
    """Has the form in which pyinfra takes the result for the operation's."""
    members = [state.inventory.get_host(member) for member in commands]
    absent = [member.name for member in members if not member.connected]
    if absent:
        host.log_styled(f"{', '.join(absent)} must be in this deploy, to prove the network between the hosts", fg="red")
        return False

    def run(member: Connected) -> tuple[str, str]:
        good, output = member.run_shell_command(
            _script(commands[member.name]), _sudo=state.config.SUDO, _timeout=fabric.SECONDS
        )
        return output.stdout, "" if good else (output.stderr_lines or [""])[-1]

    running = {member.name: gevent.spawn(run, member) for member in members}
    proof = fabric.proof_of({name: each.get() for name, each in running.items()})
    for problem in proof.problems:
        host.log_styled(problem, fg="red")
    if proof.gbit:
        host.log(f"all-reduce over {proof.report['interface']}: {proof.gbit:.1f} Gbit/s of bus bandwidth")
    return not proof.problems


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
        # twice over: the new release, and on failure the one put back; the program keeps the time itself
        yield StringCommand(paths.READY_COMMAND, instances, "--wait", _timeout=2 * sum(seconds.values()) + 120)

    question = holds(" && ".join([*noted, f"{paths.READY_COMMAND} {instances} --once"]))
    return converge(name, question, wait, of_fleet=True)


@operation()
def all_hosts_here() -> Commands:
    """Nothing on a host; but all hosts get here before any goes on.

    pyinfra lets each host run ahead on its own chain of operations (state.get_op_order, 3.10); an operation that all
    hosts have in common is where the chains meet.
    """
    host.noop("here")
    yield from ()


def _script(text: str) -> StringCommand:
    """A shell script as one command, which a `sudo` before it takes as a whole."""
    return StringCommand("sh", "-c", shlex.quote(text))
