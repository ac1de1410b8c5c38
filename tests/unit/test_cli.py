"""The `fleet` command: what it prints, and that it ends in one line when something is wrong."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from lab.certificates import make
from vllm_fleet.cli import main

ROOT = Path(__file__).parents[2]
KEY = "sk-3f9a-never-shown"


@pytest.fixture(autouse=True)
def fresh(no_inventory_read: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process would be: no inventory imported yet, no secret set, no proxy."""
    for name in ("CLIENT_KEY", "CHAT_ENGINE_KEY", "LARGE_ENGINE_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def fleet(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def one_line(result: Result) -> str:
    """The one line an error is."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example `single`, on this machine."""
    for folder in ("inventories", "group_data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "single.py").write_text((ROOT / folder / "single.py").read_text())
    replace(tmp_path / "inventories" / "single.py", '"10.20.0.10"', '"127.0.0.1"')
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ---- plan -------------------------------------------------------------------------------------------------------


def test_the_plan_shows_all_services_and_hosts_in_full() -> None:
    shown = fleet("plan", str(ROOT / "inventories" / "prod.py"), COLUMNS="40")  # not a terminal: has no edge
    assert shown.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if "│" in line]
    assert [row for row in rows if len(row) == 7] == [
        ["chat", "0", "0", "gpu-1", "0-3", "10.20.0.11:8000", "vllm-chat-0.service"],
        ["chat", "1", "0", "gpu-1", "4-7", "10.20.0.11:8001", "vllm-chat-1.service"],
        ["large", "0", "0", "gpu-2", "0-7", "10.20.0.12:8100", "vllm-large.service"],
        ["large", "0", "1", "gpu-3", "0-7", "-", "vllm-large.service"],
    ]
    hosts = [line for line in shown.stdout.splitlines() if line.startswith(("gpu-", "gate-", "ops-"))]
    assert hosts == [
        "gpu-1: gpu, 8 of 8 GPUs H100 SXM 80GB",
        "gpu-2: gpu, 8 of 8 GPUs H100 SXM 80GB",
        "gpu-3: gpu, 8 of 8 GPUs H100 SXM 80GB",
        "gate-1: gateway",
        "gate-2: gateway",
        "ops-1: monitoring",
    ]


def test_a_narrow_terminal_folds_names_and_cuts_none() -> None:
    ran = fleet("plan", str(ROOT / "inventories" / "prod.py"), COLUMNS="80", TTY_COMPATIBLE="1", TERM="xterm")
    shown = click.unstyle(ran.stdout)
    assert max(map(len, shown.splitlines())) == 80
    assert "vllm-chat-0.ser" in shown
    assert "…" not in shown


def test_the_plan_for_programs() -> None:
    shown = fleet("plan", "--json", str(ROOT / "inventories" / "prod.py"))
    assert shown.exit_code == 0
    rows = json.loads(shown.stdout)["engines"]
    assert [(row["service"], row["replica"], row["rank"], row["host"], row["gpus"]) for row in rows] == [
        ("chat", 0, 0, "gpu-1", [0, 1, 2, 3]),
        ("chat", 1, 0, "gpu-1", [4, 5, 6, 7]),
        ("large", 0, 0, "gpu-2", list(range(8))),
        ("large", 0, 1, "gpu-3", list(range(8))),
    ]
    assert (rows[0]["endpoint"], rows[3]["endpoint"]) == ("10.20.0.11:8000", None)
    assert rows[3]["unit"] == "vllm-large.service"


def test_one_gpu_is_shown_by_its_number(project: Path) -> None:
    assert "│ 0    │ 127.0.0.1:8000 │" in fleet("plan", str(project / "inventories" / "single.py")).stdout
    (row,) = json.loads(fleet("plan", "--json", str(project / "inventories" / "single.py")).stdout)["engines"]
    assert (row["host"], row["gpus"], row["endpoint"]) == ("box-1", [0], "127.0.0.1:8000")


@pytest.mark.parametrize("command", ["plan", "ask"])
def test_a_missing_inventory_is_one_line(project: Path, command: str) -> None:
    inventory = project / "inventories" / "single.py"
    inventory.unlink()
    assert one_line(fleet(command, str(inventory))) == (
        f"Error: {inventory}: no such inventory; in that folder are: none"
    )


def test_an_inventory_without_group_data_is_one_line(project: Path) -> None:
    (project / "group_data" / "single.py").unlink()
    line = one_line(fleet("plan", str(project / "inventories" / "single.py")))
    assert line.endswith("has no group_data/single.py beside it; declare `fleet` and `placements` there")


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "max_model_len=16384",
            "max_model_length=16384",
            "services.chat.max_model_length: unknown key; did you mean max_model_len?",
        ),
        (
            "max_model_len=16384",
            "tensor_parallel_size=2",
            "services.chat.replicas: each needs 2 GPUs on 1 host(s), free are box-1 1; "
            "add hosts, or lower replicas or a parallel size",
        ),
        (
            "placements = _place(fleet)",
            "",
            "group_data/single.py: does not define 'placements'; see group_data/prod.py",
        ),
    ],
)
def test_a_bad_configuration_is_one_line(project: Path, old: str, new: str, message: str) -> None:
    replace(project / "group_data" / "single.py", old, new)
    assert one_line(fleet("plan", str(project / "inventories" / "single.py"))) == f"Error: {message}"


