"""Does an engine's API answer? Asks for one token, within a time that bounds the whole exchange.

The packages `group` and `engine_facts` have it, too, by links of their own: each package stands alone on a host.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONCE_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What came of asking for one token. `refused`: the engine serves, but will never answer this request."""

    ok: bool
    why: str = ""
    refused: bool = False


# A generating model has the first route; a pooling model has one of the others (vLLM 0.32, entrypoints/pooling/
# factories.py registers the routes by task) and answers 404 to the first.
_ROUTES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 1}, "choices"),
    ("/v1/embeddings", {"input": "Hi"}, "data"),
    ("/pooling", {"input": "Hi"}, "data"),
)


def key_of(directory: Path) -> str:
    """The API key in `secret.yaml`. Raises OSError or ValueError; the error never holds the key."""
    for line in (directory / "secret.yaml").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "api-key" and (key := _scalar(value.strip())):
            return key
    raise ValueError("secret.yaml has no api-key")


def _scalar(value: str) -> str:
    """A one-line YAML string: double quoted as in JSON, single quoted with its quotes doubled, or plain."""
    if value.startswith('"'):
        return str(json.loads(value))
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


# /metrics says since when (prometheus_client; the boot time it adds has whole seconds). With several API servers it
# does not, and nothing is compared.
_BORN = re.compile(r"^process_start_time_seconds (\S+)$", re.MULTILINE)
_BORN_SLACK_SECONDS = 2.0


def ask(url: str, model_name: str, key: str, since: float, seconds: float = ONCE_SECONDS) -> Answer:
    """Ask for one token (or one embedding), of a process not older than `since` (seconds since the epoch).

    An older one is a leftover that holds the port. `seconds` bounds the whole exchange.
    """
    deadline = time.monotonic() + seconds
    try:
        answer = _ask(url, model_name, key, deadline)
        born = _BORN.search(_request("GET", url, "/metrics", key, "", deadline)[1]) if answer.ok else None
    except TimeoutError:
        return Answer(False, f"no answer within {seconds:g} s")
    except ConnectionRefusedError:
        return Answer(False, "connection refused")
    except (OSError, http.client.HTTPException) as error:
        return Answer(False, f"no answer ({type(error).__name__})")
    if born and float(born[1]) < since - _BORN_SLACK_SECONDS:
        return Answer(False, "an older process answers on its port")
    return answer


# Counts the engine's steps; one series a data parallel rank.
_STEPS = re.compile(r"^vllm:iteration_tokens_total_count(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def steps(url: str, key: str, seconds: float = ONCE_SECONDS) -> float | None:
    """How many steps the engine has taken; None when its API does not say so in time."""
    text = metrics(url, key, seconds)
    return None if text is None else sum(float(value) for value in _STEPS.findall(text))


def metrics(url: str, key: str, seconds: float = ONCE_SECONDS) -> str | None:
    """What the API says at `/metrics`; None when it does not in time."""
    try:
        status, text = _request("GET", url, "/metrics", key, "", time.monotonic() + seconds)
    except (OSError, http.client.HTTPException):
        return None
    return text if status == 200 else None


def _ask(url: str, model_name: str, key: str, deadline: float) -> Answer:
    refusals = []
    for route, body, wanted in _ROUTES:
        status, text = _request("POST", url, route, key, json.dumps({"model": model_name, **body}), deadline)
        answer = _read(status, text, wanted)
        if answer is not None:
            return answer
        refusals.append(f"{route} HTTP {status}")
    return Answer(False, f"no route takes a request ({', '.join(refusals)})", refused=True)


def _read(status: int, text: str, wanted: str) -> Answer | None:
    """What an HTTP answer means; None when the model has no such route, so that another must be asked."""
    if status == 200:
        return Answer(True) if _has(text, wanted) else Answer(False, f"HTTP 200 without {wanted}")
    if status in (401, 403):
        return Answer(False, f"the key in secret.yaml is refused (HTTP {status})", refused=True)
    if status == 404 and "does not exist" in text:  # "The model `x` does not exist.", serve/engine/serving.py
        return Answer(False, "it serves another model name", refused=True)
    # 404: no such route; 400 and 501: "The model does not support Completions API"
    return None if status in (400, 404, 501) else Answer(False, f"HTTP {status}")


def _has(text: str, wanted: str) -> bool:
    try:
        values = json.loads(text)
    except ValueError:
        return False
    return isinstance(values, dict) and bool(values.get(wanted))


def _request(method: str, url: str, route: str, key: str, body: str, deadline: float) -> tuple[int, str]:
    """Status and text of one exchange, straight to the engine: a proxy must not see the key.

    Raises TimeoutError at the deadline (of the monotonic clock), however slowly bytes come: http.client would only
    bound each read. Other errors are OSError and HTTPException.
    """
    parts = urllib.parse.urlsplit(url)
    head = (
        f"{method} {route} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    received = io.BytesIO()
    with socket.create_connection((parts.hostname or "", parts.port or 80), _left(deadline)) as connection:
        connection.sendall((head + body).encode())
        connection.settimeout(_left(deadline))
        while chunk := connection.recv(65536):
            received.write(chunk)
            connection.settimeout(_left(deadline))
    received.seek(0)
    response = http.client.HTTPResponse(_Received(received))  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    return response.status, response.read().decode(errors="replace")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@dataclass
class _Received:
    """What http.client needs of a socket to parse bytes that are all here."""

    content: io.BytesIO

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.content
