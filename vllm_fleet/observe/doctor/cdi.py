"""The CDI specification, by which containers get their GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_fleet.schema import Container

from .finding import Case, Finding, Rule, same_version, some

GENERATE = "run `nvidia-ctk cdi generate --output={path}`"


def _needed(case: Case) -> bool:
    """By an engine of this host, or because a deploy makes one."""
    runs = [placement.service for placement in case.placements]
    made = case.fleet.versions.nvidia_packages is not None
    return made or any(isinstance(service.runtime, Container) and service.device == "cuda" for service in runs)


def _used(case: Case) -> dict[str, Mapping[str, Any]]:
    """The specification that Docker takes for each declared GPU: the last of those that name it, for a device in
    /var/run/cdi hides the same one in /etc/cdi (CDI, package cdi, "Cache")."""
    names = {str(index) for index in range(case.host.gpus)}
    return {name: each for each in case.facts["cdi"] or [] for name in each["devices"] if name in names}


def present(case: Case) -> Iterator[Finding]:
    """`docker create --device nvidia.com/gpu=0` fails without one."""
    if _needed(case) and not case.facts["cdi"] and not case.unread("cdi"):
        yield case.error("cdi", "there is no CDI specification", GENERATE.format(path="/etc/cdi/nvidia.yaml"))


def of_loaded_driver(case: Case) -> Iterator[Finding]:
    """It mounts the driver's libraries by their version: those of another are gone, or do not fit the module."""
    used = {each["path"]: each["driver"] for each in _used(case).values()} if _needed(case) else {}
    for path, driver in used.items():
        if case.module and driver and not same_version(driver, case.module):
            yield case.error(
                "cdi", f"{path} was made for driver {driver}, {case.module} is loaded", GENERATE.format(path=path)
            )


def every_gpu(case: Case) -> Iterator[Finding]:
    """Engines ask for GPUs by number (`nvidia.com/gpu=3`)."""
    specifications = case.facts["cdi"] if _needed(case) else None
    missing = [str(index) for index in range(case.host.gpus) if str(index) not in _used(case)]
    if specifications and missing:
        path = specifications[-1]["path"]
        yield case.error("cdi", f"{path} does not name GPU {some(missing, 8)}", GENERATE.format(path=path))


RULES: tuple[Rule, ...] = (present, of_loaded_driver, every_gpu)
