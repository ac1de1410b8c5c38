"""All rules over one host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Fleet, Host

from . import cdi, driver, engines, gpus, machine, pci
from .finding import Case, Finding, Rule

# a GPU host's only: where the inventory declares no GPU, NVIDIA is not looked at
GPU_RULES: tuple[Rule, ...] = (*driver.RULES, *cdi.RULES, *gpus.RULES, *pci.RULES)
RULES: tuple[Rule, ...] = (*machine.RULES, *engines.RULES)
# what a reboot may bring to light; an engine that starts on it would fail, or be slow
FITNESS: tuple[Rule, ...] = (
    driver.module_loaded,
    driver.branch,
    driver.library,
    driver.fabric_manager,
    *gpus.HARDWARE,
)


def diagnose(
    fleet: Fleet, placements: Sequence[Placement], host: Host, facts: Mapping[str, Any], releases: Mapping[str, str]
) -> list[Finding]:
    """What is not as declared on a host, in the order driver, GPUs, machine, engines.

    `placements` are the fleet's, `facts` what `doctor_facts` printed on this host, `releases` the release ids of its
    engines by instance (`engine.release`).
    """
    here = tuple(placement for placement in placements if placement.host.name == host.name)
    case = Case(fleet, host, here, facts, releases)
    rules = (*GPU_RULES, *RULES) if host.gpus else RULES
    return [finding for rule in rules for finding in rule(case)]


def unfit(fleet: Fleet, host: Host, facts: Mapping[str, Any]) -> list[Finding]:
    """Why a GPU host must not take requests after its driver changed: warnings count too, for nobody waits yet."""
    case = Case(fleet, host, (), facts, {})
    return [finding for rule in FITNESS for finding in rule(case)]
