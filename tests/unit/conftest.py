"""Fixtures of several unit tests."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.unit.readiness import Api


@pytest.fixture
def api() -> Iterator[str]:
    Api.routes, Api.asked, Api.stop = {}, [], threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Api.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()
