"""What the tests of the contract share."""

from __future__ import annotations

from typing import Any

from tests.fleets import example_fleet, service
from vllm_fleet.engine.contract import SUPPORTED, Snapshot, check_fleet, check_text, find_snapshot
from vllm_fleet.planner import place
from vllm_fleet.schema.errors import Problem

VERSIONS = SUPPORTED


def snapshot(version: str = VERSIONS[-1]) -> Snapshot:
    found = find_snapshot(version)
    assert found
    return found


def problems(model: str = "meta-llama/Llama-3.1-8B-Instruct", **values: Any) -> list[str]:
    """The problems of a fleet of one service, `chat` on gpu1; `gpu` and `driver` change its host and driver."""
    fleet_values: dict[str, Any] = {}
    if gpu := values.pop("gpu", None):
        hosts = example_fleet().hosts
        fleet_values["hosts"] = [hosts[0].model_copy(update={"gpu": gpu}), *hosts[1:]]
    if versions := values.pop("versions", None):
        fleet_values["versions"] = versions
    fleet = example_fleet(services=[service("chat", model, hosts=["gpu1"], **values)], **fleet_values)
    return [str(problem) for problem in check_fleet(fleet, place(fleet), {})]


def of_command(command: str, version: str = VERSIONS[-1]) -> list[Problem]:
    """The problems of one command line."""
    found, count = check_text(snapshot(version), command, "f")
    assert count == 1, command
    return found
