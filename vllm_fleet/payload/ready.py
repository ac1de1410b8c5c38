#!/usr/bin/python3
"""Does an engine answer? Waits for it, says why it does not, and goes back to the last release that did.

    ready.py INSTANCE --once    exit 0 if it answers a one-token completion with the release of `current`, else 1
    ready.py INSTANCE --wait    the same within `start_seconds`; then `good` points to the release, or the
                                reason is on standard error and the engine is back on `good`

Runs on the host as root, with Python's standard library only (3.11). /health and /v1/models are not asked: both stay
200 with a dead or frozen engine (measured on vLLM 0.32), only a completion tells.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENGINES = Path("/etc/vllm-fleet/engines")

ONCE_SECONDS = 10.0
FIRST_SECONDS = 60.0
"""For a completion while waiting: an engine's first may compile kernels."""
POLL_SECONDS = 2.0
RESTARTS_ENOUGH = 3
"""Restarts within one wait after which the engine is said to crash again and again."""
STEADY_SECONDS = 20.0
"""How long a follower, which has no API to ask, must have run."""
ERROR_LINES = 8


# ---- What the journal says: pure functions over lines, and the tables they read -------------------------------

# The furthest line decides, for the workers of one engine log interleaved. vLLM 0.32's own texts, where each stands:
# config/model.py, v1/engine/core.py, v1/worker/{gpu,cpu}_model_runner.py, model_loader/default_loader.py,
# compilation/backends.py, v1/core/kv_cache_utils.py, entrypoints/launchers/api_server/entry.py; the last is uvicorn's.
# Docker's are its command line's progress (docker/cli, `docker run` and `docker pull` without a terminal).
PHASES: tuple[tuple[str, str], ...] = (
    ("pulling image", r"Unable to find image '.*' locally|: Pulling from |: (Pulling fs layer|Pull complete)$"),
    ("starting", r"^Status: (Downloaded newer image|Image is up to date)|non-default args|Resolved architecture"),
    ("starting", r"Initializing a V1 LLM engine"),
    ("loading weights", r"Starting to load model|Loading \w+ checkpoint shards"),
    ("compiling and profiling memory", r"Loading weights took|Model loading took|Dynamo bytecode transform time"),
    ("compiling and profiling memory", r"Compiling a graph|KV cache size: "),
    ("capturing graphs", r"Capturing CUDA graphs"),
    ("starting server", r"Graph capturing finished|init engine \(|Starting vLLM server on"),
    ("serving", r"Application startup complete"),
)


@dataclass(frozen=True)
class Failure:
    """A known end of an engine: the line that tells it, what happened and the mend (`{group}` from the pattern)."""

    pattern: str
    what: str
    mend: str
    final: bool = False
    """True where no restart can mend it; other causes (memory not freed yet, a busy registry) may pass."""


