"""payload/readiness/completion.py: what it takes for an answer."""

from __future__ import annotations

import http.server
import time

import pytest

from tests.unit.readiness import COMPLETION, KEY, Api
from vllm_fleet.payload.readiness.completion import Answer, ask


def test_a_completion_is_an_answer(api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    assert ask(api, "tiny", KEY, 0.0) == Answer(True)
    assert Api.asked == [("/v1/completions", {"model": "tiny", "prompt": "Hi", "max_tokens": 1})]


@pytest.mark.parametrize(
    ("routes", "answer"),
    [
        ({"/v1/completions": (200, "{}")}, Answer(False, "HTTP 200 without choices")),
        ({"/v1/completions": (200, "not JSON")}, Answer(False, "HTTP 200 without choices")),
        ({"/v1/completions": (500, "")}, Answer(False, "HTTP 500")),
        ({"/v1/completions": (503, "")}, Answer(False, "HTTP 503")),
        (
            {"/v1/completions": (404, '{"error": {"message": "The model `tiny` does not exist."}}')},
            Answer(False, "it serves another model name", refused=True),
        ),
        ({"/v1/embeddings": (200, '{"data": [{"embedding": [0.1]}]}')}, Answer(True)),
        ({"/pooling": (200, '{"data": [{"data": [0.1]}]}')}, Answer(True)),
        (
            {"/v1/completions": (501, "")},
            Answer(
                False,
                "no route takes a request (/v1/completions HTTP 501, /v1/embeddings HTTP 404, /pooling HTTP 404)",
                refused=True,
            ),
        ),
    ],
)
def test_other_answers(api: str, routes: dict[str, tuple[int, str | None]], answer: Answer) -> None:
    Api.routes = routes
    assert ask(api, "tiny", KEY, 0.0) == answer


def test_a_refused_key_is_said_without_the_key(api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    answer = ask(api, "tiny", "wrong-key", 0.0)
    assert answer == Answer(False, "the key in secret.yaml is refused (HTTP 401)", refused=True)


def test_an_answer_that_does_not_end_meets_the_deadline(api: str) -> None:
    Api.routes = {"/v1/completions": (200, None)}
    begin = time.monotonic()
    assert ask(api, "tiny", KEY, 0.0, seconds=0.5) == Answer(False, "no answer within 0.5 s")
    assert 0.4 < time.monotonic() - begin < 5


def test_a_closed_port_is_no_answer() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        port = server.server_port
    assert ask(f"http://127.0.0.1:{port}", "tiny", KEY, 0.0) == Answer(False, "connection refused")


@pytest.mark.parametrize(("since", "ok"), [(1000.0, True), (1001.5, True), (1010.0, False)])
def test_a_leftover_process_on_the_port_is_no_answer(api: str, since: float, ok: bool) -> None:
    Api.routes = {
        "/v1/completions": (200, COMPLETION),
        "/metrics": (200, "# HELP x y\nprocess_start_time_seconds 1.0e+03\nz 1\n"),
    }
    assert ask(api, "tiny", KEY, since).ok is ok


def test_proxies_of_the_environment_do_not_see_the_request(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    assert ask(api, "tiny", KEY, 0.0).ok
