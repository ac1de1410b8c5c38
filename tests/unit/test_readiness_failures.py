"""payload/readiness/failures.py: what it reads in an engine's journal.

The journals are real ones' lines (vLLM 0.32 texts and logger format), shortened.
"""

from __future__ import annotations

import pytest

from tests.unit.readiness import API, CORE, ERROR, START
from vllm_fleet.payload.readiness import failures

# ---- phases -----------------------------------------------------------------------------------------------------


def test_phases_follow_a_start() -> None:
    seen = [failures.phase_of(START[:count]) for count in range(len(START) + 1)]
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
    assert failures.phase_of(pull) == "pulling image"
    assert failures.phase_of([*pull, "Status: Downloaded newer image for vllm/vllm-openai@sha256:0a1b"]) == "starting"


def test_workers_that_log_late_do_not_turn_a_phase_back() -> None:
    late = (
        f"{CORE.replace('EngineCore', 'VllmWorker-1')} [cpu_model_runner.py:68] Starting to load model /models/tiny..."
    )
    assert failures.phase_of([*START[:8], late]) == "compiling and profiling memory"


def test_a_request_that_quotes_a_log_line_is_no_failure() -> None:
    assert failures.failure_of([*START, f"{API} [logger.py:40] Received request: prompt: 'GET /v1/models'"]) is None


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
    ("sh: 1: ray: not found", "its image has no Ray, which vLLM does not bring", True),
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
    (
        "group: rank 1 (gpu-2) has run another release for 80 s",
        "rank 1 (gpu-2) runs another release",
        True,
    ),
    (
        "group: rank 1 (gpu-2): its engine ended with status 0",
        "rank 1 (gpu-2): its engine ended with status 0",
        False,
    ),
]


def test_a_group_that_gave_up_is_told_by_its_last_failure() -> None:
    line = (
        "group: gave up after 6 failures in a row, the last of rank 0 (gpu-1): its engine was killed by signal 9; mend"
    )
    found = failures.failure_of([line])
    assert found is not None
    assert found.what == "rank 0 (gpu-1): its engine was killed by signal 9"


def test_a_group_waits_before_it_starts() -> None:
    waiting = ["group: waiting for rank 1 (gpu-2)"]
    assert failures.phase_of(waiting) == "waiting for the other hosts"
    assert failures.phase_of([*waiting, "group: all members are here; starting"]) == "starting"


@pytest.mark.parametrize(("line", "what", "final"), KNOWN)
def test_a_known_failure_is_told_from_a_start_that_ended(line: str, what: str, final: bool) -> None:
    found = failures.failure_of([*START[:5], line, "RuntimeError: Engine core initialization failed."])
    assert found is not None
    assert (found.what, found.final) == (what, final)
    assert found.mend


@pytest.mark.parametrize(
    "line",
    [
        "sh: line 1: ray: command not found",
        "sh: 1: /var/lib/vllm-fleet/venvs/0123456789ab/bin/ray: not found",
        (
            "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime "
            "create failed: runc create failed: unable to start container process: error during container init: exec: "
            '"ray": executable file not found in $PATH: unknown'
        ),
    ],
)
def test_a_missing_ray_is_told_on_every_member(line: str) -> None:
    found = failures.failure_of([line, "group: rank 1 (gpu-2): its engine ended with status 127"])
    assert found is not None
    assert (found.what, found.final) == ("its image has no Ray, which vLLM does not bring", True)


def test_a_line_that_came_through_ray_is_read_as_the_workers_own() -> None:
    line = "(EngineCore pid=80) (RayWorkerProc pid=4711, ip=10.0.1.2) ERROR 11-21 08:07:00 [worker.py:1] torch failed"
    assert failures.message(line) == "torch failed"
    assert failures.error_lines([line]) == ["torch failed"]


def test_every_failure_has_a_case() -> None:
    told = {found.pattern for line, _, _ in KNOWN if (found := failures.failure_of([line]))}
    assert told == {failure.pattern for failure in failures.FAILURES}


def test_the_feasible_length_is_in_the_mend() -> None:
    found = failures.failure_of([KNOWN[2][0]])
    assert found is not None
    assert found.mend == "set max_model_len to 41776 or less, or raise gpu_memory_utilization"


def test_a_warning_about_a_port_that_vllm_changes_itself_is_no_failure() -> None:
    assert failures.failure_of(["WARNING 11-21 08:07:00 [parallel.py:746] Address already in use. Retrying"]) is None


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
    assert failures.error_lines(lines) == [
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
    assert failures.error_lines(lines) == [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Unknown quantization method: x. Must be one of []. [type=value_error]",
    ]


def test_at_most_eight_error_lines() -> None:
    assert failures.error_lines([f"ValueError: {number}" for number in range(20)]) == [
        f"ValueError: {number}" for number in range(12, 20)
    ]


def test_without_an_error_the_last_lines_are_shown() -> None:
    assert failures.error_lines(["one", "", "two"]) == ["one", "two"]


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
    assert failures.error_lines([line], ["s3cret-word"]) == [shown]
