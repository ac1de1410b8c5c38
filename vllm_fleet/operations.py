"""Our own pyinfra operations: files as one archive, releases, units."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import tarfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, StringCommand, operation
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operation import OperationMeta
from pyinfra.api.output import format_text
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from vllm_fleet import paths
from vllm_fleet.engine.weights import archive_path
from vllm_fleet.facts import RUN_SALT, Files, FileState, Links, Names, Succeeds, Units
from vllm_fleet.render.files import File
from vllm_fleet.schema import Archive, Secret
from vllm_fleet.schema.weights import Source

Commands = Iterator[str | StringCommand | FileUploadCommand]

# Unpacks the archive on standard input beside its targets' file system root, checks the staged copies, then moves
# each over its target: a reader sees the old file or the new one, never half of one.
_PLACE = """\
set -eu; umask 022
stage=$(mktemp -d /var/tmp/vllm-fleet.XXXXXX); trap 'rm -rf "$stage"' EXIT
base64 -d | tar --extract --preserve-permissions --directory "$stage"
( {check} )
cd "$stage"; find . -type f | while read -r file; do
  target="/${{file#./}}"; mkdir -p "$(dirname "$target")"
  cp --preserve=mode,ownership "$file" "$target.$$"; mv -fT "$target.$$" "$target"
done
"""


@operation()
def put_files(files: list[File], check: str | None = None) -> Commands:
    """Make files as wanted: content, mode and owner. Unchanged ones are left alone; all others go in one archive.

    + files: the wanted files; `secret` ones are never shown by `--diff`
    + check: a shell command that must succeed before anything goes live, e.g. `haproxy -c -f
      "$stage/etc/haproxy/haproxy.cfg"`; `$stage` holds the changed files under their full paths. It runs with the
      host's other files as they are, and only when something changed.

    Owners must exist on the host before the operation runs.
    """
    current = host.get_fact(Files, paths=[file.path for file in files], salt=RUN_SALT)
    changed = [file for file in files if current.get(file.path) != _wanted(file)]
    if not changed:
        host.noop(f"{len(files)} files are as wanted")
        return
    for file in changed:
        _report(file, current.get(file.path))
    yield StringCommand("sh", "-c", shlex.quote(_PLACE.format(check=check or ":")), _stdin=_archive(changed))


def _wanted(file: File) -> FileState:
    digest = hashlib.sha256((RUN_SALT + file.content).encode()).hexdigest()
    return FileState(file.mode.lstrip("0"), file.owner, file.group, digest)


def _report(file: File, current: FileState | None) -> None:
    """Say what changes, as pyinfra's files.put does: only under `--diff`, and without secrets."""
    if not state.config.DIFF:
        return
    host.log(f"Will {'modify' if current else 'create'} {format_text(file.path, bold=True)}", logger.info)
    if file.secret:
        logger.info("  (secret content is not shown)")
        return
    old = (host.get_fact(FileContents, path=file.path) or []) if current else []
    for line in generate_color_diff([line + "\n" for line in old], StringIO(file.content).readlines()):
        logger.info("  %s", line)
    if current and current.mode != file.mode.lstrip("0"):
        logger.info("  mode %s to %s", current.mode, file.mode)


