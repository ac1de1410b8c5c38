"""An admin socket that answers as HAProxy's does, for the servers of a test."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path

# the columns in front, those asked for and one behind; HAProxy 2.6 has 90 more
HEADER = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,"


class Haproxy:
    """One gateway: servers by `BACKEND/SERVER`, with what each has under way at each look, the last for ever."""

    def __init__(self, socket: Path, *paths: str) -> None:
        self.status = dict.fromkeys(paths, "UP")
        self.requests: dict[str, list[int]] = {path: [0] for path in paths}
        self.said: list[str] = []
        """The `set` commands, in their order."""
        self.refuses = ""
        gateway = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(gateway.answer(self.rfile.readline().decode().strip()).encode())

        self._server = socketserver.ThreadingUnixStreamServer(str(socket), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, command: str) -> str:
        match command.split():
            case ["show", "stat", service, "4", "-1"]:
                rows = [self._row(path) for path in self.status if path.startswith(f"{service}/")]
                return "\n".join([HEADER, *rows, ""]) + "\n" if rows else "No such proxy.\n"
            case ["set", "server", path, "state", state]:
                self.said.append(f"{state} {path}")
                if self.refuses:
                    return f"{self.refuses}\n\n"
                self.status[path] = {"drain": "DRAIN", "ready": "UP"}[state]
                return "\n"
        return "Unknown command.\n"

    def _row(self, path: str) -> str:
        under_way = self.requests[path]
        now = under_way.pop(0) if len(under_way) > 1 else under_way[0]
        service, name = path.split("/")
        return f"{service},{name},0,0,{now},1,,9,0,0,,0,,0,0,0,0,{self.status[path]},1,"
