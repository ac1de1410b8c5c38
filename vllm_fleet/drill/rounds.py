"""The faults of a drill, in rounds, and why some alerts cannot be tripped.

GPUs that break are the lab's simulated ones (nvidia-simulate); all else is real. Alerts fire as they are: no threshold
and no waiting time is shortened.
"""

from __future__ import annotations

from vllm_fleet import paths
from vllm_fleet.drill.fault import Fault, Load, Round, Step
from vllm_fleet.drill.victims import Victims
from vllm_fleet.engine.command import container_name
from vllm_fleet.observe import metrics
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Container, Fleet

NOT_TRIPPED = {
    "TtftBudgetTicket": "looks at three days",
    "ItlBudgetTicket": "looks at three days",
    "ErrorsBudgetTicket": "looks at three days",
    "PrefixHitCollapse": "compares with yesterday",
    "VersionSkew": "waits two hours",
    "ConfigDrift": "waits two hours",
    "KvCacheSmallerThanPlanned": "the lab's engines run on CPU, for which nothing is planned",
    "ClockSkew": "the lab's hosts share the machine's clock",
    "OomKill": "the lab's hosts cannot bound a process's memory (no memory controller)",
    "GpuMissing": "the lab's simulated GPUs are all there when the driver is loaded",
}
"""Alerts, and why no fault trips them; tests/rules shows that they fire."""

_LOST, *_OTHERS = range(8)
"""GPUs: what is said of a lost one silences the rest of what is said of it, so the other faults are others'."""


def rounds(fleet: Fleet, victims: Victims) -> list[Round]:
    """In the order in which they can be planted; the longest first."""
    return [
        (
            *(*_gpus(victims), *_host(victims), *_overload(victims)),
            *(_certificate_ends(victims), _one_replica_down(victims), _stuttering(victims), _rank_missing(victims)),
        ),
        (
            *(_frozen(victims), _never_ready(victims), _crashing(victims), _group_failing(victims)),
            *(_exporter_down(victims), _facts_stale(victims)),
        ),
        (_cut_off(fleet, victims), _gateway_down(victims)),
        (_alerts_stuck(victims),),
    ]


def tripped(planned: list[Round]) -> set[str]:
    """The names of all alerts that the faults must trip."""
    return {alert for faults in planned for fault in faults for alert in fault.alerts}


def _gpus(victims: Victims) -> list[Fault]:
    host = victims.first.host.name

    def simulated(gpu: int, what: str, *alerts: str, argument: str = "") -> Fault:
        step = Step(host, f"nvidia-simulate {what} {gpu} {argument}".rstrip(), "nvidia-simulate clear")
        labels = {metrics.HOST: host, metrics.GPU: str(gpu)}
        return Fault(f"GPU {gpu} of {host}, simulated: {what} {argument}".rstrip(), alerts, labels, (step,))

    one, two, three, four, five, six, seven = _OTHERS
    return [
        simulated(_LOST, "lost", "GpuLost"),
        simulated(one, "ecc", "GpuMemoryFault", "GpuRowRemapPending"),
        simulated(two, "remap", "GpuRowRemapFailed"),
        simulated(two, "orphan", "GpuOrphanMemory"),
        simulated(three, "throttle", "GpuThermalThrottle"),
        simulated(four, "brake", "GpuPowerBrake"),
        simulated(five, "pcie", "GpuPcieDegraded"),
        simulated(six, "nvlink", "GpuNvlink"),
        simulated(seven, "recovery", "GpuRecoveryAction"),
        simulated(three, "xid", "GpuXidFatal", argument="79"),
        simulated(four, "xid", "GpuXidApp", argument="31"),
        _unit_stopped(victims.second.host.name, "nvml-exporter.service", "GpuTelemetryLost"),
    ]


def _host(victims: Victims) -> list[Fault]:
    here = victims.monitor.name
    mounted = "findmnt --noheadings --source vllm-fleet-drill > /dev/null"
    return [
        Fault(
            f"{here}: a small file system for models, full",
            ("ModelDiskFilling",),
            {metrics.HOST: here},
            (
                Step(
                    here,
                    f"mkdir -p {paths.MODELS} && mount -t tmpfs -o size=16m vllm-fleet-drill {paths.MODELS} "
                    f"&& head -c 15500K /dev/zero > {paths.MODELS}/full",
                    f"! {mounted} || umount {paths.MODELS}",
                ),
            ),
        ),
        Fault(
            f"{here}: the node exporter without the metric of its clock, as after a renaming",
            ("MetricVanished",),
            {metrics.HOST: here},
            (_started_as(here, "prometheus-node-exporter.service", "/usr/bin/prometheus-node-exporter "
                         "--no-collector.time $ARGS"),),
        ),
    ]  # fmt: skip


