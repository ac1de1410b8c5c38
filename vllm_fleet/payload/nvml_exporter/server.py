"""Answers scrapes. It never asks NVML, so it answers while NVML does not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer


def server(address: str, port: int, scrape: Callable[[], bytes]) -> ThreadingTCPServer:
    """An HTTP server that gives what `scrape` returns at /metrics; the caller lets it run. Raises OSError where it
    cannot listen."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            body = scrape()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line a scrape would fill the journal."""

    class Server(ThreadingTCPServer):  # Python's HTTPServer would ask DNS for the address's name
        allow_reuse_address = daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    return Server((address, port), Handler)
