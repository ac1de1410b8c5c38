"""Each engine: does it run, does it come up, does it make progress, does it answer."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import ENGINE, HOST_ANSWERS, Alert

_DOWN = f'{metrics.UP}{{job="{metrics.VLLM}"}}'


def _unit_is(states: str) -> str:
    """Units in one of these states (a regular expression), with the label of the engine's target."""
    series = f'{metrics.UNIT_STATE}{{{metrics.ENGINE_UNITS}, state=~"{states}"}}'
    return f'label_replace({series} == 1, "{metrics.UNIT}", "$1", "name", "(.+)")'


_ON_UNIT = f"on ({metrics.HOST}, {metrics.UNIT})"

VLLM_DOWN = Alert(
    name="VllmDown",
    query=_DOWN,
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.ENGINES,
    summary=f"{ENGINE} does not answer, and its unit does not run",
    action="Find out who or what stopped {{ $labels.unit }}, and start it",
    # HostDown tells of the host, VllmLoadingTooLong and VllmCrashLoop of a unit at work, VllmGroupGaveUp of `failed`
    provided=f"and {HOST_ANSWERS} unless {_ON_UNIT} {_unit_is('active|activating|failed')}",
)

VLLM_LOADING_TOO_LONG = Alert(
    name="VllmLoadingTooLong",
    query=_DOWN,
    comparison="==",
    threshold=0,
    # longer than a restart with weights on local disk and warm compile caches
    held="5m",
    severity="page",
    subject=subjects.ENGINES,
    summary=f"{ENGINE} has been starting for five minutes and does not answer",
    action="Read in the journal of {{ $labels.unit }} how far it got; a first start may take longer",
    provided=f"and {_ON_UNIT} {_unit_is('active')}",
)

VLLM_CRASH_LOOP = Alert(
    name="VllmCrashLoop",
    query=f"increase({metrics.UNIT_RESTARTS}{{{metrics.ENGINE_UNITS}}}[30m])",
    comparison=">",
    # more than two: increase() extrapolates, so that two read as a little more than two
    threshold=2.5,
    held="5m",
    severity="page",
    subject=subjects.ENGINES,
    summary="{{ $labels.name }} on {{ $labels.host }} ends and is started again, more than twice in 30 minutes",
    action="Read the last errors in the journal of {{ $labels.name }}",
)

VLLM_GROUP_GAVE_UP = Alert(
    name="VllmGroupGaveUp",
    # systemd starts every other engine again and again: only a group ends in this state
    query=f'{metrics.UNIT_STATE}{{{metrics.ENGINE_UNITS}, state="failed"}}',
    comparison="==",
    threshold=1,
    held="1m",
    severity="page",
    subject=subjects.ENGINES,
    summary="{{ $labels.name }} on {{ $labels.host }} has given up after failures in a row, on all hosts of its model",
    action="Mend the cause that the journal names, then start {{ $labels.name }} on every host of the model",
)

VLLM_WEDGED = Alert(
    name="VllmWedged",
    # a frozen engine answers /health and /metrics with 200 and unchanged gauges (SIGSTOP of EngineCore, vLLM 0.32)
    query=f"rate({metrics.ITERATIONS}[2m])",
    comparison="==",
    threshold=0,
    held="2m",
    severity="page",
    subject=subjects.ENGINES,
    summary=f"{ENGINE} has requests and makes no progress, though it looks healthy",
    action="Restart {{ $labels.unit }}; the other replicas take its requests",
    provided=f"and {metrics.REQUESTS_RUNNING} > 0",
)

VLLM_PROBE_FAILING = Alert(
    name="VllmProbeFailing",
    query=metrics.PROBE_SUCCESS,
    comparison="==",
    threshold=0,
    held="3m",
    severity="page",
    subject=subjects.ENGINES,
    summary=f"{ENGINE} looks healthy and does not answer: a one-token completion fails",
    action="Restart {{ $labels.unit }}; the other replicas take its requests",
    # one that is gone is VllmDown's; a queue that moves is QueueGrowing's, and a restart would only lengthen it
    provided=f'and {_ON_UNIT} {metrics.UP}{{job="{metrics.VLLM}"}} == 1 '
    f"unless {_ON_UNIT} ({metrics.REQUESTS_WAITING} > 0 and rate({metrics.ITERATIONS}[2m]) > 0)",
)

VLLM_GROUP_PARTIAL = Alert(
    name="VllmGroupPartial",
    # hosts that are down say nothing of their units: HostDown tells of those
    query=f"count by ({metrics.SERVICE}, {metrics.REPLICA}) "
    f"({metrics.GROUP_SIZE} unless {_ON_UNIT} {_unit_is('active')})",
    comparison=">",
    threshold=0,
    held="2m",
    severity="page",
    subject=subjects.ENGINES,
    summary="{{ $labels.service }} replica {{ $labels.replica }}: a host's part of it does not run while another's "
    "does, so nobody is answered",
    action="Start its unit on the host where it does not run, or find out what keeps it from starting",
    provided=f"and on ({metrics.SERVICE}, {metrics.REPLICA}) "
    f"({metrics.GROUP_SIZE} and {_ON_UNIT} {_unit_is('active')})",
)

ALERTS = (
    *(VLLM_DOWN, VLLM_LOADING_TOO_LONG, VLLM_CRASH_LOOP, VLLM_GROUP_PARTIAL, VLLM_GROUP_GAVE_UP),
    *(VLLM_WEDGED, VLLM_PROBE_FAILING),
)
