"""A model's files on a host, from where they come or from a peer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pyinfra import host, logger
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand
from pyinfra.api.operation import OperationMeta

from vllm_fleet.converge import Commands, converge
from vllm_fleet.engine.weights import archive_path, copy_command, share_command
from vllm_fleet.facts import holds
from vllm_fleet.operations.shell import Failed, run, script
from vllm_fleet.schema import Archive, Host, Secret
from vllm_fleet.schema.weights import Source


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
        with suppress(Failed):  # the origin is asked then
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