# ---- ask --------------------------------------------------------------------------------------------------------


def chunk(text: str | None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text} if text is not None else {}}]})


class Gateway(http.server.ThreadingHTTPServer):
    """A gateway on this machine that answers what a test wants: `events` one by one, or an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.error = ""
        self.health = [200]
        """What it says of itself, the last for ever."""
        self.events = ['{"choices": [{"delta": {"role": "assistant", "content": ""}}]}', chunk("A cache "),
                       chunk("of keys."), chunk(None), '{"choices": [], "usage": {}}', "[DONE]"]  # fmt: skip
        self.requests: list[tuple[str, str | None, dict[str, object]]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        assert self.path == "/health"
        self.send_response(self.server.health.pop(0) if len(self.server.health) > 1 else self.server.health[0])
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.server.status)
        self.end_headers()
        if self.server.status != 200:
            self.wfile.write(self.server.error.encode())
            return
        for event in self.server.events:
            self.wfile.write(f"data: {event}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("CLIENT_KEY", KEY)
    with Gateway() as server:
        use_port(project, server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def use_port(project: Path, port: int) -> None:
    replace(project / "group_data" / "single.py", "Gateway(api_keys", f"Gateway(port={port}, api_keys")


def serve_tls(project: Path, gateway: Gateway) -> None:
    """The gateway with a certificate for 127.0.0.1, declared with its CA."""
    ca, pem = make(["127.0.0.1"])
    (project / "ca.pem").write_text(ca)
    (project / "certificate.pem").write_text(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(project / "certificate.pem")
    gateway.socket = context.wrap_socket(gateway.socket, server_side=True)
    declared = f'Gateway(certificate=Secret(file="{project}/certificate.pem"), ca="{project}/ca.pem", '
    replace(project / "group_data" / "single.py", "Gateway(port", f"{declared}port")


def ask(project: Path, *arguments: str) -> Result:
    return fleet("ask", str(project / "inventories" / "single.py"), *arguments)


def test_an_answer_and_the_next_steps(project: Path, gateway: Gateway) -> None:
    asked = ask(project)
    assert asked.exit_code == 0, asked.output
    answer, empty, *steps = asked.stdout.splitlines()
    assert (answer, empty) == ("Qwen/Qwen2.5-7B-Instruct answers: A cache of keys.", "")
    assert steps[:4] == [
        f"Gateway       http://127.0.0.1:{gateway.server_port}/v1",
        "Prometheus    http://127.0.0.1:9090",
        "Alertmanager  http://127.0.0.1:9093",
        "Key           $CLIENT_KEY",
    ]
    assert any(step.startswith("Next  ") and "pyinfra --dry " in step for step in steps)
    ((path, authorization, body),) = gateway.requests
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert body["messages"] == [{"role": "user", "content": "What is a KV cache?"}]


def test_https_is_asked_where_a_certificate_is_declared(project: Path, gateway: Gateway) -> None:
    serve_tls(project, gateway)
    asked = ask(project)
    assert asked.exit_code == 0, asked.output
    assert asked.stdout.startswith("Qwen/Qwen2.5-7B-Instruct answers: A cache of keys.\n")
    assert f"Gateway       https://127.0.0.1:{gateway.server_port}/v1\n" in asked.stdout
    assert f"curl -N --cacert {project}/ca.pem https://127.0.0.1:{gateway.server_port}/v1/" in asked.stdout


def test_a_gateway_with_a_certificate_of_another_ca_is_not_asked(project: Path, gateway: Gateway) -> None:
    serve_tls(project, gateway)
    (project / "ca.pem").write_text(make(["127.0.0.1"])[0])
    line = one_line(ask(project))
    assert line.startswith(f"Error: https://127.0.0.1:{gateway.server_port}: [SSL: CERTIFICATE_VERIFY_FAILED]")
    assert line.endswith(
        "; is it another's certificate, are intermediates missing, or is its CA to be named in gateway.ca?"
    )
    assert gateway.requests == []


def test_another_question_to_another_model(project: Path, gateway: Gateway) -> None:
    assert ask(project, "Why?", "--model", "other").stdout.startswith("other answers: ")
    ((_, _, body),) = gateway.requests
    assert (body["model"], body["messages"]) == ("other", [{"role": "user", "content": "Why?"}])


@pytest.mark.parametrize(
    "source, hint, shell",
    [
        ('env="CLIENT_KEY"', "$CLIENT_KEY", "$CLIENT_KEY"),
        ('file="{file}"', "in {file}", "$(cat {file})"),
        ('command="cat {file}"', "$(cat {file})", "$(cat {file})"),
    ],
)
def test_the_key_is_never_shown_only_where_it_is(
    project: Path, gateway: Gateway, source: str, hint: str, shell: str
) -> None:
    file = project / "client-key"
    file.write_text(f"{KEY}\n")
    replace(project / "group_data" / "single.py", 'env="CLIENT_KEY"', source.format(file=file))
    asked = ask(project)
    assert asked.exit_code == 0, asked.output
    assert f"Key           {hint.format(file=file)}\n" in asked.stdout
    assert f'-H "Authorization: Bearer {shell.format(file=file)}"' in asked.stdout
    assert gateway.requests[0][1] == f"Bearer {KEY}"
    assert KEY not in asked.output


def test_the_suggested_curl_asks_with_the_key_that_the_shell_reads(project: Path, gateway: Gateway) -> None:
    shown = ask(project).stdout
    command = shown[shown.index("curl -N") : shown.index("Next  ")]
    curl = "curl() { printf '%s\\n' \"$@\"; }"
    ran = subprocess.run(["sh", "-c", f"{curl}\n{command}"], capture_output=True, text=True, check=True)
    _, url, _, authorization, _, _, _, body = ran.stdout.splitlines()
    assert url == f"http://127.0.0.1:{gateway.server_port}/v1/chat/completions"
    assert authorization == f"Authorization: Bearer {KEY}"
    assert json.loads(body)["model"] == "Qwen/Qwen2.5-7B-Instruct"


def test_it_waits_until_the_gateway_has_seen_the_engines(
    project: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_fleet.commands.ask._LOOK_SECONDS", 0.01)
    gateway.health = [503, 200]
    assert "answers: A cache of keys." in ask(project).stdout
    assert gateway.health == [200]


@pytest.mark.parametrize("status", [401, 503])
def test_an_error_of_the_gateway_is_one_line(project: Path, gateway: Gateway, status: int) -> None:
    gateway.status, gateway.error = status, '{"error": {"message": "why not"}}\n'
    asked = ask(project)
    assert one_line(asked) == (
        f'Error: http://127.0.0.1:{gateway.server_port}: {status}: {{"error": {{"message": "why not"}}}}'
    )
    assert asked.stdout == ""
    assert KEY not in asked.output


def test_an_error_in_the_middle_of_an_answer_is_one_line(project: Path, gateway: Gateway) -> None:
    # vLLM's form for what fails after the headers were sent
    error = {"error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}}
    gateway.events = [chunk("A cache"), json.dumps(error), "[DONE]"]
    asked = ask(project)
    assert one_line(asked) == f"Error: the answer broke off: {json.dumps(error['error'])}"
    assert asked.stdout == "Qwen/Qwen2.5-7B-Instruct answers: A cache\n"


def test_a_refused_connection_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_KEY", KEY)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        use_port(project, port)
        line = one_line(ask(project))
    assert line == f"Error: http://127.0.0.1:{port}: [Errno 111] Connection refused; is the gateway up?"


def test_an_error_without_words_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise httpx.ReadError("")

    monkeypatch.setenv("CLIENT_KEY", KEY)
    monkeypatch.setattr(httpx, "stream", fail)
    monkeypatch.setattr(httpx, "get", fail)
    assert one_line(ask(project)) == "Error: http://127.0.0.1:8080: ReadError; is the gateway up?"


def test_a_key_that_is_not_set_is_one_line(project: Path) -> None:
    assert one_line(ask(project)) == (
        "Error: gateway.api_keys.0: environment variable CLIENT_KEY is not set; export it before the deploy"
    )