def _overload(victims: Victims) -> list[Fault]:
    service = victims.alone.service
    labels = {metrics.SERVICE: service.name}
    return [
        Fault(
            f"{service.name}: more and more requests, and a client in four that does not wait",
            (
                *("QueueGrowing", "QueueTimeHigh", "AdmissionRejections", "ClientAborts"),
                *("KvCacheHigh", "KvCacheSaturated", "Preemptions"),
                *("TtftFastBurn", "TtftSlowBurn", "ErrorsFastBurn", "ErrorsSlowBurn"),
            ),
            labels,
            load=Load(
                model=service.model_name,
                clients=110,
                first_clients=36,
                ramp_seconds=14 * 60,
                max_tokens=500,
                words=60,
                impatient=4,
            ),
        )
    ]


def _one_replica_down(victims: Victims) -> Fault:
    engine = victims.second
    return Fault(
        f"{engine.host.name}: {engine.unit} stopped, the other replica serves",
        ("VllmDown", "VllmReplicasMissing"),
        {metrics.SERVICE: engine.service.name},
        (Step(engine.host.name, f"systemctl stop {engine.unit}", f"systemctl start --no-block {engine.unit}"),),
    )


def _stuttering(victims: Victims) -> Fault:
    engine = victims.first
    unit = "vllm-fleet-drill-stutter.service"
    halting = "while :; do kill -STOP $pids; sleep 0.2; kill -CONT $pids; sleep 0.02; done"
    return Fault(
        f"{engine.host.name}: {engine.unit}: its EngineCore is halted five times a second",
        ("ItlFastBurn", "ItlSlowBurn"),
        {metrics.SERVICE: engine.service.name},
        (
            Step(
                engine.host.name,
                f'pids=$({_processes(engine)}) && systemd-run --quiet --unit={unit} --setenv=pids="$pids" '
                f"sh -c '{halting}'",
                f"systemctl stop {unit} 2> /dev/null; {_signalled(engine, 'CONT')} || true",
            ),
        ),
        Load(model=engine.service.model_name, clients=4, first_clients=4, ramp_seconds=1, max_tokens=100),
    )


def _rank_missing(victims: Victims) -> Fault:
    rank = victims.follower
    return Fault(
        f"{rank.host.name}: {rank.unit}, rank {rank.rank} of {rank.service.name}, stopped",
        ("VllmGroupPartial",),
        {metrics.SERVICE: rank.service.name},
        (Step(rank.host.name, f"systemctl stop {rank.unit}", f"systemctl start --no-block {rank.unit}"),),
    )


def _frozen(victims: Victims) -> Fault:
    engine = victims.second
    return Fault(
        f"{engine.host.name}: {engine.unit}: its EngineCore frozen (SIGSTOP), while requests come",
        ("VllmWedged", "VllmProbeFailing"),
        {metrics.SERVICE: engine.service.name, metrics.HOST: engine.host.name},
        (Step(engine.host.name, _signalled(engine, "STOP"), f"{_signalled(engine, 'CONT')} || true"),),
        Load(model=engine.service.model_name, clients=4, first_clients=4, ramp_seconds=1),
    )


def _never_ready(victims: Victims) -> Fault:
    engine = victims.first
    return Fault(
        f"{engine.host.name}: {engine.unit} runs a program that never answers",
        ("VllmLoadingTooLong",),
        {metrics.SERVICE: engine.service.name, metrics.HOST: engine.host.name},
        (_started_as(engine.host.name, engine.unit, "/usr/bin/sleep infinity"),),
    )


def _crashing(victims: Victims) -> Fault:
    engine = victims.alone
    return Fault(
        f"{engine.host.name}: {engine.unit}, the only replica, ends at once whenever it starts",
        ("VllmServiceDown", "VllmCrashLoop"),
        {},
        (_started_as(engine.host.name, engine.unit, "/bin/false"),),
    )


