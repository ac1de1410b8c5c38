"""Weights from one host to the next, as quick as the link between them; runs on hosts, with Python's library alone.

    peer_weights.py share DIRECTORY ADDRESS PORT       offer what stands there until nobody has asked for a while
    peer_weights.py fetch URL SUMS_SHA256 DIRECTORY    fetch all that URL/SHA256SUMS names, every byte checked

`share` runs in a unit of its own that the deploy starts. `fetch` is told by the deploy what the sum of SHA256SUMS is,
so a host that sends other bytes is found out. Exit 0, or 1 with one line on stderr.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import socket
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any

IDLE_SECONDS = 120.0
"""How long `share` waits for the next request; the peers of one round come within seconds."""
STREAMS = 4
"""Files fetched at once: one TCP stream and one core of checksums do not fill a fast link."""
CHUNK = 1 << 20
TIMEOUT_SECONDS = 60.0
START_SECONDS = 15.0
SUMS = "SHA256SUMS"


class Sharer(http.server.ThreadingHTTPServer):
    """Serves one directory, and knows since when nobody has asked it anything."""

    daemon_threads = True
    timeout = 1.0
    """After how many seconds without a request it looks whether it may end."""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        self.directory = directory
        self.lock = threading.Lock()
        self.active = 0
        self.last = time.monotonic()
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), _Handler)

    def count(self, change: int) -> None:
        with self.lock:
            self.active += change
            self.last = time.monotonic()

    def idle(self) -> bool:
        return self.active == 0 and time.monotonic() - self.last > IDLE_SECONDS

    def run(self) -> None:
        while not self.idle():
            self.handle_request()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the directory, by the kernel's own copying."""

    server: Sharer

    def __init__(self, request: Any, client_address: Any, server: Sharer) -> None:
        super().__init__(request, client_address, server, directory=str(server.directory))

    def handle(self) -> None:
        self.server.count(+1)
        try:
            super().handle()
        finally:
            self.server.count(-1)

    def list_directory(self, _path: Any) -> None:
        self.send_error(404)

    def copyfile(self, source: Any, _outputfile: Any) -> None:
        self.wfile.flush()
        self.connection.sendfile(source)

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: systemd's journal would be all it filled."""


def fetch(url: str, sums_sha256: str, directory: Path) -> None:
    """Fill `directory`. Raises ValueError for bytes that are not what was promised, OSError when they do not come."""
    with _patiently(f"{url}/{SUMS}") as response:
        sums: bytes = response.read()
    if hashlib.sha256(sums).hexdigest() != sums_sha256:
        raise ValueError(f"{SUMS} is not the one that the deploy saw there")
    wanted = [line.split("  ", 1) for line in sums.decode().splitlines()]
    for _, name in wanted:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name} leads out of the directory")
    with ThreadPoolExecutor(STREAMS) as pool:
        jobs = [pool.submit(_file, f"{url}/{urllib.parse.quote(name)}", directory / name, sha) for sha, name in wanted]
        for job in jobs:
            job.result()
    # last, so that a directory with this file is complete
    (directory / SUMS).write_bytes(sums)


def _file(url: str, path: Path, sha256: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _open(url) as response, path.open("wb") as file:
        while piece := response.read(CHUNK):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != sha256:
        raise ValueError(f"{path.name} arrived damaged")


def _patiently(url: str) -> IO[bytes]:
    """The first request: the peer's program may just be starting."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return _open(url)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)  # the peer is just starting to share; bounded above


def _open(url: str) -> IO[bytes]:
    """The body of a GET, straight from the peer: no proxy may stand between. Raises OSError for other than 200."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", parts.path)
    response = connection.getresponse()
    if response.status != 200:
        raise OSError(f"{url}: HTTP {response.status}")
    return response


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["share", directory, address, port]:
                Sharer(Path(directory), address, int(port)).run()
            case ["fetch", url, sums_sha256, directory]:
                fetch(url, sums_sha256, Path(directory))
            case _:
                print(
                    "usage: peer_weights.py share DIRECTORY ADDRESS PORT | fetch URL SHA256 DIRECTORY", file=sys.stderr
                )
                return 2
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{arguments[1]}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
