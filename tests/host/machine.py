"""A host of the fleet under test, and a way to speak HTTP from it."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host as Shell

from vllm_fleet.planner import on_host
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Fleet, Host

# pyinfra's connection data that ssh must take over, by ssh's own option
_SSH_OPTIONS = {
    "ssh_hostname": "HostName",
    "ssh_user": "User",
    "ssh_port": "Port",
    "ssh_key": "IdentityFile",
    "ssh_known_hosts_file": "UserKnownHostsFile",
    "ssh_strict_host_key_checking": "StrictHostKeyChecking",
}

# Runs on the host, for engines and gateways often answer only there. Keys are read there too: as an argument they
# would show in `ps`, which is what the tests look for. Each chunk read is counted: a proxy that buffers gives one.
_HTTP = """
import http.client, json, ssl, sys
want = json.loads(sys.argv[1])
headers = {"Content-Type": "application/json"}
if want["key_file"]:
    with open(want["key_file"]) as file:
        key = file.readline().strip().removeprefix("api-key:").strip().strip("'" + chr(34))
    headers["Authorization"] = "Bearer " + key
elif want["key"]:
    headers["Authorization"] = "Bearer " + want["key"]
headers |= want["headers"]
connection = http.client.HTTPConnection(want["address"], want["port"], timeout=want["seconds"])
if want["tls"]:
    connection.connect()
    connection.sock = ssl.create_default_context(cadata=want["ca"]).wrap_socket(
        connection.sock, server_hostname=want["tls"])
body = None if want["body"] is None else json.dumps(want["body"])
connection.request(want["method"], want["path"], body, headers)
response = connection.getresponse()
chunks = []
while chunk := response.read1():
    chunks.append(chunk)
print(json.dumps({"status": response.status, "type": response.headers.get("Content-Type", ""),
                  "text": b"".join(chunks).decode(), "chunks": len(chunks)}))
"""


@dataclass(frozen=True)
class Response:
    """An HTTP answer. `chunks` is how many pieces it arrived in."""

    status: int
    type: str
    text: str
    chunks: int

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Machine:
    """One host, as declared and over SSH. Its `repr` is its name, which pytest shows."""

    here: Host
    fleet: Fleet
    placements: list[Placement]
    """The engines of the whole fleet."""
    data: dict[str, Any]
    """pyinfra's data of the host, of which ssh needs the connection's."""

    def __repr__(self) -> str:
        return self.here.name

    @property
    def engines(self) -> list[Placement]:
        return on_host(self.placements, self.here.name)

    @cached_property
    def shell(self) -> Shell:
        """testinfra's host: every command runs as root, over the same connection settings as pyinfra's."""
        return testinfra.get_host(
            f"ssh://{self.here.name}",
            ssh_config=self.data.get("ssh_config_file"),
            ssh_extra_args=_ssh_arguments(self.data),
            sudo=self.data.get("ssh_user") != "root",
        )

    def run(self, command: str) -> str:
        """Standard output of a shell command (bash) that must succeed; a failure shows its last words."""
        done = self.shell.run("bash -c %s", command)
        assert done.rc == 0, f"{self}: exit {done.rc}: {done.stderr.strip()[-1500:]}"
        return str(done.stdout.rstrip("\r\n"))

    def succeeds(self, command: str) -> bool:
        return bool(self.shell.run("bash -c %s", command).rc == 0)

    def http(
        self,
        method: str,
        address: str,
        port: int,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        key_file: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        tls: str | None = None,
        seconds: float = 60,
    ) -> Response:
        """One request made on the host, over TLS if `tls` says for which name the certificate must be.

        `key_file` is a file there whose first line is the key to send. TLS trusts the gateway's declared CA, else the
        host's.
        """
        ca = self.fleet.gateway.ca
        want = {
            "method": method,
            "address": address,
            "port": port,
            "path": path,
            "body": body,
            "key_file": key_file,
            "key": key,
            "headers": headers or {},
            "tls": tls,
            "ca": Path(ca).expanduser().read_text(encoding="ascii") if ca else None,
            "seconds": seconds,
        }
        return Response(**json.loads(self.run(f"python3 -c {shlex.quote(_HTTP)} {shlex.quote(json.dumps(want))}")))

    def can_connect(self, address: str, port: int) -> bool:
        """Whether a TCP connection from this host is accepted within 3 s; refused and silence are both False."""
        return self.succeeds(f"timeout 3 bash -c {shlex.quote(f'exec 3<>/dev/tcp/{address}/{port}')}")


# One directory for the sockets of shared connections: a new connection for each command takes ten times as long.
_SOCKETS = tempfile.mkdtemp(prefix="fleet-ssh-")


def _ssh_arguments(data: dict[str, Any]) -> str:
    options = {name: str(data[key]) for key, name in _SSH_OPTIONS.items() if data.get(key)}
    options |= {"BatchMode": "yes", "ControlMaster": "auto", "ControlPersist": "60", "ControlPath": f"{_SOCKETS}/%C"}
    return " ".join(f"-o {shlex.quote(f'{name}={value}')}" for name, value in options.items())
