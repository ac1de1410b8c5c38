"""Units of engines and what they start, whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fleets import example_fleet
from vllm_fleet.engine.release import release
from vllm_fleet.planner.placement import Placement, place
from vllm_fleet.render.engine import unit_file


def engine(instance: str, rank: int = 0, **changes: Any) -> Placement:
    fleet = example_fleet()
    services = [one.model_copy(update=changes if one.name == instance else {}) for one in fleet.services]
    placements = place(fleet.model_copy(update={"services": services}))
    return next(one for one in placements if (one.instance, one.rank) == (instance, rank))


def test_the_unit_of_an_engine(golden: Callable[[str, str], None]) -> None:
    golden("vllm-chat.service", unit_file(engine("chat")).content)


def test_the_unit_of_one_rank_of_a_model_that_spans_hosts(golden: Callable[[str, str], None]) -> None:
    golden("vllm-large.service", unit_file(engine("large")).content)
    assert unit_file(engine("large", 1)) == unit_file(engine("large"))


def test_the_release_of_each_rank(golden: Callable[[str, str], None]) -> None:
    for rank in (0, 1):
        golden(f"release-large-{rank}.txt", text_of(engine("large", rank)))


def test_the_release_of_each_rank_with_ray(golden: Callable[[str, str], None]) -> None:
    for rank in (0, 1):
        golden(f"release-large-ray-{rank}.txt", text_of(engine("large", rank, executor="ray")))
    assert unit_file(engine("large", executor="ray")) == unit_file(engine("large"))


def text_of(placement: Placement) -> str:
    return "\n".join(f"# {name} {mode}\n{content}" for name, mode, content in release(placement).files)
