"""What an alert is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts.subjects import Subject

Severity = Literal["page", "ticket", "watchdog"]
"""page: wake someone; ticket: within the working day; watchdog: always firing, its absence is the alarm."""


@dataclass(frozen=True)
class Alert:
    """A condition someone must act on. Owns its query, threshold, severity, words, subject and runbook section."""

    name: str
    query: str
    """PromQL of the watched value, as a dashboard would draw it."""
    comparison: Literal[">", "<", "=="]
    threshold: float
    held: str
    """How long the condition must hold before the alert fires; a Prometheus duration."""
    severity: Severity
    subject: Subject
    summary: str
    """For the person who gets it: what is so, and on what. May use `{{ $labels.NAME }}`."""
    action: str
    """The first thing to do about it, in a line; the rest stands in the runbook. May use labels too."""
    provided: str = ""
    """What else must be so: the rest of the expression, from its `and` or `unless` on."""

    @property
    def condition(self) -> str:
        return f"{self.query} {self.comparison} {self.threshold:g} {self.provided}".rstrip()

    @property
    def labels(self) -> tuple[str, ...]:
        """Which of service and host a firing one names: those that its summary does."""
        return tuple(label for label in (metrics.SERVICE, metrics.HOST) if f"$labels.{label} " in self.summary)

    @property
    def runbook(self) -> str:
        """The section that says what to do."""
        return f"docs/runbooks/{self.subject.name}.md#{self.name.lower()}"


ENGINE = "{{ $labels.service }} replica {{ $labels.replica }} on {{ $labels.host }}"
"""Which engine, in summaries of alerts that carry its target's labels."""

HOST_ANSWERS = f"on ({metrics.HOST}) max by ({metrics.HOST}) ({metrics.UP}) == 1"
"""What follows `and` in alerts on a target whose host is up: of a dead host HostDown tells."""
