"""payload/ready.py: what it reads in a journal, what it takes for an answer, and what it does with the links.

The journals are real ones' lines (vLLM 0.32 texts and logger format), shortened.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from vllm_fleet.payload import ready

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


# ---- phases -----------------------------------------------------------------------------------------------------


def test_phases_follow_a_start() -> None:
    seen = [ready.phase_of(START[:count]) for count in range(len(START) + 1)]
    assert list(dict.fromkeys(seen)) == [
        "starting",
        "loading weights",
        "compiling and profiling memory",
        "capturing graphs",
        "starting server",
        "serving",
    ]


def test_an_image_is_pulled_until_docker_says_so() -> None:
    pull = [
        "Unable to find image 'vllm/vllm-openai@sha256:0a1b' locally",
        "docker.io/vllm/vllm-openai@sha256:0a1b: Pulling from vllm/vllm-openai",
        "5a7813e071bf: Pulling fs layer",
    ]
    assert ready.phase_of(pull) == "pulling image"
    assert ready.phase_of([*pull, "Status: Downloaded newer image for vllm/vllm-openai@sha256:0a1b"]) == "starting"


def test_workers_that_log_late_do_not_turn_a_phase_back() -> None:
    late = (
        f"{CORE.replace('EngineCore', 'VllmWorker-1')} [cpu_model_runner.py:68] Starting to load model /models/tiny..."
    )
    assert ready.phase_of([*START[:8], late]) == "compiling and profiling memory"


def test_a_request_that_quotes_a_log_line_is_no_failure() -> None:
    assert ready.failure_of([*START, f"{API} [logger.py:40] Received request: prompt: 'GET /v1/models'"]) is None


# ---- failures ---------------------------------------------------------------------------------------------------

KNOWN = [
    (
        "vllm serve: error: unrecognized arguments: --swap-space 4",
        "vLLM refuses an option: unrecognized arguments: --swap-space 4",
        True,
    ),
    (
        "vllm: error: argument --dtype: invalid choice: 'fp99' (choose from 'auto', 'half')",
        "vLLM refuses an option: argument --dtype: invalid choice: 'fp99' (choose from 'auto', 'half')",
        True,
    ),
    (
        (
            f"{ERROR} [core.py:1202] ValueError: To serve at least one request with the model's max seq len (131072), "
            "(16.00 GiB KV cache is needed, which is larger than the available KV cache memory (5.10 GiB). Based on "
            "the available memory, the estimated maximum model length is 41776. Try increasing `gpu_memory_utilization`"
        ),
        "the KV cache does not hold one request of max_model_len 131072",
        True,
    ),
    (
        f"{ERROR} [core.py:1202] ValueError: No available memory for the cache blocks. Try increasing",
        "the weights leave no memory for the KV cache",
        False,
    ),
    (
        (
            f"{ERROR} [core.py:1202] ValueError: Free memory on device cuda:0 (3.22/79.15 GiB) on startup is less than "
            "desired GPU memory utilization (0.92, 72.8 GiB). Decrease GPU memory utilization"
        ),
        "only 3.22 of 79.15 GiB memory are free",
        False,
    ),
    (
        "(EngineCore pid=80) ValueError: Available memory on node 0 (2.1/23.4 GiB) on startup is less than desired CPU",
        "only 2.1 of 23.4 GiB memory are free",
        False,
    ),
    (
        f"{ERROR} [core.py:1202] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB. GPU 0 has",
        "the GPU's memory ran out",
        False,
    ),
    (
        "vllm-chat.service: A process of this unit has been killed by the OOM killer.",
        "the host's memory ran out",
        False,
    ),
    (
        "Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:9000kB, anon-rss:8000kB",
        "the host's memory ran out",
        False,
    ),
    ("/etc/vllm-fleet/engines/chat/current/start: 2: exec: /opt/vllm: not found", "/opt/vllm is missing", True),
    ("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "Docker does not run", False),
    ("OSError: [Errno 98] Address already in use", "its port is taken", False),
    (
        (
            "(APIServer pid=7)   Value error, Quantization method specified in the model config (gptq) does not match "
            "the quantization method specified in the `quantization` argument (fp8)."
        ),
        "the checkpoint is gptq, not fp8",
        True,
    ),
    (
        "Value error, Unknown quantization method: bitsandbytes. Must be one of ['awq', 'fp8'].",
        "this vLLM or checkpoint does not have the quantization",
        True,
    ),
    (
        "ValueError: (2.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.01 GiB). Try",
        "the KV cache does not hold one request of max_model_len",
        True,
    ),
    (
        "(APIServer pid=7)   Value error, Invalid repository ID or local directory specified: '/models/gone'.",
        "the model's files are not where the engine looks",
        True,
    ),
    (
        f"{ERROR} [multiproc_executor.py:953] FileNotFoundError: No such file or directory: /models/m.safetensors",
        "the model's files are not where the engine looks",
        True,
    ),
    (
        "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in (None, 'g++')",
        "it finds no C compiler, which torch.compile and Triton call",
        True,
    ),
    (
        f"{ERROR} [multiproc_executor.py:315] Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting",
        "a worker was killed by signal 4",
        False,
    ),
    (
        (
            "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime "
            "create failed: runc create failed: unable to start container process: error during container init: error "
            "setting rlimits for ready process: error setting rlimit type 7: operation not permitted: unknown"
        ),
        (
            "Docker cannot start the container (unable to start container process: error during container init: error "
            "setting rlimits for ready process: error setting rlimit type 7: operation not permitted)"
        ),
        False,
    ),
    (
        "RuntimeError: Cannot find any model weights with `/models/empty`",
        "the model's files are not where the engine looks",
        True,
    ),
    (
        "docker: Error response from daemon: manifest for vllm/vllm-openai@sha256:0a not found: manifest unknown.",
        "the registry does not have the image, or not for this host",
        True,
    ),
    (
        'docker: Error response from daemon: Get "https://registry.lab/v2/": dial tcp: lookup registry: no such host.',
        "the image's registry cannot be reached (no such host)",
        False,
    ),
    (
        "docker: Error response from daemon: No such image: vllm/vllm-openai@sha256:0a.",
        "its image is not on the host",
        False,
    ),
    (
        "docker: Error response from daemon: failed to register layer: write /usr/lib/x.so: no space left on device.",
        "a disk is full",
        False,
    ),
    (
        "docker: Error response from daemon: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0.",
        "Docker does not know the GPU device",
        False,
    ),
    (
        (
            f"{ERROR} [core.py:1202] RuntimeError: The NVIDIA driver on your system is too old (found version 12080). "
            "Please update your GPU driver"
        ),
        "the NVIDIA driver is too old for this build (it offers CUDA 12080)",
        True,
    ),
    ("RuntimeError: Failed to infer device type, please set the environment variable", "it sees no GPU", False),
    (
        "Value error, Total number of attention heads (32) must be divisible by tensor parallel size (3).",
        "tensor_parallel_size 3 does not divide 32 attention heads",
        True,
    ),
    (
        (
            "Value error, User-specified max_model_len (9999) is greater than the derived max_model_len "
            "(max_position_embeddings=2048.0 or model_max_length=None in model's config.json)."
        ),
        "max_model_len 9999 is more than the model's 2048",
        True,
    ),
]


@pytest.mark.parametrize(("line", "what", "final"), KNOWN)
def test_a_known_failure_is_told_from_a_start_that_ended(line: str, what: str, final: bool) -> None:
    found = ready.failure_of([*START[:5], line, "RuntimeError: Engine core initialization failed."])
    assert found is not None
    assert (found.what, found.final) == (what, final)
    assert found.mend


def test_every_failure_has_a_case() -> None:
    told = {found.pattern for line, _, _ in KNOWN if (found := ready.failure_of([line]))}
    assert told == {failure.pattern for failure in ready.FAILURES}


def test_the_feasible_length_is_in_the_mend() -> None:
    found = ready.failure_of([KNOWN[2][0]])
    assert found is not None
    assert found.mend == "set max_model_len to 41776 or less, or raise gpu_memory_utilization"


def test_a_warning_about_a_port_that_vllm_changes_itself_is_no_failure() -> None:
    assert ready.failure_of(["WARNING 11-21 08:07:00 [parallel.py:746] Address already in use. Retrying"]) is None


# ---- error lines ------------------------------------------------------------------------------------------------


def test_error_lines_are_the_last_ones_once_each_without_traceback() -> None:
    lines = [
        "Error response from daemon: No such container: vllm-chat",
        *START[:5],
        f"{ERROR} [core.py:1202] EngineCore failed to start.",
        f"{ERROR} [core.py:1202] Traceback (most recent call last):",
        f'{ERROR} [core.py:1202]   File "/opt/vllm/v1/engine/core.py", line 1200, in run_engine_core',
        f"{ERROR} [core.py:1202]     raise ValueError(",
        f"{ERROR} [core.py:1202] ValueError: No available memory for the cache blocks.",
        "(EngineCore pid=80) ValueError: No available memory for the cache blocks.",
        "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.",
        "vllm-chat.service: Main process exited, code=exited, status=1/FAILURE",
    ]  # systemd's own line says no cause
    assert ready.error_lines(lines) == [
        "EngineCore failed to start.",
        "ValueError: No available memory for the cache blocks.",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]


def test_the_cause_of_a_validation_error_is_shown() -> None:
    lines = [
        "(APIServer pid=7) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "(APIServer pid=7)   Value error, Unknown quantization method: x. Must be one of []. [type=value_error]",
        "(APIServer pid=7)     For further information visit https://errors.pydantic.dev/2.14/v/value_error",
    ]
    assert ready.error_lines(lines) == [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Unknown quantization method: x. Must be one of []. [type=value_error]",
    ]


def test_at_most_eight_error_lines() -> None:
    assert ready.error_lines([f"ValueError: {number}" for number in range(20)]) == [
        f"ValueError: {number}" for number in range(12, 20)
    ]


def test_without_an_error_the_last_lines_are_shown() -> None:
    assert ready.error_lines(["one", "", "two"]) == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ValueError: bad key s3cret-word in s3cret-word", "ValueError: bad key *** in ***"),
        ("ValueError: {'api_key': 'other-key', 'port': 8000}", "ValueError: {'api_key': '***', 'port': 8000}"),
        ("ValueError: Authorization: Bearer abc.def", "ValueError: Authorization: Bearer ***"),
        ("ValueError: token hf_abcdefghijklmnop is gone", "ValueError: token *** is gone"),
    ],
)
def test_secrets_are_not_shown(line: str, shown: str) -> None:
    assert ready.error_lines([line], ["s3cret-word"]) == [shown]


# ---- the journal and systemd ------------------------------------------------------------------------------------


def journal_line(text: str | list[int] | None, **fields: str) -> str:
    return json.dumps({"__CURSOR": "s=1;i=2", "MESSAGE": text, **fields})


def test_journal_entries_are_text_with_the_start_they_belong_to() -> None:
    coloured = list(b"\x1b[32mINFO\x1b[0m hello")
    output = "\n".join(
        [
            journal_line("Started vllm-chat.service.", INVOCATION_ID="aa", _SYSTEMD_INVOCATION_ID="of-pid-1"),
            journal_line(coloured, _SYSTEMD_INVOCATION_ID="aa"),
            journal_line(" 10%\r 99%\r", _SYSTEMD_INVOCATION_ID="aa"),
            journal_line(None),
            journal_line("Started again", INVOCATION_ID="bb"),
        ]
    )
    entries = ready.entries_of(output)
    assert [entry.text for entry in entries] == [
        "Started vllm-chat.service.",
        "INFO hello",
        " 99%",
        "",
        "Started again",
    ]
    assert ready.runs_of(entries) == {
        "aa": ["Started vllm-chat.service.", "INFO hello", " 99%", ""],
        "bb": ["Started again"],
    }


SHOWN = """\
LoadState=loaded
ActiveState={active}
SubState={sub}
MainPID={pid}
NRestarts={restarts}
InvocationID={invocation}
InactiveExitTimestamp=Sat 2026-11-21 08:07:00.000001 UTC
ExecMainStartTimestamp=Sat 2026-11-21 08:07:00.250000 UTC
ExecMainStartTimestampMonotonic=1500000
"""


def shown(active: str = "active", sub: str = "running", **values: Any) -> str:
    return SHOWN.format(active=active, sub=sub, **({"pid": 42, "restarts": 0, "invocation": "aa"} | values))


def test_a_unit_is_read_from_systemctl_show() -> None:
    unit = ready.unit_of(shown())
    assert (unit.loaded, unit.active, unit.sub, unit.pid, unit.restarts) == (True, "active", "running", 42, 0)
    assert unit.alive
    assert unit.started is not None
    assert unit.started.isoformat() == "2026-11-21T08:07:00.250000+00:00"
    assert unit.started_monotonic == 1.5


def test_a_unit_that_never_ran_has_no_times() -> None:
    unit = ready.unit_of("LoadState=not-found\nActiveState=inactive\nExecMainStartTimestamp=n/a\nMainPID=0\n")
    assert not unit.loaded
    assert unit.started is None
    assert not unit.alive


RUNS = {"aa": ["first"], "bb": ["second"], "cc": ["third"]}


@pytest.mark.parametrize(
    ("unit", "ended", "live"),
    [
        (shown(invocation="bb"), [["first"]], ["second"]),
        (shown("activating", "auto-restart", invocation="bb"), [["first"], ["second"]], []),
        (shown(invocation="dd"), [["first"], ["second"], ["third"]], []),
    ],
    ids=["runs", "between two starts", "has not written yet"],
)
def test_starts_that_ended_are_told_from_the_one_that_goes_on(
    unit: str, ended: list[list[str]], live: list[str]
) -> None:
    assert ready.split(RUNS, ready.unit_of(unit)) == (ended, live)


def test_a_unit_between_two_starts_is_not_alive() -> None:
    assert not ready.unit_of(shown("activating", "auto-restart")).alive
    assert ready.unit_of(shown("activating", "start-pre")).alive


BAD_OPTION = ["vllm serve: error: unrecognized arguments: --swap-space 4"]
NO_MEMORY = ["ValueError: No available memory for the cache blocks."]


def what_of(unit: str, ended: list[list[str]], first_restarts: int = 0) -> str | None:
    problem = ready.problem_of(ready.unit_of(unit), first_restarts, ended)
    return problem.what if problem else None


def test_what_no_restart_mends_ends_the_wait_at_once() -> None:
    told = what_of(shown("activating", "auto-restart"), [BAD_OPTION])
    assert told == "vLLM refuses an option: unrecognized arguments: --swap-space 4"


def test_what_may_pass_is_waited_for_until_the_third_restart() -> None:
    assert what_of(shown(restarts=2), [NO_MEMORY]) is None
    assert what_of(shown(restarts=3), [NO_MEMORY]) == "the weights leave no memory for the KV cache"
    exits = [["?", f"vllm-chat.service: Main process exited, code=exited, status={status}"] for status in "231"]
    assert what_of(shown(restarts=7), exits, 4) == "it ended 3 times, last with status 1"
    assert what_of(shown(restarts=7), [["vllm-chat.service: Deactivated successfully."]], 4) == (
        "it ended 3 times, last with status 0"
    )


def test_restarts_before_the_wait_do_not_count() -> None:
    assert what_of(shown(restarts=9), [], 9) is None
    assert what_of(shown(restarts=2), [], 9) is None


def test_a_unit_that_systemd_gave_up_or_does_not_know_is_a_problem() -> None:
    assert what_of(shown("failed", "failed"), []) == "its unit is failed"
    assert what_of(shown("failed", "failed"), [NO_MEMORY]) == "the weights leave no memory for the KV cache"
    assert what_of("LoadState=not-found", []) == "systemd does not know its unit"


# ---- asking for a token -----------------------------------------------------------------------------------------

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


COMPLETION = '{"choices": [{"text": "!"}]}'


def test_a_completion_is_an_answer(api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    assert ready.ask(api, "tiny", KEY, 0.0) == ready.Answer(True)
    assert Api.asked == [("/v1/completions", {"model": "tiny", "prompt": "Hi", "max_tokens": 1})]


@pytest.mark.parametrize(
    ("routes", "answer"),
    [
        ({"/v1/completions": (200, "{}")}, ready.Answer(False, "HTTP 200 without choices")),
        ({"/v1/completions": (200, "not JSON")}, ready.Answer(False, "HTTP 200 without choices")),
        ({"/v1/completions": (500, "")}, ready.Answer(False, "HTTP 500")),
        ({"/v1/completions": (503, "")}, ready.Answer(False, "HTTP 503")),
        (
            {"/v1/completions": (404, '{"error": {"message": "The model `tiny` does not exist."}}')},
            ready.Answer(False, "it serves another model name", refused=True),
        ),
        ({"/v1/embeddings": (200, '{"data": [{"embedding": [0.1]}]}')}, ready.Answer(True)),
        ({"/pooling": (200, '{"data": [{"data": [0.1]}]}')}, ready.Answer(True)),
        (
            {"/v1/completions": (501, "")},
            ready.Answer(
                False,
                "no route takes a request (/v1/completions HTTP 501, /v1/embeddings HTTP 404, /pooling HTTP 404)",
                refused=True,
            ),
        ),
    ],
)
def test_other_answers(api: str, routes: dict[str, tuple[int, str | None]], answer: ready.Answer) -> None:
    Api.routes = routes
    assert ready.ask(api, "tiny", KEY, 0.0) == answer


def test_a_refused_key_is_said_without_the_key(api: str) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    answer = ready.ask(api, "tiny", "wrong-key", 0.0)
    assert answer == ready.Answer(False, "the key in secret.yaml is refused (HTTP 401)", refused=True)


def test_an_answer_that_does_not_end_meets_the_deadline(api: str) -> None:
    Api.routes = {"/v1/completions": (200, None)}
    begin = time.monotonic()
    assert ready.ask(api, "tiny", KEY, 0.0, seconds=0.5) == ready.Answer(False, "no answer within 0.5 s")
    assert 0.4 < time.monotonic() - begin < 5


def test_a_closed_port_is_no_answer() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        port = server.server_port
    assert ready.ask(f"http://127.0.0.1:{port}", "tiny", KEY, 0.0) == ready.Answer(False, "connection refused")


@pytest.mark.parametrize(("since", "ok"), [(1000.0, True), (1001.5, True), (1010.0, False)])
def test_a_leftover_process_on_the_port_is_no_answer(api: str, since: float, ok: bool) -> None:
    Api.routes = {
        "/v1/completions": (200, COMPLETION),
        "/metrics": (200, "# HELP x y\nprocess_start_time_seconds 1.0e+03\nz 1\n"),
    }
    assert ready.ask(api, "tiny", KEY, since).ok is ok


def test_proxies_of_the_environment_do_not_see_the_request(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    assert ready.ask(api, "tiny", KEY, 0.0).ok


# ---- files and links --------------------------------------------------------------------------------------------


def make_release(directory: Path, release: str, **values: Any) -> None:
    target = directory / "releases" / release
    target.mkdir(parents=True)
    engine = {
        "instance": "chat",
        "unit": "vllm-chat.service",
        "service": "chat",
        "url": "http://127.0.0.1:9",
        "model_name": "tiny",
        "head": True,
        "runtime": "venv",
        "start_seconds": 30,
    }
    (target / "engine.json").write_text(json.dumps(engine | values), encoding="utf-8")


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    """Engine `chat` with the releases `new` (current) and `old` (good)."""
    directory = tmp_path / "chat"
    make_release(directory, "new")
    make_release(directory, "old")
    (directory / "secret.yaml").write_text(f'api-key: "{KEY}"\n', encoding="utf-8")
    ready.point(directory / "current", "releases/new")
    ready.point(directory / "good", "releases/old")
    return tmp_path


def test_an_engine_is_loaded_from_current(engines: Path) -> None:
    engine = ready.load("chat", engines)
    assert (engine.release, engine.unit, engine.head) == ("new", "vllm-chat.service", True)
    assert ready.key_of(engine.directory) == KEY


@pytest.mark.parametrize("key", ["plain-key", "12345", "!tag", "it's", "'quoted'", '"double"', "a#b", "{x}", "ключ"])
def test_a_key_is_read_as_the_deploy_writes_it(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump({"api-key": key}), encoding="utf-8")
    assert ready.key_of(tmp_path) == key


@pytest.mark.parametrize("text", ["", "api-key:\n", 'api-key: ""\n', "other: x\n"])
def test_a_secret_file_without_a_key_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="no api-key"):
        ready.key_of(tmp_path)


def test_a_link_is_switched_and_leaves_nothing_behind(engines: Path) -> None:
    link = engines / "chat" / "good"
    ready.point(link, "releases/new")
    assert os.readlink(link) == "releases/new"
    assert sorted(os.listdir(engines / "chat")) == ["current", "good", "releases", "secret.yaml"]


def test_a_link_to_a_removed_release_names_none(engines: Path) -> None:
    link = engines / "chat" / "good"
    assert ready.target_of(link) == "old"
    ready.point(link, "releases/removed")
    assert ready.target_of(link) is None
    assert ready.target_of(engines / "chat" / "absent") is None


def test_a_process_older_than_the_link_or_the_key_does_not_run_the_release(engines: Path) -> None:
    unit = ready.unit_of(shown())
    directory = engines / "chat"
    assert unit.started is not None
    before, after = unit.started.timestamp() - 1, unit.started.timestamp() + 1
    for name, when, runs in [
        ("current", before, False),
        ("secret.yaml", before, True),
        ("current", after, False),
        ("current", before, True),
        ("secret.yaml", after, False),
    ]:
        os.utime(directory / name, (when, when), follow_symlinks=False)
        assert ready.runs_current(unit, directory) is runs
    os.utime(directory / "secret.yaml", (before, before))
    assert not ready.runs_current(ready.unit_of(shown(pid=0)), directory)


# ---- the whole program against commands that stand in for systemctl and journalctl ------------------------------

SYSTEMCTL = """\
#!/bin/sh
# `show` prints the state of the release that `current` names; `restart` is noted
echo "$*" >> {root}/commands
release=$(basename "$(readlink {root}/chat/current)")
case "$1" in
  show) cat "{root}/show-$release" ;;
  restart) if [ -f "{root}/restarted-$release" ]; then cp "{root}/restarted-$release" "{root}/show-$release"; fi ;;
