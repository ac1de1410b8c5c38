"""The driver branch of the fleet against the CUDA that its images and wheels are built for."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.schema import Container, Fleet
from vllm_fleet.schema.errors import Problem

_NEEDS = {"13.0": 580, "12.9": 575}
"""CUDA's release notes, "CUDA Toolkit and Corresponding Driver Versions"."""
_MINOR_VERSION = 525
"""Within CUDA 12, newer minor versions run on this branch and later (NVIDIA's minor version compatibility)."""
_FORWARD = (535, 570)
"""Branches that take CUDA's forward-compatibility libraries on data-centre GPUs (vLLM's images hold them)."""


def drivers(fleet: Fleet) -> Iterator[Problem]:
    """Services whose CUDA needs a newer driver. Source: vLLM's page on its images, and CUDA's release notes."""
    branch = fleet.versions.nvidia_driver
    for service in fleet.services:
        cuda = service.runtime.cuda
        if service.device != "cuda" or branch >= _NEEDS[cuda] or (cuda == "12.9" and branch >= _MINOR_VERSION):
            continue
        if _forward(service.env) and any(start <= branch for start in _FORWARD):
            continue
        container = isinstance(service.runtime, Container)
        yield Problem(
            f"services.{service.name}.runtime" + (".image" if container else ""),
            f"is built for CUDA {cuda}, which needs driver {_NEEDS[cuda]}, and versions.nvidia_driver is {branch}",
            _fix(container, branch),
        )


def _forward(environment: dict[str, str]) -> bool:
    return environment.get("VLLM_ENABLE_CUDA_COMPATIBILITY", "").strip().lower() in ("1", "true")


def _fix(container: bool, branch: int) -> str:
    raise_it = f"install driver {_NEEDS['13.0']} and say so in Versions(nvidia_driver=...)"
    if not container:
        return raise_it
    other = 'use the image whose tag ends in -cu129 with cuda="12.9"'
    if branch in _FORWARD:
        return f'{raise_it}, or {other}, or on data-centre GPUs env={{"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}}'
    return f"{raise_it}, or {other}"