# The first entry that matches a line is the cause, so a root cause stands before what follows from it. Each text was
# read in the vLLM 0.32 file named, or in the project named.
FAILURES: tuple[Failure, ...] = (
    # argparse, exit 2; utils/argparse_utils.py keeps its form
    Failure(
        r"^(?:vllm|api_server\.py)\b.*: error: (?P<message>.+)",
        "vLLM refuses an option: {message}",
        "correct the service's options",
        final=True,
    ),
    # dash, which runs the release's `start`
    Failure(r"start: \d+: exec: (?P<program>\S+): not found", "{program} is missing", "deploy again", final=True),
    # docker/cli
    Failure(r"Cannot connect to the Docker daemon", "Docker does not run", "see systemctl status docker"),
    # errno ENOSPC; dockerd and containerd pass the same text on
    Failure(r"[Nn]o space left on device", "a disk is full", "free space; df -h and docker system df show where"),
    # moby daemon/cdi.go and container-device-interface: "... unresolvable CDI devices nvidia.com/gpu=0"
    Failure(
        r'unresolvable CDI devices (?P<device>\S+)|could not select device driver "cdi"',
        "Docker does not know the GPU device",
        "run nvidia-ctk cdi list; nvidia-cdi-refresh or nvidia-ctk cdi generate makes the list anew",
    ),
    # opencontainers/runc through moby: seen with an rlimit above the host's own (Docker 26.1)
    Failure(
        r"OCI runtime create failed: (?:runc create failed: )?(?P<reason>.+?)(?:: unknown)?\.?$",
        "Docker cannot start the container ({reason})",
        "mend what it names; journalctl -u docker has more",
    ),
    # torch c10/cuda/CUDAFunctions.cpp (issue guqiong96/Lvllmds4#46 shows it from an EngineCore)
    Failure(
        r"NVIDIA driver on your system is too old \(found version (?P<version>\d+)\)",
        "the NVIDIA driver is too old for this build (it offers CUDA {version})",
        "update the driver, or use an image for an older CUDA (-cu129)",
        final=True,
    ),
    # torch c10/cuda; platforms: config/device.py
    Failure(
        r"No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device is detected",
        "it sees no GPU",
        "check nvidia-smi on the host and the service's device",
    ),
    # docker/cli and distribution: pull errors of the daemon
    Failure(
        r"manifest for (?P<image>\S+) not found|manifest unknown|pull access denied for (?P<denied>[^,\s]+)",
        "the registry does not have the image, or not for this host",
        "check the image's name and digest, and docker login",
        final=True,
    ),
    # dockerd, to `docker run --pull never`
    Failure(r"No such image: (?P<image>[^.\s]+)", "its image is not on the host", "deploy again, which pulls it"),
    Failure(
        r"Error response from daemon: .*(?P<reason>no such host|connection refused|i/o timeout|Client\.Timeout|TLS "
        r"handshake timeout|no route to host|network is unreachable|certificate)",
        "the image's registry cannot be reached ({reason})",
        "check the registry's name, the firewall and Docker's proxy settings",
    ),
    # v1/core/kv_cache_utils.py _check_enough_kv_cache_memory
    Failure(
        r"max seq len \((?P<wanted>\d+)\).*larger than the available KV cache memory.*"
        r"estimated maximum model length is (?P<feasible>\d+)",
        "the KV cache does not hold one request of max_model_len {wanted}",
        "set max_model_len to {feasible} or less, or raise gpu_memory_utilization",
        final=True,
    ),
    Failure(
        r"larger than the available KV cache memory",
        "the KV cache does not hold one request of max_model_len",
        "lower max_model_len, raise gpu_memory_utilization, or use more GPUs",
        final=True,
    ),
    Failure(
        r"No available memory for the cache blocks",
        "the weights leave no memory for the KV cache",
        "raise gpu_memory_utilization, use more GPUs or smaller weights",
    ),
    # v1/worker/utils.py request_memory, v1/worker/cpu_worker.py
    Failure(
        r"(?P<which>Free memory on device|Available memory on node) .*\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\)"
        r".*is less than",
        "only {free} of {total} GiB memory are free",
        "end what else uses the device (nvidia-smi), or lower gpu_memory_utilization",
    ),
    # torch c10/cuda/CUDACachingAllocator.cpp; v1/worker/gpu_model_runner.py
    Failure(
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "the GPU's memory ran out",
        "lower gpu_memory_utilization or max-num-seqs, or use more GPUs",
    ),
    # kernel mm/oom_kill.c; systemd src/core/service.c; torch c10/core/CPUAllocator.cpp
    Failure(
        r"ut of memory: Killed process \d+ \((?:VLLM|vllm|python|pt_main)|killed by the OOM killer|"
        r"Failed with result 'oom-kill'|DefaultCPUAllocator: can't allocate memory",
        "the host's memory ran out",
        "lower kv-offloading-size or what else runs there, or add memory",
    ),
    # entrypoints/launchers/launcher.py create_server_socket: bind's own errno (config/parallel.py only warns)
    Failure(
        r"OSError: \[Errno 98\]|error while attempting to bind on address",
        "its port is taken",
        "see ss -ltnp for who holds it; end that, or change the service's port",
    ),
    # config/model.py _verify_quantization
    Failure(
        r"Quantization method specified in the model config \((?P<config>[^)]+)\) does not match .*"
        r"\((?P<argument>[^)]+)\)",
        "the checkpoint is {config}, not {argument}",
        "drop the service's quantization",
        final=True,
    ),
    Failure(
        r"Unknown quantization method: (?P<method>[^.\s]+)|Cannot find the config file for (?P<other>\S+)",
        "this vLLM or checkpoint does not have the quantization",
        "drop the service's quantization, or install its plugin",
        final=True,
    ),
    # transformers_utils/config.py, model_loader/default_loader.py, huggingface_hub offline and path checks; the last
    # is what safetensors says of a file that it may not read, too
    Failure(
        r"Invalid repository ID or local directory specified: '(?P<path>[^']*)'|"
        r"Cannot find any model weights with `(?P<bare>[^`]+)`|LocalEntryNotFoundError|Repo id must be in the form|"
        r"FileNotFoundError: No such file or directory: \S+\.safetensors",
        "the model's files are not where the engine looks",
        "see that the model's directory in the store is whole, mounted and readable, then deploy again",
        final=True,
    ),
    # torch/_inductor/cpp_builder.py; triton/runtime/build.py
    Failure(
        r"No working C\+\+ compiler found|Failed to find C compiler",
        "it finds no C compiler, which torch.compile and Triton call",
        "install gcc and g++ on the host, or use a container",
        final=True,
    ),
    # v1/executor/multiproc_executor.py; 4 was seen where the CPU names AMX and the machine does not let it be used
    Failure(
        r"Worker proc \S+ died unexpectedly \(exit code: -(?P<signal>\d+)\)",
        "a worker was killed by signal {signal}",
        "9 is mostly the kernel short of memory (journalctl -k), 4 a CPU that lacks an instruction: try another dtype",
    ),
    # config/model.py verify_with_parallel_config and _get_and_verify_max_len
    Failure(
        r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
        "tensor_parallel_size {size} does not divide {heads} attention heads",
        "choose a divisor",
        final=True,
    ),
    Failure(
        r"User-specified max_model_len \((?P<wanted>\d+)\) is greater than the derived max_model_len "
        r"\(\w+=(?P<limit>\d+)",
        "max_model_len {wanted} is more than the model's {limit}",
        "lower max_model_len",
        final=True,
    ),
)

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# logger.py: `(VllmWorker-0 pid=123) ERROR 11-21 08:07:00 [core.py:1202] message`
_PREFIX = re.compile(
    r"^(?:\([^()]+ pid=\d+\) )?(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:]{8} \[[^\]]+\] )?"
)
_TELLS = re.compile(
    r"^[\w.]*(?:Error|Exception)\b|^\s+Value error, |\berror: |^docker: |Error response from daemon|"
    r"[Oo]ut of memory|OOM killer"
)
# a traceback's own lines (but pydantic's "  Value error, ..." is the cause), what the engine dumps of a request, and
# what the unit's tidying before a start says
_NOISE = re.compile(r"^(?:\s(?!\s*Value error, )|Traceback|Dumping |Error response from daemon: No such container|$)")
_SECRETS = re.compile(
    r"(?i)(api[-_]?key[\s'\"=:]{1,4}|authorization[\s'\"=:]{1,4}(?:\w+ )?|bearer )[^\s,'\"]+|\bhf_\w{8,}"
)