def _group_failing(victims: Victims) -> Fault:
    rank = victims.follower
    start = f"{paths.engine(rank.instance)}/current/start"
    # the group counts what ends by itself, so the unit must be left running; only the next starts fail
    return Fault(
        f"{rank.host.name}: what rank {rank.rank} of {rank.service.name} starts ends at once, again and again",
        ("VllmGroupGaveUp",),
        {metrics.HOST: rank.host.name},
        (
            Step(rank.host.name, f"mount --bind /bin/false {start} && {_signalled(rank, 'KILL')}",
                 f"! findmnt $(readlink -f {start}) > /dev/null || umount {start}; "
                 f"systemctl start --no-block {rank.unit}"),
            Step(victims.head.host.name, "true", f"systemctl start --no-block {victims.head.unit}"),
        ),
    )  # fmt: skip


def _exporter_down(victims: Victims) -> Fault:
    return _unit_stopped(victims.monitor.name, "prometheus-node-exporter.service", "TargetDown")


def _facts_stale(victims: Victims) -> Fault:
    return _unit_stopped(victims.first.host.name, "vllm-fleet-engine-facts.service", "EngineFactsStale")


def _cut_off(fleet: Fleet, victims: Victims) -> Fault:
    host = victims.second.host
    watchers = ", ".join(each.address for each in fleet.hosts_in("monitoring"))
    family = "ip6" if ":" in watchers else "ip"
    table = "inet vllm_fleet_drill"
    return Fault(
        f"{host.name}: nothing from the monitoring hosts reaches it",
        ("HostDown",),
        {metrics.HOST: host.name},
        (
            Step(
                host.name,
                f"nft 'add table {table}; add chain {table} input {{ type filter hook input priority -300; }}; "
                f"add rule {table} input {family} saddr {{ {watchers} }} drop'",
                f"nft delete table {table} 2> /dev/null || true",
            ),
        ),
    )


def _gateway_down(victims: Victims) -> Fault:
    return _unit_stopped(victims.gateway.name, "haproxy.service", "GatewayDown")


def _certificate_ends(victims: Victims) -> Fault:
    host, file, kept = victims.gateway.name, f"{paths.TEXTFILES}/vllm-fleet-gateway.prom", "/run/vllm-fleet-drill.prom"
    # what is deployed is looked at before, so the file that tells of it is changed
    tomorrow = "$(($(date +%s) + 86400))"
    return Fault(
        f"{host}: its certificate is said to end tomorrow",
        ("CertExpiring",),
        {metrics.HOST: host},
        (
            Step(
                host,
                f'cp -p {file} {kept} && sed -i -E "s/ [0-9.e+]+$/ {tomorrow}/" {file}',
                f"! [ -e {kept} ] || mv {kept} {file}",
            ),
        ),
    )


def _alerts_stuck(victims: Victims) -> Fault:
    return _unit_stopped(victims.monitor.name, "prometheus-alertmanager.service", "AlertPathFailing")


def _unit_stopped(host: str, unit: str, alert: str) -> Fault:
    step = Step(host, f"systemctl stop {unit}", f"systemctl start {unit}")
    return Fault(f"{host}: {unit} stopped", (alert,), {metrics.HOST: host}, (step,))


def _started_as(host: str, unit: str, command: str) -> Step:
    """The unit runs another command, until the next boot at the latest."""
    directory = f"/run/systemd/system/{unit}.d"
    drop_in = f"[Service]\\nExecStart=\\nExecStart={command}\\n"
    restart = f"systemctl daemon-reload && systemctl restart --no-block {unit}"
    return Step(
        host,
        f"mkdir -p {directory} && printf '{drop_in}' > {directory}/vllm-fleet-drill.conf && {restart}",
        f"if rm {directory}/vllm-fleet-drill.conf 2> /dev/null; then {restart}; fi",
    )


def _signalled(engine: Placement, signal: str) -> str:
    return f"{_processes(engine)} | xargs kill -{signal}"


def _processes(engine: Placement) -> str:
    """Prints the process ids of the engine's EngineCore or workers, which its API server outlives for a while."""
    named = "/[E]ngineCore|[V]LLM::Worker/ {print $1}"
    if isinstance(engine.service.runtime, Container):
        listed = f"docker top {container_name(engine)} -eo pid,args"
    else:
        listed = f"ps -o pid=,args= -p $(paste -sd, /sys/fs/cgroup/system.slice/{engine.unit}/cgroup.procs)"
    return f"{listed} | awk '{named}'"
