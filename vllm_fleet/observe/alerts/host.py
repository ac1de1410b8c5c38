"""Hosts: are they there, and have they disk, memory and the right time."""

from __future__ import annotations

from pathlib import PurePosixPath

from vllm_fleet import paths
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import Alert

HOST_DOWN = Alert(
    name="HostDown",
    # nothing on the host answers: an exporter that died alone is not a dead host
    query=f"max by ({metrics.HOST}) ({metrics.UP})",
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.HOST,
    summary="{{ $labels.host }}: nothing on it answers",
    action="Look at its console; take it out of the services' hosts if it stays away",
)

# wherever a file system may be mounted that holds the weights
_MOUNTS = "|".join(map(str, (PurePosixPath(paths.MODELS), *PurePosixPath(paths.MODELS).parents)))
_OF_MODELS = f'{{mountpoint=~"{_MOUNTS}"}}'

MODEL_DISK_FILLING = Alert(
    name="ModelDiskFilling",
    query=f"{metrics.FREE_BYTES}{_OF_MODELS} / {metrics.SIZE_BYTES}{_OF_MODELS}",
    comparison="<",
    threshold=0.1,
    held="15m",
    severity="ticket",
    subject=subjects.HOST,
    summary="{{ $labels.host }}: less than 10 % of {{ $labels.mountpoint }} is free; the next model may not fit",
    action="Remove models, images and caches that no engine uses",
)

OOM_KILL = Alert(
    name="OomKill",
    query=f"increase({metrics.OOM_KILLS}[10m])",
    comparison=">",
    threshold=0,
    held="0s",
    severity="ticket",
    subject=subjects.HOST,
    summary="{{ $labels.host }}: the kernel has killed a process for want of memory",
    action="Read in the kernel's log which one; a rank of an engine takes its replica with it",
)

CLOCK_SKEW = Alert(
    name="ClockSkew",
    # against the monitoring host's clock at the scrape, which itself takes well under a second
    query=f"abs({metrics.CLOCK_SECONDS} - timestamp({metrics.CLOCK_SECONDS}))",
    comparison=">",
    threshold=1,
    held="10m",
    severity="ticket",
    subject=subjects.HOST,
    summary="{{ $labels.host }}: its clock differs by more than a second from the monitoring host's",
    action="Look at its time synchronisation, and at the monitoring host's when all hosts differ",
)

ALERTS = (HOST_DOWN, MODEL_DISK_FILLING, OOM_KILL, CLOCK_SKEW)
