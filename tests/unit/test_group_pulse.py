"""payload/group/pulse.py: an engine that no longer works is told from one that starts, is busy, or refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.readiness import COMPLETION, KEY, Api
from vllm_fleet.payload.group import pulse
from vllm_fleet.payload.group.completion import steps
from vllm_fleet.payload.group.pulse import Pulse

HANGS = (200, None)
STEPS = 'vllm:iteration_tokens_total_count{{engine="0",model_name="tiny"}} {count}\n'
LOOKS = 1.5
"""Seconds in which a hanging engine would be found out several times."""


@pytest.fixture
def engine(api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pulse:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.05)
    (tmp_path / "secret.yaml").write_text(f"api-key: {KEY}\n", encoding="utf-8")
    Api.routes = {"/v1/completions": (200, COMPLETION), "/metrics": (200, STEPS.format(count=7))}
    return Pulse(api, "tiny", tmp_path)


def stopped(engine: Pulse, seconds: float, after: str = "") -> str:
    """What it says within so many seconds; `after` its first answer, a route of this name hangs."""

    async def main() -> str:
        watching = asyncio.create_task(engine.stopped())
        if after:
            while not Api.asked:
                await asyncio.sleep(0.01)  # the pulse's first question; bounded below
            Api.routes[after] = HANGS
        return await watching

    try:
        return asyncio.run(asyncio.wait_for(main(), seconds))
    except TimeoutError:
        return ""


def test_one_that_answered_and_then_hangs_has_stopped(engine: Pulse) -> None:
    assert stopped(engine, 20, after="/v1/completions").startswith("it answered nothing and took no step for ")


def test_one_that_answers_goes_on(engine: Pulse) -> None:
    assert stopped(engine, LOOKS) == ""
    assert len(Api.asked) > pulse.MISSES


def test_one_that_has_not_answered_yet_is_starting(engine: Pulse) -> None:
    Api.routes["/v1/completions"] = HANGS
    assert stopped(engine, LOOKS) == ""
    assert len(Api.asked) > pulse.MISSES


def test_one_that_is_busy_goes_on(engine: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its completions come too late, and its steps go on."""
    counts = iter(range(10_000))

    def do_get(request: Api) -> None:
        request.answer(200, STEPS.format(count=next(counts)))

    monkeypatch.setattr(Api, "do_GET", do_get)
    assert stopped(engine, LOOKS, after="/v1/completions") == ""


def test_one_that_refuses_has_looked_at_the_question(engine: Pulse, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("api-key: another\n", encoding="utf-8")
    assert stopped(engine, LOOKS) == ""


def test_steps_are_summed_over_data_parallel_ranks(api: str) -> None:
    Api.routes = {"/metrics": (200, STEPS.format(count=7) + STEPS.format(count=5).replace('"0"', '"1"'))}
    assert steps(api, KEY) == 12
    assert steps("http://127.0.0.1:1", KEY) is None