esac
"""
JOURNALCTL = """\
#!/bin/sh
case "$*" in *--since=*--unit*|*--unit*--since=*)
  cat "{root}/journal-$(basename "$(readlink {root}/chat/current)")" ;; esac
"""


@pytest.fixture
def host(engines: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's directory root, with `systemctl` and `journalctl` of its own and quick polls."""
    programs = engines / "bin"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (programs / name).write_text(text.format(root=engines), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(ready, "ENGINES", engines)
    monkeypatch.setattr(ready, "POLL_SECONDS", 0.01)
    before = 1_700_000_000
    for link in ("current", "good", "secret.yaml"):
        os.utime(engines / "chat" / link, (before, before), follow_symlinks=False)
    return engines


def state(host: Path, release: str, unit: str, lines: list[str]) -> None:
    (host / f"show-{release}").write_text(unit, encoding="utf-8")
    journal = "\n".join(journal_line(line, _SYSTEMD_INVOCATION_ID="aa") for line in lines)
    (host / f"journal-{release}").write_text(journal + "\n", encoding="utf-8")


def started_now() -> str:
    stamp = time.strftime("%a %Y-%m-%d %H:%M:%S.999999 UTC", time.gmtime(time.time() + 5))
    return shown().replace("Sat 2026-11-21 08:07:00.250000 UTC", stamp)


def serve(host: Path, release: str, url: str) -> None:
    path = host / "chat" / "releases" / release / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"url": url}), encoding="utf-8")


