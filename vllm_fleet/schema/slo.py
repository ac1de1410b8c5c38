"""What a service promises: how fast and how surely it answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from .base import Model

TTFT_EDGES = (1.0, 2.5, 5.0)
ITL_EDGES = (0.05, 0.075, 0.1)
"""Seconds: edges of vLLM's histograms (0.32, 0.33), between which nothing can be counted."""

# Below 0.95, a fast burn (14.4 times the budget) would be more than all requests, and no alert could ever fire.
Objective = Annotated[float, Field(ge=0.95, lt=1, description="a share from 0.95 to below 1, as 0.99")]


class Slo(Model):
    """Service level objectives: the shares of events that must be good. Alerts tell how fast the rest is used up."""

    ttft_seconds: float = 2.5
    """A request is good when its first token came within this, queueing included."""
    ttft_objective: Objective = 0.99
    itl_seconds: float = 0.1
    """A token is good when it came within this after the one before it."""
    itl_objective: Objective = 0.99
    error_objective: Objective = 0.999
    """A request is good when the gateway did not answer it with a 5xx. What breaks once the answer has begun is not
    seen."""

    @field_validator("ttft_seconds")
    @classmethod
    def _ttft(cls, value: float) -> float:
        return _edge(value, TTFT_EDGES)

    @field_validator("itl_seconds")
    @classmethod
    def _itl(cls, value: float) -> float:
        return _edge(value, ITL_EDGES)


def _edge(value: float, edges: tuple[float, ...]) -> float:
    if value not in edges:
        *others, last = map(str, edges)
        raise ValueError(f"{value:g} s is between two buckets of vLLM's histogram; use {', '.join(others)} or {last}")
    return value
