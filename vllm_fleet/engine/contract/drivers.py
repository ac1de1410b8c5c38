"""The driver branch of the fleet against the CUDA that its images and wheels are built for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vllm_fleet.schema import Container, Fleet, Service
from vllm_fleet.schema.errors import Problem
from vllm_fleet.schema.gpu import Gpu

_NEEDS = {"13.0": 580, "12.9": 575}
"""CUDA's release notes, "CUDA Toolkit and Corresponding Driver Versions"."""
_MINOR_VERSION = 525
"""CUDA 12 runs on this branch and later, whatever its minor version (NVIDIA's minor version compatibility)."""
_FORWARD = (535, 570)
"""Branches that take the forward-compatibility libraries of CUDA 13, which vLLM's images hold."""
_NO_FORWARD = ("RTX 4090", "RTX 5090")
"""GeForce does not take them (`_maybe_set_cuda_compatibility_path` in vllm/env_override.py, 0.33)."""
_SWITCH = "VLLM_ENABLE_CUDA_COMPATIBILITY"


def drivers(fleet: Fleet, gpus: Mapping[str, Gpu]) -> Iterator[Problem]:
    """Services whose CUDA needs a newer driver. Source: vLLM's page on its images, and CUDA's release notes."""
    branch = fleet.versions.nvidia_driver
    for service in fleet.services:
        cuda = service.runtime.cuda
        if service.device != "cuda" or branch >= _NEEDS[cuda] or (cuda == "12.9" and branch >= _MINOR_VERSION):
            continue
        if service.env.get(_SWITCH, "").strip().lower() in ("1", "true") and branch in _FORWARD:
            yield from _consumers(service, gpus)
            continue
        container = isinstance(service.runtime, Container)
        yield Problem(
            f"services.{service.name}.runtime" + (".image" if container else ""),
            f"is built for CUDA {cuda}, which needs driver {_NEEDS[cuda]}, and versions.nvidia_driver is {branch}",
            _fix(container, branch),
        )


def _consumers(service: Service, gpus: Mapping[str, Gpu]) -> Iterator[Problem]:
    for host in service.hosts:
        if host in gpus and gpus[host].name.startswith(_NO_FORWARD):
            yield Problem(
                f"services.{service.name}.env.{_SWITCH}",
                f"does nothing for the {gpus[host].name} of {host}: it is for data-centre GPUs",
                f"install driver {_NEEDS['13.0']}",
            )


def _fix(container: bool, branch: int) -> str:
    raise_it = f"install driver {_NEEDS['13.0']} and say so in Versions(nvidia_driver=...)"
    if not container:
        return raise_it
    other = 'use the image whose tag ends in -cu129 with cuda="12.9"'
    if branch in _FORWARD:
        return f'{raise_it}, or {other}, or on data-centre GPUs env={{"{_SWITCH}": "1"}}'
    return f"{raise_it}, or {other}"
