"""Where a model's config.json is found: a path, the catalogue, the hub's cache, the hub; in this order."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.models import small_config
from vllm_fleet.hub import find_model
from vllm_fleet.schema import ConfigError

GOOD = json.dumps(small_config()).encode()
FILE = "/someone/some-model/resolve/main/config.json"


@dataclass
class FakeHub:
    """A hub that gives what `answers` say: (status, body, further headers) by path."""

    address: str = ""
    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Each request's path and token."""

    def gives(self, body: bytes, status: int = 200, path: str = FILE, **headers: str) -> None:
        self.answers[path] = (status, body, headers)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    made = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers.get("Authorization")))
            status, body, headers = made.answers.get(self.path, (404, b"Entry not found", {}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # it has read enough

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def refused(name: str = "someone/some-model") -> str:
    with pytest.raises(ConfigError) as caught:
        find_model(name)
    assert caught.value.message.count("\n") == 0
    return caught.value.message


# ---- without asking anybody ---------------------------------------------------------------------------------------


def test_a_file_and_a_directory(hub, tmp_path):
    (tmp_path / "config.json").write_bytes(GOOD)
    config, directory = find_model(str(tmp_path / "config.json"))
    assert (config.text.hidden_size, directory) == (128, None)
    assert find_model(str(tmp_path))[1] == tmp_path
    assert hub.asked == []


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "qwen/QWEN3-8b"])
def test_the_catalogue_in_any_case(hub, name):
    config, directory = find_model(name)
    assert (config.name, config.text.model_type, directory) == (name, "qwen3", None)
    assert hub.asked == []


def test_a_path_wins_over_the_catalogue(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "Qwen" / "Qwen3-8B"
    own.mkdir(parents=True)
    (own / "config.json").write_bytes(GOOD)
    assert find_model("Qwen/Qwen3-8B")[0].text.model_type == "llama"


def test_the_newest_snapshot_of_the_cache_with_its_weights(hub, tmp_path):
    snapshots = tmp_path / "home" / "hub" / "models--someone--some-model" / "snapshots"
    for number, commit in enumerate(("new", "old")):
        (snapshots / commit).mkdir(parents=True)
        file = snapshots / commit / "config.json"
        file.write_text(json.dumps(small_config(num_hidden_layers=number + 1)))
        os.utime(file, (10**9 - number, 10**9 - number))
    config, directory = find_model("someone/some-model")
    assert config.text.layers == 1
    assert directory == snapshots / "new"
    assert hub.asked == []


@pytest.mark.parametrize(
    "name", ["llama", "a/b/c", "./gone", "../gone", "/gone/config.json", "a" * 5000, "a b/c", "a/b\n"]
)
def test_what_is_neither_a_path_nor_a_name_asks_nobody(hub, name):
    with pytest.raises(ConfigError, match=r"no such file, and no model's name \(organisation/name\); "):
        find_model(name)
    assert hub.asked == []


def test_a_name_that_is_close_to_a_known_one_is_proposed(hub):
    assert "; did you mean meta-llama/Llama-3.1-8B-Instruct or " in refused("Llama-3.1-8B-Instruct")
    assert refused("nothing-like-it").endswith("; give the path of its config.json")


# ---- the hub ------------------------------------------------------------------------------------------------------


def test_the_hub_is_asked_for_what_nothing_here_has(hub):
    hub.gives(GOOD)
    config, directory = find_model("someone/some-model")
    assert (config.name, config.text.hidden_size, directory) == ("someone/some-model", 128, None)
    assert hub.asked == [(FILE, None)]


def test_a_token_is_sent_to_the_hub_and_to_nobody_it_points_to(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    elsewhere = hub.address.replace("127.0.0.1", "localhost") + "/cdn"
    hub.gives(b"", 302, Location=elsewhere)
    hub.gives(GOOD, path="/cdn")
    assert find_model("someone/some-model")[0].text.hidden_size == 128
    assert hub.asked == [(FILE, "Bearer hf_secret"), ("/cdn", None)]


@pytest.mark.parametrize(
    "status, reason",
    [(401, "it needs HF_TOKEN"), (403, "it needs HF_TOKEN"), (404, "status 404"), (500, "status 500")],
)
def test_a_refusal_is_one_line(hub, status, reason):
    hub.gives(b"<html>", status)
    assert refused() == (
        f"someone/some-model: {hub.address} does not give its config.json ({reason}); give the path of its config.json"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_one_line(hub, body):
    hub.gives(body)
    assert refused() == f"someone/some-model: {hub.address} sends no JSON; give the path of its config.json"


@pytest.mark.parametrize("body", [b"[]", b"3", b"{}", b'{"model_type": "mamba2"}'])
def test_json_that_is_no_model_is_refused(hub, body):
    hub.gives(body)
    with pytest.raises(ConfigError, match=r"^someone/some-model(\.\w+)?: .+; .+"):
        find_model("someone/some-model")


def test_an_answer_without_end_is_cut(hub):
    hub.gives(b"[" + b"0," * 9 * 2**20)
    assert refused() == (
        f"someone/some-model: {hub.address} sends more than a config.json; give the path of its config.json"
    )


def test_a_hub_that_cannot_be_reached_is_one_line(hub, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert refused().startswith(f"someone/some-model: not in the catalogue, and {address} cannot be reached (")


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "http://[bad", "http://"])
def test_an_endpoint_that_is_none_is_one_line(hub, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert f"and {endpoint.rstrip('/')} cannot be reached (" in refused()
    assert hub.asked == []


def test_a_token_that_is_no_ascii_is_one_line_and_not_shown(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_geheimnisvoll-ö")
    message = refused()
    assert "cannot be reached (" in message
    assert "geheimnisvoll" not in message
