"""What runs, beside what is declared."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import ENGINE, Alert

_ALIKE = f"{metrics.SERVICE}, {metrics.TRACK}"

VERSION_SKEW = Alert(
    name="VersionSkew",
    query=f"count by ({_ALIKE}) (count by ({_ALIKE}, {metrics.CONFIGURATION}) ({metrics.ENGINE_INFO}))",
    comparison=">",
    threshold=1,
    # longer than a deploy host by host
    held="2h",
    severity="ticket",
    subject=subjects.RELEASES,
    summary="{{ $labels.service }}: its engines run different configurations or vLLM versions",
    action="Deploy the hosts that were left out; who asks twice now gets answers of two kinds",
)

CONFIG_DRIFT = Alert(
    name="ConfigDrift",
    query=metrics.RUNNING_INFO,
    comparison="==",
    threshold=1,
    held="2h",
    severity="ticket",
    subject=subjects.RELEASES,
    summary=f"{ENGINE} runs release {{{{ $labels.release }}}}, which is not the declared one",
    action="Find out whether a deploy went back to it or was cut off, and deploy again",
    provided=f"unless on ({metrics.HOST}, {metrics.UNIT}, {metrics.RELEASE}) {metrics.ENGINE_INFO}",
)

ALERTS = (VERSION_SKEW, CONFIG_DRIFT)
