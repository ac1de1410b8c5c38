"""What the tests of our pyinfra operations share: deploys to hosts that are this machine, and a systemd that is none.

Paths are a test's own and owners the current user, so no root is needed and nothing of the machine is changed.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.operation import OperationMeta, add_op
from pyinfra.api.operations import run_ops
from pyinfra.connectors.local import LocalConnector
from pyinfra.context import ctx_host, ctx_state

from vllm_fleet import converge
from vllm_fleet.render.files import Directory, File

OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name

ODD_NAMES = ["a file", "it's", 'the "other"', "$HOME", "-n", " leading", "trailing ", "*", "größe", "a;b&c"]


def file(path: Path, content: str | bytes = "", mode: str = "0644", **more: Any) -> File:
    return File(str(path), content, mode, OWNER, GROUP, **more)


def directory(path: Path, mode: str = "0755") -> Directory:
    return Directory(str(path), mode, OWNER, GROUP)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def staged(path: Path) -> list[Path]:
    """What was staged for a path and is still there."""
    return list(Path("/var/tmp").glob(f"vllm-fleet.*/{str(path).lstrip('/')}"))


class Deploy:
    """A deploy as pyinfra runs it: operations are added, and run together; `commands` are what each host was sent.

    + look_first: ask what would change as each operation is added, as pyinfra does without `-y`
    """

    def __init__(self, *hosts: str, diff: bool = False, look_first: bool = False) -> None:
        inventory = Inventory(([*hosts] or ["here"], {}))
        for host in inventory:
            host.connector_cls = LocalConnector  # a name without @ would be reached over SSH
        self.state = State(inventory, Config(FAIL_PERCENT=0, DIFF=diff), check_for_changes=look_first)
        self.commands: dict[str, list[str]] = {}
        connect_all(self.state)
        for host in inventory:
            sent = self.commands[host.name] = []
            host.connector.run_shell_command = partial(_recorded, sent, host.connector.run_shell_command)

    def add(self, operation: Any, *, on: str | None = None, **arguments: Any) -> OperationMeta:
        """Add an operation for a host, by default the first."""
        host = self.state.inventory.get_host(on or next(iter(self.commands)))
        (done,) = add_op(self.state, operation, host=host, **arguments).values()
        return done

    def run(self) -> None:
        run_ops(self.state)

    def commands_of(self, done: OperationMeta) -> list[str]:
        """The commands that an added operation of the first host would run now, which are not run."""
        host = next(iter(self.state.inventory))
        generate = self.state.get_op_data_for_host(host, done._hash).command_generator
        with ctx_state.use(self.state), ctx_host.use(host):
            return [command.get_raw_value() for command in generate()]


def _recorded(sent: list[str], run: Callable[..., Any], command: Any, *arguments: Any, **more: Any) -> Any:
    sent.append(command if isinstance(command, str) else command.get_raw_value())
    return run(command, *arguments, **more)


Apply = Callable[..., bool]


def applier(diff: bool = False) -> Apply:
    """Runs an operation as a deploy of its own; whether it changed anything. Raises PyinfraError when it fails."""
    deploy = Deploy(diff=diff)
    # operations run as they are added, without a look ahead at what they would change
    deploy.state.is_executing = True

    def run(operation: Any, **arguments: Any) -> bool:
        converge._surveys.clear()  # what the host said in the deploy before
        return bool(deploy.add(operation, **{"name": "an operation"} | arguments).did_change())

    return run


SYSTEMCTL = """\
#!/bin/sh
# units are known by files in enabled/ and active/; what is not `show` is noted, and fails where `fails` names it
cd {root}
if [ "$1" = show ]; then
  shift 2; between=
  for unit; do
    printf "$between"; between='\\n' active=inactive enabled=
    if [ -e active/$unit ]; then active=active; fi
    if [ -e enabled/$unit ]; then enabled=enabled; fi
    printf 'Id=%s\\nActiveState=%s\\nUnitFileState=%s\\nNeedDaemonReload=no\\n' "$unit" $active $enabled
  done
  exit
fi
echo "$*" >> commands
verb=$1; shift; code=0
if grep -qxF -- "$verb $*" fails; then exit 1; fi
for unit; do
  if grep -qxF -- "$verb $unit" fails; then code=1; continue; fi
  case "$verb" in
    enable) touch "enabled/$unit" ;;
    restart|reload-or-restart) touch "active/$unit" ;;
  esac
done
exit $code
"""


class Systemd:
    """A `systemctl` in a directory for PATH; it must come first there, for root's own would obey."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        for part in (self.programs, root / "enabled", root / "active"):
            part.mkdir(parents=True)
        (root / "fails").touch()
        self.program("systemctl", SYSTEMCTL.format(root=root))

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text, encoding="utf-8")
        (self.programs / name).chmod(0o755)

    def runs(self, unit: str) -> None:
        (self.root / "enabled" / unit).touch()
        (self.root / "active" / unit).touch()

    def fails(self, *commands: str) -> None:
        """From now on these fail, and no others."""
        (self.root / "fails").write_text("".join(f"{command}\n" for command in commands))

    def called(self) -> list[str]:
        """The commands since the last call."""
        noted = self.root / "commands"
        lines = noted.read_text().splitlines() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return lines