def plain(text: str) -> str:
    """A line as a person reads it: no colours, and of a progress bar's many states the last."""
    return _ANSI.sub("", text).rstrip("\r\n ").rsplit("\r", 1)[-1]


def message(line: str) -> str:
    """A vLLM line without process, level, time and place; any other line as it is."""
    return line[_PREFIX.match(line).end() :]  # type: ignore[union-attr]  # every part is optional: it matches


def phase_of(lines: Sequence[str]) -> str:
    """How far a start got; `starting` before anything tells."""
    for phase, pattern in reversed(PHASES):
        if any(re.search(pattern, message(line)) for line in lines):
            return phase
    return "starting"


def failure_of(lines: Sequence[str]) -> Failure | None:
    """The known failure these lines tell of, its texts filled from them; None when none is known."""
    for failure in FAILURES:
        for line in lines:
            if found := re.search(failure.pattern, message(line)):
                values = {name: value or "?" for name, value in found.groupdict().items()}
                return Failure(
                    failure.pattern, failure.what.format(**values), failure.mend.format(**values), failure.final
                )
    return None


def error_lines(lines: Sequence[str], secrets: Sequence[str] = ()) -> list[str]:
    """The last lines that tell of an error, each once, without tracebacks and secrets; the last lines if none does."""
    telling = [message(line) for line in lines if _tells(line)]
    shown = dict.fromkeys(reversed(telling or [message(line) for line in lines if line.strip()]))
    return [_redact(line, secrets)[:400] for line in list(shown)[:ERROR_LINES]][::-1]


def _tells(line: str) -> bool:
    text = message(line)
    level = _PREFIX.match(line)
    loud = level is not None and level["level"] in ("ERROR", "CRITICAL")
    return not _NOISE.match(text) and (loud or bool(_TELLS.search(text)))


def _redact(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "***")
    return _SECRETS.sub(lambda found: f"{found[1] or ''}***", line)


