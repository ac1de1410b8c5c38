"""The engines: each runs, with the release and the image that are declared."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.schema import Container

from .finding import Case, Finding, Rule

DEPLOY = "deploy again"


def running(case: Case) -> Iterator[Finding]:
    """What systemd says of the unit; whether it answers, only a completion tells (`fleet ask`)."""
    if case.unread("units"):
        return
    for placement in case.placements:
        unit, path = (case.facts["units"] or {}).get(placement.unit), f"engine.{placement.instance}"
        if not unit or unit["load"] != "loaded":
            yield case.error(path, f"systemd does not know {placement.unit}", DEPLOY)
        elif unit["active"] != "active":
            yield case.error(
                path,
                f"{placement.unit} is {unit['active']} ({unit['sub']})",
                f"read `journalctl -u {placement.unit}`, then deploy again",
            )


def release(case: Case) -> Iterator[Finding]:
    """`current` is what runs, `good` the last one that answered a completion (docs/architecture.md)."""
    if case.unread("engines"):
        return
    for placement in case.placements:
        found, path = (case.facts["engines"] or {}).get(placement.instance), f"engine.{placement.instance}.release"
        wanted, current, good = case.releases[placement.instance], found and found["current"], found and found["good"]
        if current != wanted:
            yield case.error(path, f"is {current or 'not there'}, declared is {wanted}", DEPLOY)
        elif good != current:
            yield case.warning(
                path, f"{current} has not answered a completion yet", "deploy again, which waits for one"
            )


def image(case: Case) -> Iterator[Finding]:
    """The image a container was made of; it is named by digest, so it cannot have moved under its name."""
    if case.unread("containers"):
        return
    for placement in case.placements:
        runtime = placement.service.runtime
        # by the name that engine/command.py gives it
        found = (case.facts["containers"] or {}).get(f"vllm-{placement.instance}")
        if isinstance(runtime, Container) and found and found["image"] != runtime.image:
            yield case.error(
                f"engine.{placement.instance}.image", f"is {found['image']}, declared is {runtime.image}", DEPLOY
            )


def undeclared(case: Case) -> Iterator[Finding]:
    """An engine of an earlier deploy may still hold GPUs and a port."""
    declared = {placement.instance for placement in case.placements}
    for instance in case.facts["engines"] or {}:
        if instance not in declared:
            yield case.warning(f"engine.{instance}", "is not declared", "deploy again, which removes it")


RULES: tuple[Rule, ...] = (running, release, image, undeclared)
