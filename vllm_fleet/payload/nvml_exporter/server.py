"""Answers scrapes. It never asks NVML, so it answers while NVML does not.

As much of HTTP/1.0 as a scrape takes: Python's http.server would bring 6 MiB of imports, OpenSSL among them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from socketserver import StreamRequestHandler, ThreadingTCPServer

_LINE_BYTES = 8192
_LINES = 100


def server(address: str, port: int, scrape: Callable[[], bytes]) -> ThreadingTCPServer:
    """An HTTP server that gives what `scrape` returns at /metrics; the caller lets it run. Raises OSError where it
    cannot listen."""

    class Handler(StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            try:
                request = self.rfile.readline(_LINE_BYTES).split()
                # what else it says is read, for a connection that closes before would be reset
                for _ in range(_LINES):
                    if not self.rfile.readline(_LINE_BYTES).strip():
                        break
                self.wfile.write(_answer(request, scrape))
            except OSError:  # it left, or was too slow
                pass

    class Server(ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    return Server((address, port), Handler)


def _answer(request: list[bytes], scrape: Callable[[], bytes]) -> bytes:
    if request[:2] != [b"GET", b"/metrics"]:
        return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = scrape()
    kind = b"Content-Type: text/plain; version=0.0.4; charset=utf-8"
    return b"HTTP/1.0 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)
