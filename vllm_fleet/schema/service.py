"""A service: one model, how it runs, and where."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .base import Model, Name, Port
from .errors import FieldError
from .secret import Secret
from .slo import Slo
from .weights import Source

# vLLM options that a typed field of Service or the bundle itself sets; said twice they could disagree.
OWNED_OPTIONS: dict[str, str] = {
    "model": "model",
    "served-model-name": "served_name",
    "tensor-parallel-size": "tensor_parallel_size",
    "pipeline-parallel-size": "pipeline_parallel_size",
    "data-parallel-size": "data_parallel_size",
    "data-parallel-rpc-port": "data_parallel_rpc_port",
    "enable-expert-parallel": "expert_parallel",
    "nnodes": "nodes",
    "distributed-executor-backend": "executor",
    "max-model-len": "max_model_len",
    "gpu-memory-utilization": "gpu_memory_utilization",
    "dtype": "dtype",
    "quantization": "quantization",
    "kv-cache-dtype": "kv_cache_dtype",
    "enable-prefix-caching": "prefix_caching",
    "port": "port",
    "master-port": "master_port",
    "api-key": "api_key",
    "shutdown-timeout": "drain_seconds",
}
_PLACED_OPTIONS = {
    *("host", "node-rank", "master-addr", "headless", "config", "revision"),
    *("data-parallel-size-local", "data-parallel-start-rank", "data-parallel-rank", "data-parallel-address"),
    # one port a replica is what the gateway knows: rank 0 spreads requests over all data parallel ranks
    *("data-parallel-external-lb", "data-parallel-hybrid-lb", "data-parallel-multi-port-external-lb"),
}

EXAMPLE_DIGEST = f"sha256:{'0' * 64}"
"""Stands in the example inventories, whose images nobody has looked up yet."""

# Environment that would open or break an engine, with the reason (shared with the error message).
FORBIDDEN_ENV: dict[str, str] = {
    "VLLM_API_KEY": "an environment variable shows in docker inspect and /proc; use api_key=Secret(...)",
    "VLLM_SERVER_DEV_MODE": "it opens weight updates and remote calls to anyone who reaches the port; remove it",
    "HF_TOKEN": "engines run offline; put the token into model=Hub(..., token=Secret(...))",
    "VLLM_HOST_IP": "it is the host's declared address; set the host's address in the inventory",
    "RAY_ADDRESS": "it is the first host's address and ray_port; set those",
}


class Container(Model):
    """vLLM from an image, pinned by digest so that every host runs the same bytes."""

    kind: Literal["container"] = "container"
    image: Annotated[
        str,
        Field(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$", description="an image by digest: name@sha256:<64 hex digits>"),
    ]
    vllm: Annotated[
        str,
        Field(
            pattern=r"^\d+\.\d+(\.\d+)?$",
            description="the vLLM version inside, e.g. 0.33: options are checked against it",
        ),
    ]
    cuda: Literal["13.0", "12.9"] = "13.0"
    """The CUDA build of the image: vLLM's tags end in -cu129 for 12.9, which older drivers need."""


class Venv(Model):
    """vLLM in a virtual environment from locked wheels (`requirements` has a hash a line)."""

    kind: Literal["venv"] = "venv"
    python: Annotated[str, Field(pattern=r"^/")] = "/usr/bin/python3"
    requirements: str
    """The lock file on the machine that deploys."""
    find_links: str | None = None
    """A folder or page of wheels to install from instead of the host's package index."""

    @field_validator("requirements")
    @classmethod
    def _locked(cls, path: str) -> str:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ValueError(f"cannot read {path} ({error.strerror}); write the lock file there") from None
        if not any("--hash=" in line for line in lines):
            raise ValueError(f"{path} has no hashes; make it with `pip-compile --generate-hashes`")
        return path

    def lock(self) -> str:
        """The lock file's text."""
        return Path(self.requirements).read_text(encoding="utf-8")

    @property
    def vllm(self) -> str:
        """The vLLM version that the lock file pins; empty where it names none (a wheel by its address, say)."""
        pinned = re.search(r"^vllm(?:-cpu)?==([0-9.]+)", self.lock(), re.MULTILINE)
        return pinned[1].rstrip(".") if pinned else ""

    @property
    def ray(self) -> bool:
        """Whether the lock file pins Ray."""
        return bool(re.search(r"^ray(?:\[[^]]*\])? *(?:==|@)", self.lock(), re.MULTILINE))

    @property
    def cuda(self) -> str:
        """vLLM's wheels on the package index are built for this CUDA (vLLM 0.32 and 0.33)."""
        return "13.0"

    @property
    def digest(self) -> str:
        """12 hex digits that stand for these wheels on this interpreter."""
        return hashlib.sha256(f"{self.python}\n{self.lock()}".encode()).hexdigest()[:12]


Runtime = Annotated[Container | Venv, Field(discriminator="kind")]


