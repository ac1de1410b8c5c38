"""The rendered gateway in the real HAProxy, on loopback, in front of small fake engines.

Debian package for these tests (all marked `tools`): haproxy.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lab.certificates import make
from tests.fleets import example_fleet, service
from tests.tools import tool
from vllm_fleet.planner.placement import place
from vllm_fleet.render.gateway import CERTIFICATE, certificate_file, gateway_config, key_files
from vllm_fleet.schema import Fleet, Gateway, Host, Secret
from vllm_fleet.schema.certificate import load_certificate

pytestmark = pytest.mark.tools

EDGE, GPU1, GPU2 = "127.0.0.10", "127.0.0.11", "127.0.0.12"
CLIENT_KEY, ENGINE_KEYS = "client-key-1", {"chat": "chat-engine-key", "coder": "coder-engine-key"}
BODY_KIB = 256
CA, PEM = make([EDGE])


class Engine(ThreadingHTTPServer):
    """A fake engine: answers with what it got, streams when asked, and is as healthy as `healthy` says."""

    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), EngineHandler)
        self.healthy = True
        self.served = 0
        self.second_chunk = Event()
        self.hung_up = Event()
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class EngineHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200 if self.server.healthy else 503, b"")
        else:
            self._echo(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.served += 1
        if b'"stream"' in body:
            self._stream()
        elif b'"wait"' in body:
            with suppress(ConnectionResetError):  # it may hang up with a reset
                self.connection.recv(1)  # nothing comes but the gateway's hanging up
            self.server.hung_up.set()
        else:
            self._echo(body)

    def _echo(self, body: bytes) -> None:
        host, port = self.server.server_address[:2]
        seen = {
            "engine": f"{host!s}:{port}",
            "path": self.path,
            "headers": dict(self.headers.items()),
            "size": len(body),
        }
        self._send(200, json.dumps(seen).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionResetError):  # a health check is closed at the status line
            self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"9\r\ndata: 1\n\n\r\n")
        self.server.second_chunk.wait(10)
        self.wfile.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")


@dataclass
class Answer:
    status: int
    body: bytes
    server: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Fixture:
    """A running gateway and its engines."""

    fleet: Fleet
    engines: dict[str, Engine]
    log: Path
    folder: Path
    ca: str = CA
    """What its clients trust."""

    def connect(self) -> HTTPConnection:
        """A client's connection; where the gateway speaks TLS, one that verifies its certificate."""
        address, port = EDGE, self.fleet.gateway.port
        if not self.fleet.gateway.certificate:
            return HTTPConnection(address, port, timeout=15)
        return HTTPSConnection(address, port, timeout=15, context=ssl.create_default_context(cadata=self.ca))

    def ask(
        self, path: str, body: bytes | None = None, key: str | None = CLIENT_KEY, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = self.connect()
        sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        with suppress(OSError):  # refused before all of a large body was read: the answer is there
            connection.request("GET" if body is None else "POST", path, body, sent)
        response = connection.getresponse()
        answer = Answer(response.status, response.read(), response.getheader("Server"))
        connection.close()
        return answer

    def master(self, command: str) -> bytes:
        """The beginning of what HAProxy's master answers; nothing while it does not listen yet."""
        with socket.socket(socket.AF_UNIX) as master, suppress(ConnectionError):
            master.settimeout(15)
            master.connect(str(self.folder / "master.sock"))
            master.sendall(f"{command}\n".encode())
            return master.recv(4096)
        return b""

    def reload(self) -> None:
        """As `systemctl reload haproxy`; a master that has just begun would hear neither this nor SIGUSR2."""
        wait_until(lambda: self.master("show proc") != b"")
        self.master("reload")

    def server_states(self) -> dict[str, bool]:
        """`service/server` to whether it is up, as Prometheus sees it."""
        connection = HTTPConnection(EDGE, self.fleet.gateway.stats_port, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        found = re.findall(r'^haproxy_server_status\{proxy="(.*?)",server="(.*?)",state="UP"\} ([01])', text, re.M)
        return {f"{proxy}/{server}": value == "1" for proxy, server, value in found}


def free_port(*addresses: str) -> int:
    """A port free on all addresses."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind((addresses[0], 0))
            port = int(probe.getsockname()[1])
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return port
    raise AssertionError("no free port")


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.1)  # HAProxy looks at its servers in its own time; bounded above


def loopback_fleet(services: int, certificate: Secret | None = None) -> Fleet:
    chat, coder = free_port(GPU1, GPU2), free_port(GPU2)
    return example_fleet(
        hosts=[
            Host(name="gpu1", address=GPU1, groups=("gpu",), gpus=1),
            Host(name="gpu2", address=GPU2, groups=("gpu",), gpus=2),
            Host(name="edge1", address=EDGE, groups=("gateway", "monitoring")),
        ],
        services=[
            service("chat", "acme/chat", hosts=["gpu1", "gpu2"], replicas=2, port=chat),
            service("coder", "acme/coder", hosts=["gpu2"], port=coder),
        ][:services],
        gateway=Gateway(
            api_keys=[Secret(env="CLIENT_KEY")],
            certificate=certificate,
            port=free_port("0.0.0.0"),
            stats_port=free_port(EDGE),
            clients=["127.0.0.0/8"],
            max_body_kib=BODY_KIB,
        ),
    )


def write_runnable(fleet: Fleet, folder: Path) -> Path:
    """The rendered files below `folder`, without what only root on an installed host has."""
    config = gateway_config(fleet, place(fleet), fleet.host("edge1"))
    text = re.sub(r"^    (chroot|user|group) .*\n", "", config.content, flags=re.M)
    text = text.replace("/etc/haproxy/vllm-fleet/", f"{folder}/").replace("/run/haproxy/", f"{folder}/")
    certificate = certificate_file(load_certificate(PEM, "gateway.certificate", datetime.now(UTC)))
    for file in [*key_files([CLIENT_KEY, "client-key-2"], ENGINE_KEYS), certificate]:
        (folder / Path(file.path).name).write_text(file.content, encoding="utf-8")
    path = folder / "haproxy.cfg"
    path.write_text(text, encoding="utf-8")
    return path


def run_gateway(fleet: Fleet, folder: Path) -> Iterator[Fixture]:
    engines = {
        f"{engine.service.name}/{engine.host.name}": Engine(engine.host.address, engine.port) for engine in place(fleet)
    }
    log = folder / "haproxy.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            # a master with a socket, as Debian's unit starts it
            [tool("haproxy"), "-W", "-db", "-S", str(folder / "master.sock"), "-f", str(write_runnable(fleet, folder))],
            stdout=output,
            stderr=output,
        )
    gateway = Fixture(fleet, engines, log, folder)
    try:
        wait_until(lambda: listens(EDGE, fleet.gateway.port) or process.poll() is not None)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield gateway
    finally:
        process.terminate()
        process.wait(5)
        for engine in engines.values():
            engine.stop()


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    """Two services: `chat` on two hosts, `coder` on one."""
    yield from run_gateway(loopback_fleet(2), tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def one_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    yield from run_gateway(loopback_fleet(1), tmp_path_factory.mktemp("one-service"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    """Two services behind TLS."""
    yield from run_gateway(loopback_fleet(2, Secret(env="CERTIFICATE")), tmp_path_factory.mktemp("encrypted"))


@pytest.fixture
def renewable(tmp_path: Path) -> Iterator[Fixture]:
    """One service behind TLS, for one test alone."""
    yield from run_gateway(loopback_fleet(1, Secret(env="CERTIFICATE")), tmp_path)


@pytest.fixture(params=["gateway", "encrypted"])
def either(request: pytest.FixtureRequest) -> Fixture:
    """A gateway that speaks plain HTTP, and one that speaks TLS."""
    found: Fixture = request.getfixturevalue(request.param)
    return found


def chat_body(model: str | None = "acme/chat", **more: Any) -> bytes:
    return json.dumps({"messages": [], **({"model": model} if model else {}), **more}).encode()


def check(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("haproxy"), "-c", "-f", str(config)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("certificate", [None, Secret(env="CERTIFICATE")], ids=["plain", "tls"])
def test_haproxy_accepts_the_example_without_a_warning(certificate: Secret | None, tmp_path: Path) -> None:
    gateway = Gateway(api_keys=[Secret(env="CLIENT_KEY")], certificate=certificate)
    done = check(write_runnable(example_fleet(gateway=gateway), tmp_path))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_haproxy_itself_refuses_a_key_of_another_certificate(tmp_path: Path) -> None:
    gateway = Gateway(api_keys=[Secret(env="CLIENT_KEY")], certificate=Secret(env="CERTIFICATE"))
    config = write_runnable(example_fleet(gateway=gateway), tmp_path)
    key = "-----BEGIN PRIVATE KEY-----"
    _, other = make([EDGE])
    (tmp_path / Path(CERTIFICATE).name).write_text(PEM.partition(key)[0] + key + other.partition(key)[2])
    done = check(config)
    assert done.returncode != 0
    assert "inconsistencies between private key and certificate" in done.stderr


@pytest.mark.parametrize("key", [None, "wrong", "client-key-1x", "CLIENT-KEY-1", "", "chat-engine-key"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/v1/models", "/v1/models", "/metrics", "/nowhere"])
def test_strangers_get_401_whatever_they_ask_for(gateway: Fixture, key: str | None, path: str) -> None:
    answer = gateway.ask(path, key=key)
    assert (answer.status, answer.code) == (401, "invalid_api_key")


def test_each_client_key_opens(gateway: Fixture) -> None:
    assert [gateway.ask("/v1/models", key=key).status for key in ("client-key-1", "client-key-2")] == [200, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/metrics", "/invocations", "/tokenize", "/scale_elastic_ep", "/docs", "/chat", "/chat/", "/chat/metrics",
        "/chat/invocations", "/v1", "/v1/chat/completions/", "/v1//chat/completions", "/v1/./models", "/v1/%6dodels",
        "/chat/../metrics", "/chat/chat/v1/models", "/other/v1/models", "//v1/models", "/health/",
    ],
)  # fmt: skip
def test_only_the_listed_paths_pass(gateway: Fixture, path: str) -> None:
    before = sum(engine.served for engine in gateway.engines.values())
    answer = gateway.ask(path, chat_body())
    assert (answer.status, answer.code) == (404, "not_found")
    assert sum(engine.served for engine in gateway.engines.values()) == before


def test_the_model_list_names_every_model(gateway: Fixture) -> None:
    answer = gateway.ask("/v1/models")
    assert answer.json["object"] == "list"
    assert [model["id"] for model in answer.json["data"]] == ["acme/chat", "acme/coder"]


@pytest.mark.parametrize("service_name", ["chat", "coder"])
def test_the_body_names_the_model(gateway: Fixture, service_name: str) -> None:
    seen = gateway.ask("/v1/chat/completions?x=1", chat_body(f"acme/{service_name}")).json
    port = next(one.port for one in gateway.fleet.services if one.name == service_name)
    assert seen["engine"].endswith(f":{port}")
    assert seen["path"] == "/v1/chat/completions?x=1"


def test_the_model_may_stand_behind_large_messages(gateway: Fixture) -> None:
    decoy = {"role": "user", "content": 'a "model": "acme/chat" in a string ' * 3000, "model": "acme/chat"}
    short = json.dumps({"messages": [decoy, {"content": ""}], "model": "acme/coder"})
    body = short.replace('"content": ""', f'"content": "{"x" * (BODY_KIB * 1024 - len(short))}"').encode()
    assert len(body) == BODY_KIB * 1024
    seen = gateway.ask("/v1/chat/completions", body).json
    assert seen["engine"] == f"{GPU2}:{gateway.fleet.services[1].port}"
    assert seen["size"] == len(body)


def test_a_slash_may_be_escaped(gateway: Fixture) -> None:
    body = rb'{"messages": "a \\/ b", "model": "acme\/coder"}'
    assert gateway.ask("/v1/chat/completions", body).json["size"] == len(body)


def test_the_path_may_name_the_service(gateway: Fixture) -> None:
    seen = gateway.ask("/coder/v1/chat/completions", chat_body("whatever")).json
    assert seen["path"] == "/v1/chat/completions"
    assert seen["engine"] == f"{GPU2}:{gateway.fleet.services[1].port}"
    assert gateway.ask("/coder/v1/models").json["path"] == "/v1/models"


def test_the_engine_sees_its_own_key_and_the_clients_address(gateway: Fixture) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6"}
    for name, key in ENGINE_KEYS.items():
        headers = gateway.ask(f"/{name}/v1/chat/completions", chat_body(), headers=forged).json["headers"]
        seen = {name.lower(): value for name, value in headers.items()}
        assert seen["authorization"] == f"Bearer {key}"
        assert seen["x-forwarded-for"].startswith("127.")


def test_the_engine_does_not_say_what_it_runs(gateway: Fixture) -> None:
    answer = gateway.ask("/chat/v1/models")
    assert (answer.status, answer.server) == (200, None)


@pytest.mark.parametrize("model", ["acme/other", "ACME/CHAT", "", "acme", 7, True])
def test_an_unknown_model(gateway: Fixture, model: Any) -> None:
    answer = gateway.ask("/v1/chat/completions", json.dumps({"model": model}).encode())
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert "acme/chat, acme/coder" in answer.json["error"]["message"]


def nested(levels: int) -> Any:
    return {"p": nested(levels - 1)} if levels else 0


# HAProxy's JSON reader stops at 20 levels (MJSON_MAX_DEPTH)
MODEL_TOO_DEEP = json.dumps({"a": nested(20), "model": "acme/chat"}).encode()


def test_the_model_may_stand_behind_19_levels(gateway: Fixture) -> None:
    body = json.dumps({"a": nested(19), "model": "acme/coder"}).encode()
    assert gateway.ask("/v1/chat/completions", body).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"{}", b'{"model": null}', b'{"messages": "cut of', MODEL_TOO_DEEP],
)
def test_a_body_without_a_readable_model(gateway: Fixture, body: bytes) -> None:
    answer = gateway.ask("/v1/chat/completions", body)
    assert (answer.status, answer.code) == (400, "model_unreadable")
    assert "/chat/v1, /coder/v1" in answer.json["error"]["message"]


def test_a_model_that_is_no_string_reaches_no_engine(gateway: Fixture) -> None:
    answer = gateway.ask("/v1/chat/completions", b'{"model": ["acme/chat"]}')
    assert answer.status in (400, 404)  # HAProxy 2.6 does not read lists, 3.0 does


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model": null}', MODEL_TOO_DEEP])
def test_one_service_needs_no_readable_model(one_service: Fixture, body: bytes) -> None:
    assert one_service.ask("/v1/chat/completions", body).json["path"] == "/v1/chat/completions"


def test_one_service_still_refuses_another_model(one_service: Fixture) -> None:
    assert one_service.ask("/v1/chat/completions", chat_body("acme/coder")).code == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/v1/chat/completions"])
def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(gateway: Fixture, path: str) -> None:
    limit = BODY_KIB * 1024
    body = chat_body(pad="x" * (limit - len(chat_body(pad=""))))
    assert len(body) == limit
    assert gateway.ask(path, body).json["size"] == limit
    answer = gateway.ask(path, body + b" ")
    assert (answer.status, answer.code) == (413, "request_too_large")
    assert gateway.ask(path, body * 4).status == 413


def test_a_body_of_the_limit_passes_over_tls(encrypted: Fixture) -> None:
    body = chat_body(pad="x" * (BODY_KIB * 1024 - len(chat_body(pad=""))))
    assert encrypted.ask("/v1/chat/completions", body).json["size"] == BODY_KIB * 1024


def test_strangers_get_401_over_tls(encrypted: Fixture) -> None:
    assert encrypted.ask("/v1/chat/completions", chat_body(), key="wrong").code == "invalid_api_key"


def test_who_speaks_plain_http_to_tls_gets_no_answer(encrypted: Fixture) -> None:
    connection = HTTPConnection(EDGE, encrypted.fleet.gateway.port, timeout=15)
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {CLIENT_KEY}"})
    with pytest.raises(ConnectionError):  # RemoteDisconnected is one
        connection.getresponse()


def test_a_reload_takes_up_a_new_certificate_and_leaves_streams_alone(renewable: Fixture) -> None:
    connection = renewable.connect()
    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
    connection.request("POST", "/v1/chat/completions", chat_body(stream=True), headers)
    response = connection.getresponse()
    assert response.read(9) == b"data: 1\n\n"

    renewable.ca, renewed = make([EDGE])  # clients of the new CA refuse the old certificate
    (renewable.folder / Path(CERTIFICATE).name).write_text(renewed, encoding="utf-8")
    renewable.reload()

    def is_new() -> bool:
        with suppress(ssl.SSLError):
            renewable.connect().connect()
            return True
        return False

    wait_until(is_new)
    for engine in renewable.engines.values():
        engine.second_chunk.set()
    assert response.read() == b"data: 2\n\n"


@pytest.mark.parametrize(
    "version, taken",
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
    ids=lambda value: str(getattr(value, "name", value)),
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(encrypted: Fixture, version: ssl.TLSVersion, taken: bool) -> None:
    context = ssl.create_default_context(cadata=CA)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL 3 has no TLS 1.1 above that
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((EDGE, encrypted.fleet.gateway.port), timeout=15) as plain:
        if taken:
            with context.wrap_socket(plain, server_hostname=EDGE) as connection:
                assert connection.selected_alpn_protocol() == "http/1.1"
        else:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                context.wrap_socket(plain, server_hostname=EDGE)


def test_a_body_of_unknown_length_has_the_same_limit(gateway: Fixture) -> None:
    connection = HTTPConnection(EDGE, gateway.fleet.gateway.port, timeout=15)
    connection.putrequest("POST", "/chat/v1/chat/completions")
    connection.putheader("Authorization", f"Bearer {CLIENT_KEY}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("X-Padding", "x" * 15_000)
    connection.endheaders()
    piece = b"x" * 1024
    for _ in range(BODY_KIB):
        connection.send(b"400\r\n" + piece + b"\r\n")
    connection.send(b"1\r\nx\r\n0\r\n\r\n")
    assert connection.getresponse().status == 413


def test_large_headers(gateway: Fixture) -> None:
    assert gateway.ask("/v1/models", headers={"X-Padding": "x" * 17_000}).code == "headers_too_large"


def test_a_stream_arrives_chunk_by_chunk(either: Fixture) -> None:
    for engine in either.engines.values():
        engine.second_chunk.clear()
    connection = either.connect()
    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
    connection.request("POST", "/v1/chat/completions", chat_body(stream=True), headers)
    response = connection.getresponse()
    assert response.read(9) == b"data: 1\n\n"  # while the engine holds the rest back
    for engine in either.engines.values():
        engine.second_chunk.set()
    assert response.read() == b"data: 2\n\n"


def test_a_client_that_hangs_up_stops_its_generation(either: Fixture) -> None:
    connection = either.connect()
    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
    served = either.engines["coder/gpu2"].served
    connection.request("POST", "/v1/chat/completions", chat_body("acme/coder", wait=True), headers)
    wait_until(lambda: either.engines["coder/gpu2"].served > served)
    connection.close()
    assert either.engines["coder/gpu2"].hung_up.wait(5)


def test_an_unhealthy_engine_gets_no_requests_and_health_tells(gateway: Fixture) -> None:
    assert gateway.ask("/health", key=None).status == 200
    sick, well = gateway.engines["chat/gpu1"], gateway.engines["chat/gpu2"]
    sick.healthy = False
    wait_until(lambda: not gateway.server_states()["chat/gpu1"])
    before = sick.served
    assert {gateway.ask("/v1/chat/completions", chat_body()).json["engine"] for _ in range(10)} == {
        f"{GPU2}:{gateway.fleet.services[0].port}"
    }
    assert sick.served == before
    assert gateway.ask("/health", key=None).status == 200

    well.healthy = False
    wait_until(lambda: not gateway.server_states()["chat/gpu2"])
    assert gateway.ask("/v1/chat/completions", chat_body()).code == "engine_unavailable"
    assert gateway.ask("/health", key=None).status == 503
    assert gateway.ask("/v1/chat/completions", chat_body("acme/coder")).status == 200

    sick.healthy = well.healthy = True
    wait_until(lambda: all(gateway.server_states().values()))
    assert gateway.ask("/health", key=None).status == 200


def test_an_engine_that_refuses_connections_costs_no_request(one_service: Fixture) -> None:
    wait_until(lambda: all(one_service.server_states().values()))
    one_service.engines["chat/gpu1"].stop()
    statuses = [one_service.ask("/v1/chat/completions", chat_body()).status for _ in range(20)]
    assert statuses == [200] * 20


def test_metrics_only_on_the_metrics_path(gateway: Fixture) -> None:
    connection = HTTPConnection(EDGE, gateway.fleet.gateway.stats_port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().status == 404


def test_the_log_shows_requests_and_no_keys(gateway: Fixture) -> None:
    gateway.ask("/v1/chat/completions?marker=1", chat_body())
    wait_until(lambda: "marker=1" in gateway.log.read_text(encoding="utf-8"))
    log = gateway.log.read_text(encoding="utf-8")
    assert "client-key" not in log
    assert "engine-key" not in log
