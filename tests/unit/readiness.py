"""What the tests of payload/readiness share: an engine's journal, a unit's state, and an API to ask.

The journals are real ones' lines (vLLM 0.32 texts and logger format), shortened.
"""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any, ClassVar

API = "(APIServer pid=7) INFO 11-21 08:07:00"
CORE = "(EngineCore pid=80) INFO 11-21 08:07:09"
START = [
    "Started vllm-chat.service - vLLM engine chat.",
    f"{API} [api_utils.py:286] non-default args: {{'model_tag': '/models/tiny', 'host': '10.0.0.11'}}",
    f"{API} [model.py:733] Resolved architecture: LlamaForCausalLM",
    f"{CORE} [core.py:134] Initializing a V1 LLM engine (v0.32.0) with config: model='/models/tiny'",
    f"{CORE} [cpu_model_runner.py:68] Starting to load model /models/tiny...",
    "\rLoading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]\r",
    f"{CORE} [default_loader.py:502] Loading weights took 0.05 seconds",
    f"{CORE} [kv_cache_utils.py:2328] CPU KV cache size: 524,288 tokens, Maximum concurrency for 1,024 tokens: 512x",
    "Capturing CUDA graphs (decode, FULL): 100%|##########| 35/35 [00:02<00:00, 15.1it/s]",
    f"{CORE} [core.py:386] init engine (profile, create kv cache, warmup model) took 9.71 s",
    f"{API} [entry.py:140] Starting vLLM server on http://10.0.0.11:8000",
    "INFO:     Application startup complete.",
]
ERROR = "(EngineCore pid=80) ERROR 11-21 08:07:20"
BAD_OPTION = ["vllm serve: error: unrecognized arguments: --swap-space 4"]
NO_MEMORY = ["ValueError: No available memory for the cache blocks."]


def journal_line(text: str | list[int] | None, **fields: str) -> str:
    return json.dumps({"__CURSOR": "s=1;i=2", "MESSAGE": text, **fields})


SHOWN = """\
LoadState=loaded
ActiveState={active}
SubState={sub}
MainPID={pid}
NRestarts={restarts}
InvocationID={invocation}
InactiveExitTimestamp=Sat 2026-11-21 08:07:00.000001 UTC
ExecMainStartTimestamp=Sat 2026-11-21 08:07:00.250000 UTC
"""


def shown(active: str = "active", sub: str = "running", **values: Any) -> str:
    return SHOWN.format(active=active, sub=sub, **({"pid": 42, "restarts": 0, "invocation": "aa"} | values))


KEY = "k3y-for-tests"


class Api(http.server.BaseHTTPRequestHandler):
    """An engine's API as a table: route to (status, body); a body None never comes."""

    routes: ClassVar[dict[str, tuple[int, str | None]]] = {}
    asked: ClassVar[list[tuple[str, Any]]] = []
    stop: ClassVar[threading.Event]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, '{"error": "Unauthorized"}')
            return
        status, text = self.routes.get(self.path, (404, '{"detail":"Not Found"}'))
        if text is None:
            self.drip()
        else:
            self.answer(status, text)

    def do_GET(self) -> None:
        self.answer(*self.routes.get(self.path, (404, "")))

    def answer(self, status: int, text: str | None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def drip(self) -> None:
        """Keep each read of the client short and the answer endless."""
        self.send_response(200)
        self.end_headers()
        while not self.stop.wait(0.05):
            try:
                self.wfile.write(b" ")
            except OSError:
                return

    def log_message(self, *_: Any) -> None:
        pass


COMPLETION = '{"choices": [{"text": "!"}]}'
