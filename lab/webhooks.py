"""A receiver for alerts on the bridge: keeps what Alertmanager posts to /page, /ticket and /watchdog.

GET answers with all of it, oldest first: a list of {"at", "receiver", "status", "alert", "labels"}, `at` in seconds
since the epoch. Source: Alertmanager's documentation, "Webhook" (version 4 of the message).
"""

from __future__ import annotations

import json
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.topology import BRIDGE_ADDRESS, WEBHOOKS_PORT

KEPT = 20_000
"""Notifications; the watchdog's come once a minute."""


class Receiver(ThreadingHTTPServer):
    """The server, with what it received."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.received: deque[dict[str, Any]] = deque(maxlen=KEPT)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in message["alerts"]:
            self.server.received.append(
                {
                    "at": time.time(),
                    "receiver": self.path.removeprefix("/"),
                    "status": alert["status"],
                    "alert": alert["labels"]["alertname"],
                    "labels": alert["labels"],
                }
            )
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(json.dumps(list(self.server.received)).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What came can be asked for."""


if __name__ == "__main__":
    Receiver(BRIDGE_ADDRESS, WEBHOOKS_PORT).serve_forever()
