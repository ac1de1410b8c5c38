"""A whole fleet against the contract of the vLLM versions that it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.engine.contract import checkpoints, combinations, environment, hardware, metrics, names, snapshot
from vllm_fleet.engine.contract.drivers import drivers
from vllm_fleet.engine.contract.models import config_of
from vllm_fleet.engine.contract.parse import parse
from vllm_fleet.engine.contract.ports import ports
from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.engine.contract.snapshot import Snapshot
from vllm_fleet.engine.contract.values import in_one_line
from vllm_fleet.planner.placement import Placement
from vllm_fleet.planner.services import certain_problems
from vllm_fleet.schema import Fleet, Service
from vllm_fleet.schema.errors import Problem
from vllm_fleet.schema.gpu import Gpu
from vllm_fleet.schema.service import OWNED_OPTIONS

RULES: tuple[Rule, ...] = names.RULES + combinations.RULES + checkpoints.RULES + hardware.RULES


def check_deploy(fleet: Fleet, placements: list[Placement], used_metrics: Mapping[str, str]) -> list[Problem]:
    """What stops a deploy: all that check_fleet finds, and what certainly does not fit its GPUs."""
    found = check_fleet(fleet, placements, used_metrics)
    said = {problem.path for problem in found}
    return found + [problem for problem in certain_problems(fleet, placements) if problem.path not in said]


def check_fleet(fleet: Fleet, placements: list[Placement], used_metrics: Mapping[str, str]) -> list[Problem]:
    """Everything that vLLM would refuse or ignore, without a GPU, an image or vLLM itself; each problem once.

    `used_metrics`: the metrics that alerts and dashboards ask for, and where each stands.
    """
    gpus = {host.name: host.card for host in fleet.hosts if host.card}
    found = [*drivers(fleet, gpus), *ports(fleet, placements)]
    versions: dict[str, Snapshot] = {}
    for service in fleet.services:
        version = snapshot.find(service.runtime.vllm)
        if version is None:
            found.append(snapshot.unsupported(f"services.{service.name}.runtime.vllm", service.runtime.vllm))
            continue
        versions[version.version] = version
        found += environment.check(version, service.env, f"services.{service.name}.env.")
        for placement in (one for one in placements if one.service.name == service.name):
            found += engine_problems(version, placement, gpus)
    for version in versions.values():
        found += metrics.check(version, used_metrics)
    return list(dict.fromkeys(in_one_line(found)))


def engine_problems(version: Snapshot, placement: Placement, gpus: Mapping[str, Gpu]) -> Iterator[Problem]:
    """The problems of one engine's command line, as it will stand in its release."""
    service = placement.service
    line = parse(version, serve_arguments(placement), path_of(service))
    line.model = service.model.name  # the command line has the directory on the host
    yield from line.problems
    on_gpu = service.device == "cuda" and placement.host.name in gpus
    engine = Engine(
        line=line,
        gpus={placement.host.name: gpus[placement.host.name]} if on_gpu else {},
        config=config_of(service.model),
        environment=service.env,
    )
    for rule in RULES:
        yield from rule(engine)


def path_of(service: Service) -> Callable[[str], str]:
    """Where the user of a service finds a vLLM option: a field, or a key of `options`."""

    def path(option: str) -> str:
        field = OWNED_OPTIONS.get(option, f"options.{option}")
        return f"services.{service.name}.{field}"

    return path
