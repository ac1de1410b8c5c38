"""A drill: round after round, faults are planted, alerts awaited, faults undone; all is undone however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx

from vllm_fleet.drill.fault import Fault, Round, Step
from vllm_fleet.drill.load import Traffic
from vllm_fleet.drill.watch import Labels, Watch
from vllm_fleet.observe import metrics
from vllm_fleet.remote import Remote, Task

LOOK_SECONDS = 2.0
ROUND_SECONDS = 25 * 60.0
"""Within which all alerts of a round must have fired: the longest waits 15 minutes after 10 of looking back."""
RECEIVED_SECONDS = 90.0
"""From the last firing until it must have been received: Alertmanager groups for 30 s at most."""
SETTLED_SECONDS = 10 * 60.0
"""For engines to serve again after a round."""
RESOLVED_SECONDS = 16 * 60.0
"""For what fires to resolve after the last round: an XID is told of for 15 minutes."""
HOST_SECONDS = 120.0
"""For the commands of a round on one host."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one alert of one fault. Seconds from planting, or of `resolved` from undoing; None: not seen."""

    alert: str
    fault: str
    problem: str = ""
    """Why the fault could not be planted, or the alert not be measured."""
    fired: float | None = None
    received: float | None = None
    silenced_by: tuple[str, ...] = ()
    resolved: float | None = None

    def good(self, receipts: bool) -> bool:
        """It fired, and was received or silenced on purpose."""
        return self.fired is not None and (not receipts or self.received is not None or bool(self.silenced_by))


@dataclass
class Planted:
    """A fault, and when it was there; seconds since the epoch."""

    fault: Fault
    begun: float
    problem: str = ""
    undone: float = 0.0


@dataclass
class Drill:
    """One drill; `client` asks the gateway."""

    inventory: str
    watch: Watch
    client: httpx.Client
    say: Say
    planted: list[Planted] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What could not be undone, and why."""

    def run(self, planned: list[Round]) -> list[Outcome]:
        """Runs the rounds. Raises httpx.HTTPError when Prometheus does not answer at first."""
        self.watch.start()
        try:
            self._undo([fault for faults in planned for fault in faults])  # what an earlier drill left
            for number, faults in enumerate(planned, 1):
                self._round(faults, _titled(f"round {number} of {len(planned)}", self.say))
            self._await_resolved()
        except KeyboardInterrupt:  # all is undone by now, and what was seen until then is worth telling
            self.say("interrupted")
        finally:
            self.watch.stop()
        return [outcome(self.watch, each, alert) for each in self.planted for alert in each.fault.alerts]

    def _round(self, faults: Round, say: Say) -> None:
        _await(lambda: _settled(self.watch), SETTLED_SECONDS, _titled("until all is up", say))
        say("planting")
        with ExitStack() as undoing:
            here: list[Planted] = []
            undoing.callback(_note_undone, here)
            undoing.callback(self._undo, faults)
            problems = self._plant(faults)
            here += [Planted(fault, time.time(), problems.get(fault.what, "")) for fault in faults]
            self.planted += here
            for fault in faults:
                if fault.load:
                    undoing.callback(Traffic(fault.load, self.client).start().stop)
            self._await_alerts(here, say)
            say("undoing")

    def _await_alerts(self, here: list[Planted], say: Say) -> None:
        awaited = [
            (each, alert)
            for each in here
            for alert in each.fault.alerts
            if not each.problem and not _before(self.watch, each, alert)
        ]

        def to_fire() -> int:
            return sum(_first(self.watch, each, alert) is None for each, alert in awaited)

        _await(
            lambda: not to_fire(),
            ROUND_SECONDS,
            lambda left: say(f"{len(awaited) - to_fire()} of {len(awaited)} alerts have fired, {left}"),
        )
        _await(
            lambda: all(_told(self.watch, each, alert) for each, alert in awaited),
            RECEIVED_SECONDS,
            _titled("until those are received", say),
        )

    def _await_resolved(self) -> None:
        _await(
            lambda: not _firing(self.watch, self.planted),
            RESOLVED_SECONDS,
            lambda left: self.say(f"{len(_firing(self.watch, self.planted))} alerts are yet to resolve, {left}"),
        )

    def _plant(self, faults: Iterable[Fault]) -> dict[str, str]:
        """What could not be planted, by fault, with the reason."""
        steps = [(fault.what, step) for fault in faults for step in fault.steps]
        return self._on_hosts([(what, step, step.plant) for what, step in steps])

    def _undo(self, faults: Iterable[Fault]) -> None:
        steps = {step: fault.what for fault in faults for step in fault.steps}
        failed = self._on_hosts([(what, step, step.undo) for step, what in steps.items()])
        self.left += [f"{what}: {why}" for what, why in failed.items()]

    def _on_hosts(self, commands: list[tuple[str, Step, str]]) -> dict[str, str]:
        """Runs each host's commands in order, whether or not one fails; the failed ones by fault."""
        scripts: dict[str, list[str]] = {}
        for number, (_, step, command) in enumerate(commands):
            scripts.setdefault(step.host, []).append(f"( {command} ) > /dev/null 2>&1 || echo {number}")
        if not scripts:
            return {}
        with Remote(self.inventory) as remote:
            answers = remote.run({host: Task("\n".join(lines)) for host, lines in scripts.items()}, HOST_SECONDS)
        failed: dict[str, str] = {}
        for number, (what, step, command) in enumerate(commands):
            answer = answers[step.host]
            if answer.error:
                failed[what] = f"{step.host}: {answer.error}"
            elif str(number) in answer.output.split():
                failed[what] = f"{step.host}: failed: {command}"
        return failed


