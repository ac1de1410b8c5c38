"""What an engine's log says: how far its start got, and why it ended. Pure functions over lines, and their tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ERROR_LINES = 8


# The furthest line decides, for the workers of one engine log interleaved. vLLM 0.32's own texts, where each stands:
# config/model.py, v1/engine/core.py, v1/worker/{gpu,cpu}_model_runner.py, model_loader/default_loader.py,
# compilation/backends.py, v1/core/kv_cache_utils.py, entrypoints/launchers/api_server/entry.py; the last is uvicorn's.
# Docker's are its command line's progress (docker/cli, `docker run` and `docker pull` without a terminal), the group's
# those of payload/group.
PHASES: tuple[tuple[str, str], ...] = (
    ("pulling image", r"Unable to find image '.*' locally|: Pulling from |: (Pulling fs layer|Pull complete)$"),
    ("waiting for the other hosts", r"^group: (waiting for|pausing) "),
    ("starting", r"^group: .*starting$"),
    ("starting", r"^Status: (Downloaded newer image|Image is up to date)|non-default args|Resolved architecture"),
    ("starting", r"Initializing a V1 LLM engine"),
    ("loading weights", r"Starting to load model|Loading model from scratch|Loading \w+ checkpoint shards"),
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
    # dash, bash and runc: rank 0 and the others of a service with Ray
    Failure(
        r'^(?:sh|start): (?:line )?\d+: (?:\S*/)?ray: (?:command )?not found|exec: "ray": executable file not found',
        "its image has no Ray, which vLLM does not bring",
        "use an image that holds ray, or executor='mp'",
        final=True,
    ),
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
    # payload/group
    Failure(
        r"^group: (?P<member>rank \d+ \(\S+\)) has run another release",
        "{member} runs another release",
        "deploy all hosts of the service together",
        final=True,
    ),
    Failure(
        r"^group: (?:gave up after .*, the last of )?(?P<member>rank \d+ \([^\s)]+\)): (?P<why>[^;]+)",
        "{member}: {why}",
        "read the journal of its unit there",
    ),
)

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# logger.py: `(VllmWorker-0 pid=123) ERROR 11-21 08:07:00 [core.py:1202] message`; through Ray
# `(EngineCore pid=123) (RayWorkerProc pid=456, ip=10.0.1.2) ERROR ...`
_PREFIX = re.compile(
    r"^(?:\([^()]+ pid=\d+(?:, ip=[^()]+)?\) )*"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:]{8} \[[^\]]+\] )?"
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
    return [redact(line, secrets)[:400] for line in list(shown)[:ERROR_LINES]][::-1]


def _tells(line: str) -> bool:
    text = message(line)
    level = _PREFIX.match(line)
    loud = level is not None and level["level"] in ("ERROR", "CRITICAL")
    return not _NOISE.match(text) and (loud or bool(_TELLS.search(text)))


def redact(line: str, secrets: Sequence[str]) -> str:
    """A line without these secrets and without what looks like one."""
    for secret in secrets:
        line = line.replace(secret, "***")
    return _SECRETS.sub(lambda found: f"{found[1] or ''}***", line)