@dataclass(frozen=True)
class Entry:
    """One line of a unit's journal, with the start of the unit it belongs to."""

    invocation: str
    text: str
    cursor: str


def entries_of(output: str) -> list[Entry]:
    """The entries of `journalctl -o json`."""
    return [_entry(json.loads(line)) for line in output.splitlines() if line.startswith("{")]


def _entry(fields: dict[str, Any]) -> Entry:
    text = fields.get("MESSAGE") or ""
    if isinstance(text, list):  # journalctl writes what is not printable, e.g. colours, as byte numbers
        text = bytes(text).decode(errors="replace")
    # systemd's own lines about a unit name the start in INVOCATION_ID, those of the unit in the trusted field
    invocation = fields.get("INVOCATION_ID") or fields.get("_SYSTEMD_INVOCATION_ID") or ""
    return Entry(str(invocation), plain(text), fields["__CURSOR"])


def runs_of(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Lines by start of the unit, oldest first; a line that names no start belongs to the one before."""
    runs: dict[str, list[str]] = {}
    latest = ""
    for entry in entries:
        latest = entry.invocation or latest
        runs.setdefault(latest, []).append(entry.text)
    return runs


# ---- What systemd says ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A unit's state; times are None before its first start."""

    loaded: bool
    active: str
    sub: str
    pid: int
    restarts: int
    invocation: str
    activated: datetime | None
    started: datetime | None
    started_monotonic: float
    """Seconds on CLOCK_MONOTONIC, which Python's time.monotonic() reads too."""

    @property
    def alive(self) -> bool:
        """Whether its latest start goes on; between restarts and after giving up it does not."""
        return self.active in ("active", "activating", "reloading", "deactivating") and self.sub != "auto-restart"


_PROPERTIES = (
    "LoadState,ActiveState,SubState,MainPID,NRestarts,InvocationID,"
    "InactiveExitTimestamp,ExecMainStartTimestamp,ExecMainStartTimestampMonotonic"
)


def unit_of(output: str) -> Unit:
    """The unit in the output of `systemctl show --timestamp=us+utc`."""
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    return Unit(
        loaded=values.get("LoadState") == "loaded",
        active=values.get("ActiveState", "inactive"),
        sub=values.get("SubState", "dead"),
        pid=int(values.get("MainPID") or 0),
        restarts=int(values.get("NRestarts") or 0),
        invocation=values.get("InvocationID", ""),
        activated=_time(values.get("InactiveExitTimestamp", "")),
        started=_time(values.get("ExecMainStartTimestamp", "")),
        started_monotonic=int(values.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
    )


def _time(text: str) -> datetime | None:
    """systemd's `Sat 2026-11-21 08:07:00.123456 UTC`; it writes English day names whatever the locale."""
    if text in ("", "n/a", "0"):
        return None
    return datetime.strptime(text.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f %Z").replace(tzinfo=UTC)


def split(runs: dict[str, list[str]], unit: Unit) -> tuple[list[list[str]], list[str]]:
    """Lines of the starts that had ended when the unit was looked at, oldest first, and those of the one that went on.

    What a later start has written meanwhile is for the next look.
    """
    ended: list[list[str]] = []
    for start, lines in runs.items():
        if start == unit.invocation:
            return (ended, lines) if unit.alive else ([*ended, lines], [])
        if start:
            ended.append(lines)
    return ended, []


def problem_of(unit: Unit, first_restarts: int, ended: Sequence[Sequence[str]]) -> Failure | None:
    """Why waiting longer is no use, from the unit's state and the journals of the starts that ended; None: wait on.

    `first_restarts` is the unit's restart counter when the wait began; systemd sets it to 0 on a start by hand.
    """
    if not unit.loaded:
        return Failure("", "systemd does not know its unit", "deploy the engine again")
    found = [failure for failure in map(failure_of, ended) if failure]
    for failure in found:
        if failure.final:
            return failure
    if unit.active in ("failed", "inactive"):
        return found[-1] if found else Failure("", f"its unit is {unit.active}", "read the journal of the unit")
    if unit.restarts - min(first_restarts, unit.restarts) >= RESTARTS_ENOUGH:
        ends = f"it ended {RESTARTS_ENOUGH} times, last with status {_status(ended[-1] if ended else [])}"
        return found[-1] if found else Failure("", ends, "read the journal of the unit")
    return None


def _status(lines: Sequence[str]) -> str:
    """How the main process ended, in systemd's words; it says nothing of an end with 0."""
    found = re.findall(r"Main process exited, code=\w+, status=(\S+)", "\n".join(lines))
    return found[-1] if found else "0"


def _run(*command: str, seconds: float = 30) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
    ).stdout


def show(unit: str) -> Unit:
    return unit_of(_run("systemctl", "show", "--timestamp=us+utc", f"--property={_PROPERTIES}", unit))


def _journalctl(*options: str) -> str:
    # --all: without it a line above 4 KiB (vLLM's "Initializing a V1 LLM engine") comes as null
    return _run("journalctl", "--quiet", "--all", "--output=json", *options)


@dataclass
class Journal:
    """A unit's journal from a moment on; each `read` adds what is new."""

    unit: str
    since: float
    """Seconds since the epoch."""
    entries: list[Entry] = field(default_factory=list)

    def read(self) -> dict[str, list[str]]:
        """Lines by start of the unit."""
        start = f"--after-cursor={self.entries[-1].cursor}" if self.entries else f"--since=@{self.since:.6f}"
        self.entries += entries_of(_journalctl("--unit", self.unit, start))
        return runs_of(self.entries)

    def kernel(self) -> list[str]:
        """What the kernel wrote meanwhile; it does not name the unit."""
        return [entry.text for entry in entries_of(_journalctl("--dmesg", f"--since=@{self.since:.6f}"))]


# ---- The engine: its files and its answer ---------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """What `current/engine.json` says of an engine, and where that stands."""

    directory: Path
    instance: str
    unit: str
    release: str
    url: str
    model_name: str
    head: bool
    start_seconds: int


def load(instance: str, engines: Path) -> Engine:
    """The engine of `current`. Raises OSError, ValueError or KeyError when its files are missing or broken."""
    directory = engines / instance
    # the link is read once: a deploy may switch it meanwhile
    release = Path(os.readlink(directory / "current")).name
    values = json.loads((directory / "releases" / release / "engine.json").read_text(encoding="utf-8"))
    names = ("instance", "unit", "url", "model_name", "head", "start_seconds")
    return Engine(directory=directory, release=release, **{name: values[name] for name in names})


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


def point(link: Path, target: str) -> None:
    """Point a link at a target in one step: a reader finds the old target or the new one."""
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def target_of(link: Path) -> str | None:
    """The release that a link names; None without the link or without that release."""
    return Path(os.readlink(link)).name if link.is_symlink() and link.exists() else None


def switched(directory: Path) -> float:
    """When the engine's release or key last changed, in seconds since the epoch."""
    return max((directory / "current").lstat().st_mtime, (directory / "secret.yaml").stat().st_mtime)


def runs_current(unit: Unit, directory: Path) -> bool:
    """Whether the main process was started after the last switch: ExecStart goes through the link `current`."""
    return unit.pid > 0 and unit.started is not None and unit.started.timestamp() >= switched(directory)


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


def check(engine: Engine, unit: Unit, seconds: float) -> Answer:
    """Whether the engine serves, now, with the release of `current`."""
    if unit.started is None or not runs_current(unit, engine.directory):
        return Answer(False, f"its unit is {unit.active} ({unit.sub}) and does not run release {engine.release} yet")
    if engine.head:
        key = key_of(engine.directory)
        return ask(engine.url, engine.model_name, key, unit.started.timestamp(), seconds)
    steady = unit.active == "active" and time.monotonic() - unit.started_monotonic >= STEADY_SECONDS
    return Answer(steady, "" if steady else f"it has not run for {STEADY_SECONDS:g} s")


# ---- Waiting and going back -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Why an engine is not ready."""

    phase: str
    what: str
    mend: str
    lines: list[str]


def restart(engine: Engine) -> None:
    """Restart the unit; what comes of it, `wait` sees. A stop may take as long as the engine drains."""
    _run("systemctl", "reset-failed", engine.unit)  # else a unit that hit its start limit refuses
    with contextlib.suppress(subprocess.TimeoutExpired):  # systemd goes on with the job
        _run("systemctl", "restart", engine.unit, seconds=engine.start_seconds)


def wait(engine: Engine, say: Callable[[str], None]) -> Problem | None:
    """Wait until the engine serves (None), or until it is known not to, at most `start_seconds`."""
    begin = time.monotonic()
    first = show(engine.unit)
    if first.pid and not runs_current(first, engine.directory):
        # a deploy was cut off between switching the release or key and restarting
        say(f"{engine.instance}: still runs with an older release or key; restarting it")
        restart(engine)
        first = show(engine.unit)
    activated = first.activated.timestamp() if first.activated else 0.0
    journal = Journal(engine.unit, max(switched(engine.directory), activated))
    shown, restarts, answer = "", first.restarts, Answer(False)
    while True:
        unit = show(engine.unit)
        restarts = min(restarts, unit.restarts)
        left = begin + engine.start_seconds - time.monotonic()
        answer = check(engine, unit, max(1.0, min(FIRST_SECONDS, left)))
        if answer.ok:
            return None
        ended, live = split(journal.read(), unit)
        step = phase_of(live) if unit.alive else "waiting for a restart"
        if step != shown:
            shown = step
            say(f"{engine.instance}: {step} ({time.monotonic() - begin:.0f} s)")
        if failure := problem_of(unit, restarts, ended):
            return _explain(engine, journal, unit, failure, of_ended=True)
        if answer.refused and step == "serving":  # earlier it is not this engine that answers, but who holds its port
            mend = "deploy again; if it persists, compare secret.yaml and the release's start with the service"
            return _problem(engine, live, Failure("", answer.why, mend))
        if left <= 0:
            what = f"no answer within {engine.start_seconds} s (last: {answer.why})"
            mend = f"raise start_seconds if it was still on its way, else read journalctl -u {engine.unit}"
            return _explain(engine, journal, unit, Failure("", what, mend), of_ended=False)
        time.sleep(min(POLL_SECONDS, left))


def _explain(engine: Engine, journal: Journal, unit: Unit, failure: Failure, *, of_ended: bool) -> Problem:
    """The problem with its last lines: of the start that ended last, or of the one that goes on."""
    _run("journalctl", "--sync")  # a process's last words may reach the journal after its end
    ended, live = split(journal.read(), unit)
    lines = ended[-1] if ended and (of_ended or not live) else live
    if not failure.pattern:  # nothing was known: what came late, an earlier start or the kernel may tell more
        failure = failure_of([line for run in [*ended, live] for line in run] + journal.kernel()) or failure
    return _problem(engine, lines, failure)


def _problem(engine: Engine, lines: Sequence[str], failure: Failure) -> Problem:
    """A failure in words; `what` may quote a line of the journal, so secrets go there too."""
    key = key_of(engine.directory)
    return Problem(phase_of(lines), _redact(failure.what, [key]), failure.mend, error_lines(lines, [key]))


def roll_back(engine: Engine, say: Callable[[str], None]) -> str:
    """Return to the last release that answered, where there is another; says what came of it."""
    current, good = engine.directory / "current", target_of(engine.directory / "good")
    if good is None:
        return "not rolled back: no release has answered yet"
    if good == engine.release:
        return "not rolled back: this release is the last that answered"
    if target_of(current) != engine.release:
        return "not rolled back: another deploy has switched the release meanwhile"
    point(current, f"releases/{good}")
    earlier = load(engine.instance, engine.directory.parent)
    say(f"{engine.instance}: going back to release {good}")
    restart(earlier)
    problem = wait(earlier, say)
    if problem:
        return f"rolled back to release {good}, which does not answer either: {problem.what}"
    return f"rolled back to release {good}, which answers"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(prog="ready.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("instance")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--once", action="store_true", help="ask once, within 10 s")
    mode.add_argument("--wait", action="store_true", help="wait up to start_seconds, then mark good or roll back")
    chosen = parser.parse_args(arguments)
    try:
        engine = load(chosen.instance, ENGINES)
        return _once(engine) if chosen.once else _wait(engine)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        _complain(f"{chosen.instance}: not ready: starting: {type(error).__name__}: {error}; deploy the engine again")
        return 1


def _once(engine: Engine) -> int:
    answer = check(engine, show(engine.unit), ONCE_SECONDS)
    print(f"{engine.instance}: {'answers' if answer.ok else f'does not answer: {answer.why}'}")
    return 0 if answer.ok else 1


def _wait(engine: Engine) -> int:
    begin = time.monotonic()
    problem = wait(engine, _say)
    if problem is None:
        point(engine.directory / "good", f"releases/{engine.release}")
        _say(f"{engine.instance}: answers (release {engine.release}, {time.monotonic() - begin:.0f} s)")
        return 0
    _complain(f"{engine.instance}: not ready: {problem.phase}: {problem.what}; {problem.mend}")
    for line in problem.lines:
        _complain(f"  {line}")
    _complain(f"{engine.instance}: {roll_back(engine, _say)}")
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