def _archive(files: list[File]) -> str:
    """The files as base64 of a tar archive, names relative to `/`; owners by name, so the host's own numbers count."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            content = file.content.encode()
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(content), int(file.mode, 8)
            entry.uname, entry.gname = file.owner, file.group
            archive.addfile(entry, io.BytesIO(content))
    return base64.encodebytes(buffer.getvalue()).decode()


@operation()
def link(path: str, target: str) -> Commands:
    """Point a symbolic link at a target, switched atomically."""
    if host.get_fact(Links, paths=[path]).get(path) == target:
        host.noop(f"{path} points to {target}")
        return
    new = shlex.quote(f"{path}.new")
    yield f"ln -sfn {shlex.quote(target)} {new} && mv -fT {new} {shlex.quote(path)}"


@operation()
def remove_engines(keep: list[str]) -> Commands:
    """Stop and remove the engines that are no longer placed on this host; their caches go too, weights stay."""
    extra = [name for name in host.get_fact(Names, directory=paths.ENGINES) if name not in keep]
    for name in extra:
        unit = shlex.quote(f"vllm-{name}.service")
        yield f"systemctl disable --now {unit}; rm -f {paths.UNITS}/{unit}; systemctl daemon-reload"
        yield f"rm -rf {shlex.quote(paths.engine(name))} {shlex.quote(paths.cache(name))}"
    if not extra:
        host.noop("no other engine is here")


@operation()
def remove_old_releases(directory: str) -> Commands:
    """Keep the releases that the links name and the two latest others."""
    if len(host.get_fact(Names, directory=directory)) <= 4:
        host.noop("few enough")
        return
    links = '"$(readlink ../current)" "$(readlink ../good)"'
    keep = f"printf '%s\\n' {links} | xargs -n1 basename"
    yield f'cd {shlex.quote(directory)} && ls -1t | grep -vxF "$({keep})" | tail -n +3 | xargs -r rm -rf'


@operation()
def await_engine(instance: str, seconds: int) -> Commands:
    """Wait until an engine answers a real completion; fails with the phase it was in and its last error lines.

    The program on the host puts the last release that answered back when the new one does not.
    """
    directory = paths.engine(instance)
    # `good` too, for an engine that was quicker than the deploy's look at it has not been noted as good yet
    noted = f'[ "$(readlink {directory}/good)" = "$(readlink {directory}/current)" ]'
    if host.get_fact(Succeeds, test=f"{noted} && {paths.READY_COMMAND} {shlex.quote(instance)} --once"):
        host.noop(f"{instance} answers")
        return
    # twice over: the new release, and on failure the one put back; the program keeps the time itself
    yield StringCommand(paths.READY_COMMAND, instance, "--wait", _timeout=2 * seconds + 120)


@operation()
def running(unit: str, restart_on: list[OperationMeta] = [], reload_on: list[OperationMeta] = []) -> Commands:  # noqa: B006
    """A systemd unit that is enabled and runs, started at most once.

    + unit: its full name, e.g. `haproxy.service`
    + restart_on: operations whose changes need a restart
    + reload_on: operations whose changes a reload takes up
    """
    current = host.get_fact(Units, units=[unit]).get(unit, {})
    quoted = shlex.quote(unit)
    commands = []
    restart = any(map(_changed, restart_on))
    # systemd 252 does not see that the first drop-in of a unit came: NeedDaemonReload stays "no" for a while
    if restart or current.get("NeedDaemonReload") == "yes" or not current.get("UnitFileState"):
        commands.append("systemctl daemon-reload")
    if current.get("UnitFileState") not in ("enabled", "static", "generated"):
        commands.append(f"systemctl enable {quoted}")
    if restart or current.get("ActiveState") not in ("active", "activating", "reloading"):
        commands.append(f"systemctl restart {quoted}")
    elif any(map(_changed, reload_on)):
        commands.append(f"systemctl reload-or-restart {quoted}")
    if not commands:
        host.noop(f"{unit} is enabled and runs")
    yield from commands


def _changed(done: OperationMeta) -> bool:
    """Whether an earlier operation changed (or, while preparing, would change) this host."""
    return bool(done.did_change() if done.is_complete() else done.will_change)


@operation()
def run_unless(command: str, test: str) -> Commands:
    """Run a shell command unless a read-only test already succeeds."""
    if host.get_fact(Succeeds, test=test):
        host.noop("already so")
        return
    yield command


@operation()
def fetch_weights(source: Source, command: str, complete: str, token: tuple[str, Secret] | None = None) -> Commands:
    """A model's files on the host, unless they are there already.

    + source: an Archive is sent first, over the deploy's own connection
    + command: fetches, checks and moves the files into place
    + complete: a read-only shell test that is true when nothing is to do
    + token: path of a file that holds the hub token while the command runs, and the token
    """
    if host.get_fact(Succeeds, test=complete):
        host.noop(f"{source.name} is there")
        return
    if isinstance(source, Archive):
        archive = archive_path(source)
        yield FileUploadCommand(str(Path(source.path).resolve()), archive, remote_temp_filename=f"{archive}.sent")
        yield f"rm -f {archive}.sent"
    if token:
        path, secret = token
        yield StringCommand(f"umask 077; cat > {path}", _stdin=secret.read("model.token"))
        command = f"trap 'rm -f {path}' EXIT; {command}"
    yield StringCommand("sh", "-c", shlex.quote(command))


@operation()
def all_hosts_here() -> Commands:
    """Nothing on a host; but all hosts get here before any goes on.

    pyinfra lets each host run ahead on its own chain of operations (state.get_op_order, 3.10); an operation that all
    hosts have in common is where the chains meet.
    """
    host.noop("here")
    yield from ()


@operation()
def require(test: str, message: str) -> Commands:
    """Fail the host with a one-line message unless a read-only test succeeds."""
    if not host.get_fact(Succeeds, test=test):
        raise OperationError(message)
    host.noop("holds")
    yield from ()