class Service(Model):
    """One model served by `replicas` engines. Defaults are vLLM's own where it has one."""

    name: Name
    model: Source
    runtime: Runtime
    hosts: Annotated[list[str], Field(min_length=1, description="the names of hosts of the group gpu")]
    api_key: Secret
    served_name: Annotated[str, Field(pattern=r"^[^\s\"'\\]+$", description="one word without quotes")] | None = None
    replicas: Annotated[int, Field(ge=1)] = 1
    device: Literal["cuda", "cpu"] = "cuda"

    tensor_parallel_size: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel_size: Annotated[int, Field(ge=1)] = 1
    data_parallel_size: Annotated[int, Field(ge=1)] = 1
    expert_parallel: bool = False
    """Whether the GPUs of a replica hold whole experts (of a model that has them), instead of a slice of each."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """Hosts that one replica spans."""
    executor: Literal["mp", "ray"] = "mp"
    """What runs the workers of a replica that spans hosts: vLLM itself, or Ray, which the runtime must then hold."""

    max_model_len: Annotated[int, Field(ge=1)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.92
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: str | None = None
    """Only to quantize on load (`fp8_per_tensor`); a quantized checkpoint says so itself."""
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    prefix_caching: bool = True

    options: dict[str, Any] = {}
    """Any other `vllm serve` option by its long name: `{"max-num-seqs": 64, "speculative-config": {...}}`."""
    env: dict[str, str] = {}

    port: Port = 8000
    master_port: Port = 29501
    """Where the engines of a model that spans hosts find each other, on its first host."""
    ray_port: Port = 29520
    """The same, in place of master_port, with Ray: where its cluster is joined."""
    data_parallel_rpc_port: Port = 29550
    """The same, in place of master_port, where each host has data parallel ranks of its own."""
    group_port: Port = 29400
    """Where their supervisors do (payload/group)."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long a stopping engine may finish its requests."""
    start_seconds: Annotated[int, Field(ge=30)] = 1800
    """How long a deploy waits for the first completion before it fails."""
    slo: Annotated[Slo, Field(description="Slo(...)")] = Slo()
    """What alerts hold it to."""

    @classmethod
    def path_of(cls, data: dict[str, Any]) -> str:
        return f"services.{data.get('name', '?')}"

    @property
    def model_name(self) -> str:
        """The name clients send as `model`."""
        return self.served_name or self.model.name

    @property
    def gpus_per_replica(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus_per_node(self) -> int:
        """GPUs a replica takes on each of its hosts; 0 on CPU."""
        return self.ranks_per_node if self.device == "cuda" else 0

    @property
    def ranks_per_node(self) -> int:
        """Worker processes of a replica on each of its hosts."""
        return self.gpus_per_replica // self.nodes

    @property
    def data_parallel_over_hosts(self) -> bool:
        """Whether the hosts of a replica run data parallel ranks of it, each whole; else they share one rank."""
        return self.nodes > 1 and self.data_parallel_size > 1

    @field_validator("options")
    @classmethod
    def _options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key in options:
            if key.startswith("-") or "_" in key:
                name = key.lstrip("-").replace("_", "-")
                raise FieldError(key, f"write the option's long name without leading dashes: {name!r}")
            if key in OWNED_OPTIONS:
                raise FieldError(key, f"is a field of the service; set {OWNED_OPTIONS[key]} instead")
            if key in _PLACED_OPTIONS:
                raise FieldError(key, "is set from the placement; remove it")
        return options

    @field_validator("env")
    @classmethod
    def _env(cls, env: dict[str, str]) -> dict[str, str]:
        for key, value in env.items():
            if key in FORBIDDEN_ENV:
                raise FieldError(key, FORBIDDEN_ENV[key])
            if not key.isidentifier() or "\n" in value:
                raise FieldError(key, "is not a plain environment variable; use a name and a one-line value")
        return env

    @model_validator(mode="after")
    def _parallel(self) -> Service:
        if self.gpus_per_replica % self.nodes:
            raise FieldError(
                "nodes",
                f"{self.gpus_per_replica} GPUs (tensor x pipeline x data parallel) do not divide over "
                f"{self.nodes} hosts; change nodes or a parallel size",
            )
        if self.data_parallel_size > 1 and self.data_parallel_size % self.nodes:
            raise FieldError(
                "data_parallel_size",
                f"{self.data_parallel_size} ranks do not divide over {self.nodes} hosts, and each (tensor x pipeline "
                f"parallel) must be on one of them; use a multiple of {self.nodes}, or data_parallel_size=1",
            )
        if len(set(self.hosts)) != len(self.hosts):
            raise FieldError("hosts", "names a host twice; use replicas to run several engines on one host")
        if self.nodes > len(self.hosts):
            raise FieldError("nodes", f"{self.nodes} hosts a replica, but hosts names {len(self.hosts)}; add hosts")
        return self

    @model_validator(mode="after")
    def _ray(self) -> Service:
        if self.executor == "mp":
            return self
        if self.nodes == 1:
            raise FieldError("executor", "'ray' is for a replica that spans hosts; remove it, or set nodes")
        if self.device == "cpu":
            raise FieldError("executor", "'ray' does not run vLLM on CPU; use 'mp'")
        if self.data_parallel_size > 1:
            raise FieldError("executor", "'ray' is not for data parallel ranks here; use 'mp'")
        if isinstance(self.runtime, Venv) and not self.runtime.ray:
            raise FieldError(
                "runtime.requirements",
                f"{self.runtime.requirements} does not pin ray, which vLLM does not bring; add it to the lock file, or "
                "use executor='mp'",
            )
        return self