def test_an_engine_that_answers_becomes_good(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    assert ready.main(["chat", "--once"]) == 0
    assert ready.target_of(host / "chat" / "good") == "old"
    assert ready.main(["chat", "--wait"]) == 0
    assert ready.target_of(host / "chat" / "good") == "new"
    assert capsys.readouterr().out == "chat: answers\nchat: answers (release new, 0 s)\n"


def test_an_engine_of_another_release_does_not_count(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    # switched after that start
    os.utime(host / "chat" / "current", (4e9, 4e9), follow_symlinks=False)
    assert ready.main(["chat", "--once"]) == 1
    assert Api.asked == []
    assert capsys.readouterr().out == (
        "chat: does not answer: its unit is active (running) and does not run release new yet\n"
    )


def test_an_engine_that_nobody_restarted_is(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "new", api)
    state(host, "new", shown(), START)
    (host / "restarted-new").write_text(started_now(), encoding="utf-8")
    os.utime(host / "chat" / "current", (time.time(), time.time()), follow_symlinks=False)
    assert ready.main(["chat", "--wait"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "chat: still runs with an older release or key; restarting it",
        "chat: answers (release new, 0 s)",
    ]


def test_a_bad_option_ends_the_wait_and_the_old_release_comes_back(
    host: Path, api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Api.routes = {"/v1/completions": (200, COMPLETION)}
    serve(host, "old", api)
    state(host, "new", shown("activating", "auto-restart", pid=0), [*START[:1], *BAD_OPTION])
    state(host, "old", started_now(), START)
    assert ready.main(["chat", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert out == "chat: waiting for a restart (0 s)\nchat: going back to release old\n"
    assert err.splitlines() == [
        (
            "chat: not ready: starting: vLLM refuses an option: unrecognized arguments: --swap-space 4; "
            "correct the service's options"
        ),
        "  vllm serve: error: unrecognized arguments: --swap-space 4",
        "chat: rolled back to release old, which answers",
    ]
    assert ready.target_of(host / "chat" / "current") == "old"
    commands = [line for line in (host / "commands").read_text().splitlines() if not line.startswith("show")]
    assert commands == ["reset-failed vllm-chat.service", "restart vllm-chat.service"]


def test_a_key_in_a_refused_option_is_not_shown(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready.point(host / "chat" / "good", "releases/new")
    refused = f"vllm: error: unrecognized arguments: --apikey {KEY}"
    state(host, "new", shown("activating", "auto-restart", pid=0), [refused])
    assert ready.main(["chat", "--wait"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("chat: not ready: starting: vLLM refuses an option: unrecognized arguments: --apikey ***;")
    assert KEY not in err


def test_a_release_that_does_not_answer_either_is_said_so(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state(host, "new", shown("activating", "auto-restart", pid=0), BAD_OPTION)
    state(host, "old", shown("failed", "failed", pid=0), NO_MEMORY)
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "chat: rolled back to release old, which does not answer either: the weights leave no memory for the KV cache"
    )


@pytest.mark.parametrize(
    ("good", "said"),
    [
        ("new", "chat: not rolled back: this release is the last that answered"),
        ("removed", "chat: not rolled back: no release has answered yet"),
    ],
)
def test_without_another_good_release_nothing_is_switched(
    host: Path, good: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.point(host / "chat" / "good", f"releases/{good}")
    state(host, "new", shown("activating", "auto-restart", pid=0), BAD_OPTION)
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert ready.target_of(host / "chat" / "current") == "new"
    assert "restart" not in (host / "commands").read_text()


def test_a_silent_engine_meets_start_seconds(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine_json = host / "chat" / "releases" / "new" / "engine.json"
    engine_json.write_text(json.dumps(json.loads(engine_json.read_text()) | {"start_seconds": 0.2}), encoding="utf-8")
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START[:5])
    assert ready.main(["chat", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert out == "chat: loading weights (0 s)\n"
    assert err.splitlines()[0] == (
        "chat: not ready: loading weights: no answer within 0.2 s (last: connection refused); "
        "raise start_seconds if it was still on its way, else read journalctl -u vllm-chat.service"
    )


def test_a_refused_key_ends_the_wait(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve(host, "new", api)
    (host / "chat" / "secret.yaml").write_text("api-key: another-key\n", encoding="utf-8")
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START)
    assert ready.main(["chat", "--wait"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("chat: not ready: serving: the key in secret.yaml is refused (HTTP 401); ")
    assert "another-key" not in err


def test_a_stranger_on_the_port_does_not_end_the_wait(host: Path, api: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve(host, "new", api)  # it answers 404 to everything
    ready.point(host / "chat" / "good", "releases/new")
    state(host, "new", started_now(), START[:3])
    path = host / "chat" / "releases" / "new" / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start_seconds": 0.2}), encoding="utf-8")
    assert ready.main(["chat", "--wait"]) == 1
    assert capsys.readouterr().err.startswith("chat: not ready: starting: no answer within 0.2 s (last: no route takes")


@pytest.mark.parametrize(("age", "ok"), [(5.0, False), (25.0, True)])
def test_a_follower_is_ready_when_it_has_run_for_a_while(host: Path, age: float, ok: bool) -> None:
    engine_json = host / "chat" / "releases" / "new" / "engine.json"
    engine_json.write_text(json.dumps(json.loads(engine_json.read_text()) | {"head": False}), encoding="utf-8")
    started = f"ExecMainStartTimestampMonotonic={int((time.monotonic() - age) * 1e6)}"
    state(host, "new", shown().replace("ExecMainStartTimestampMonotonic=1500000", started), START[:3])
    assert ready.main(["chat", "--once"]) == (0 if ok else 1)


@pytest.mark.usefixtures("host")
def test_an_engine_without_files_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ready.main(["absent", "--once"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("absent: not ready: starting: FileNotFoundError: ")