def _titled(title: str, say: Say) -> Say:
    return lambda text: say(f"{title}: {text}")


def _note_undone(planted: list[Planted]) -> None:
    for each in planted:
        each.undone = time.time()


def _settled(watch: Watch) -> bool:
    """Whether Prometheus reaches everything."""
    try:
        return not watch.query(f"{metrics.UP} == 0")
    except httpx.HTTPError:
        return False


def _await(reached: Callable[[], bool], seconds: float, say: Callable[[str], None]) -> bool:
    end = time.monotonic() + seconds
    while not (done := reached()) and (left := end - time.monotonic()) > 0:
        say(f"at most {left // 60:.0f}:{left % 60:02.0f} more")
        time.sleep(LOOK_SECONDS)  # until the next look; bounded by `seconds`
    return done


def _first(watch: Watch, planted: Planted, alert: str) -> float | None:
    """When the alert first fired after planting."""
    spans = [span for seen in watch.alerts(alert, planted.fault.labels) for span in seen.firing]
    return min((begun for begun, _ in spans if begun >= planted.begun), default=None)


def _before(watch: Watch, planted: Planted, alert: str) -> bool:
    """Whether it fired already when the fault was planted, so that nothing can be measured."""
    spans = [span for seen in watch.alerts(alert, planted.fault.labels) for span in seen.firing]
    return any(begun < planted.begun <= last for begun, last in spans)


def _told(watch: Watch, planted: Planted, alert: str) -> bool:
    labels: Labels = planted.fault.labels
    silenced = any(seen.silenced_by for seen in watch.alerts(alert, labels))
    return silenced or watch.received(alert, labels, planted.begun) is not None


def _firing(watch: Watch, planted: list[Planted]) -> list[str]:
    return [
        alert
        for each in planted
        for alert in each.fault.alerts
        if any(watch.is_firing(seen) for seen in watch.alerts(alert, each.fault.labels))
    ]


def outcome(watch: Watch, planted: Planted, alert: str) -> Outcome:
    """What has become of one of a fault's alerts."""
    fault = planted.fault
    first = _first(watch, planted, alert)
    if planted.problem or first is None:
        before = "fired before" if _before(watch, planted, alert) else ""
        return Outcome(alert, fault.what, planted.problem or before)
    seen = watch.alerts(alert, fault.labels)
    received = watch.received(alert, fault.labels, planted.begun)
    last = max(each.firing[-1][1] for each in seen if each.firing)
    return Outcome(
        alert,
        fault.what,
        fired=first - planted.begun,
        received=None if received is None else received - planted.begun,
        silenced_by=tuple(sorted({name for each in seen for name in each.silenced_by})),
        resolved=None if any(map(watch.is_firing, seen)) else max(0.0, last - planted.undone),
    )
