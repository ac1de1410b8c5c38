"""Every service of a fleet, sized for the GPUs that it was placed on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vllm_fleet.planner.catalogue import catalogued, config_of, subject_of
from vllm_fleet.planner.memory import Estimate, Subject, estimate
from vllm_fleet.planner.model_config import UnsizedError, read_model_config
from vllm_fleet.planner.placement import Placement, heads
from vllm_fleet.planner.report import memory_problem, surely_too_large
from vllm_fleet.planner.settings import field_of, settings_of
from vllm_fleet.planner.topology import expert_problems, topology_problems, topology_reasons
from vllm_fleet.schema import Fleet, Problem, Service


@dataclass(frozen=True)
class Sizing:
    """One service: how it runs on its least GPU, why, and what is wrong with it."""

    service: Service
    found: Estimate | None
    """None where the model's or the GPU's numbers are not known; `reasons` then says so."""
    reasons: tuple[str, ...]
    contradictions: tuple[Problem, ...]
    """What the model or the network forbids, whatever the sizes."""
    misfit: Problem | None
    """The line of a model that does not fit."""

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong, as the plan shows it."""
        return [*self.contradictions, *([self.misfit] if self.misfit else [])]

    @property
    def certain(self) -> list[Problem]:
        """What is wrong beyond doubt: a misfit counts only where it is larger than the planner's own error."""
        return self.problems if self.found is None or surely_too_large(self.found) else list(self.contradictions)


def certain_problems(fleet: Fleet, placements: list[Placement]) -> list[Problem]:
    """What stops a deploy of this fleet."""
    return [problem for each in sizings(fleet, placements) for problem in each.certain]


def sizings(fleet: Fleet, placements: list[Placement]) -> list[Sizing]:
    """Size every service. Raises ConfigError for a declared config.json that is none."""
    return [_size(service, heads(placements, service.name)) for service in fleet.services]


def _size(service: Service, engines: list[Placement]) -> Sizing:
    reasons = list(topology_reasons(engines[0])) if engines else []
    # a dict, for replicas are alike: each problem once
    problems = list(dict.fromkeys(each for engine in engines for each in topology_problems(service, engine.members)))
    found = _estimate(service, engines)
    if isinstance(found, str):
        return Sizing(service, None, (*reasons, found), tuple(problems), None)
    experts = found.subject.model.experts
    problems += dict.fromkeys(each for one in engines for each in expert_problems(service, one.members, experts))
    path = f"services.{service.name}"
    problems += [replace(each, path=f"{path}.{field_of(each.path)}") for each in found.subject.problems(found.settings)]
    misfit = None if problems else memory_problem(found, f"{path}.model", f"{path}.max_model_len")
    return Sizing(service, found, (*reasons, *_speculation(service, found)), tuple(problems), misfit)


def _estimate(service: Service, engines: list[Placement]) -> Estimate | str:
    """The service's estimate on the smallest GPU it may get, or why there is none."""
    if service.device == "cpu":
        return "not sized: runs on CPU, where VLLM_CPU_KVCACHE_SPACE sets the KV cache"
    cards = [host.card for engine in engines for host in engine.members]
    known = [card for card in cards if card]
    if not known or len(known) < len(cards):
        return "not sized: its hosts do not say what their GPUs are (gpu in the inventory)"
    try:
        config = config_of(service.model)
        subject = replace(subject_of(config), draft=_draft(service)) if config else None
    except UnsizedError as error:
        return f"not sized: {error.message}"
    if not subject:
        return f"not sized: {service.model.name} is not in the catalogue; give its config.json (model=...(config=...))"
    return estimate(subject, settings_of(service), min(known, key=lambda card: card.memory_bytes))


def _draft(service: Service) -> Subject | None:
    """The draft model of a service's speculative configuration, where the catalogue has it."""
    speculative = service.options.get("speculative-config")
    name = speculative.get("model") if isinstance(speculative, dict) else None
    path = catalogued(name) if isinstance(name, str) else None
    return subject_of(read_model_config(path, str(name))) if path else None


def _speculation(service: Service, found: Estimate) -> Iterator[str]:
    """What was made of a speculative configuration."""
    speculative = service.options.get("speculative-config")
    if isinstance(speculative, dict) and speculative.get("model"):
        counted = "its weights and KV cache are counted" if found.subject.draft else "not in the catalogue, not counted"
        yield f"draft model {speculative['model']}: {counted}"
