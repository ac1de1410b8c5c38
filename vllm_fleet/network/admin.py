"""HAProxy's admin socket: how a gateway is asked for its servers, and told to drain or admit one.

The commands are those of HAProxy's management guide, section 9.3 (2.6 and later).
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

SOCKET = "/run/haproxy/admin.sock"

# One connection a command, for HAProxy closes it after the answer. Without HAProxy nothing is served there.
_ASK = """\
import socket, sys
for command in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(10)
        try:
            admin.connect("{socket}")
        except (FileNotFoundError, ConnectionRefusedError):
            sys.exit()
        admin.sendall(command.encode() + b"\\n")
        print("".join(iter(lambda: admin.recv(65536).decode(), "")))
"""


@dataclass(frozen=True)
class Server:
    """One engine as a gateway knows it."""

    service: str
    name: str

    @property
    def path(self) -> str:
        """`BACKEND/SERVER`, as the socket's commands name it."""
        return f"{self.service}/{self.name}"


@dataclass(frozen=True)
class State:
    """What a gateway says of a server."""

    status: str
    """`UP`, `DOWN`, `DRAIN`, `MAINT`, some with more after it: `UP 1/2`."""
    requests: int
    """Under way and waiting for it."""

    @property
    def up(self) -> bool:
        return self.status.startswith("UP")

    @property
    def admitted(self) -> bool:
        """Whether it may get requests; a person may have taken it out."""
        return not self.status.startswith(("DRAIN", "MAINT"))


def ask(commands: Iterable[str]) -> str:
    """The shell command that asks a gateway; it prints the answers, and nothing where no HAProxy runs."""
    return shlex.join(["python3", "-c", _ASK.format(socket=SOCKET), *commands])


def show(services: Iterable[str]) -> list[str]:
    """The commands whose answers `states` reads; 4 stands for servers only, -1 for all of them."""
    return [f"show stat {service} 4 -1" for service in services]


def drain(server: Server) -> str:
    """No new request goes there; those under way end by themselves."""
    return f"set server {server.path} state drain"


def admit(server: Server) -> str:
    """Requests go there again, as soon as its health checks succeed."""
    return f"set server {server.path} state ready"


def states(lines: Iterable[str]) -> dict[Server, State]:
    """The servers in answers to `show`; a service that a gateway does not know yet has none."""
    found: dict[Server, State] = {}
    header: list[str] = []
    for row in csv.reader(lines):
        if row and row[0].startswith("# "):
            header = [row[0].removeprefix("# "), *row[1:]]
        elif len(row) > 1 and len(row) == len(header):
            values = dict(zip(header, row, strict=True))
            requests = int(values["scur"] or 0) + int(values["qcur"] or 0)
            found[Server(values["pxname"], values["svname"])] = State(values["status"], requests)
    return found
