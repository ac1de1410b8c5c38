"""The files of Prometheus, Alertmanager and the node exporter, as Debian's and Ubuntu's packages expect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from vllm_fleet import paths
from vllm_fleet.engine.release import configuration, release_id
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alertmanager import alertmanager_config
from vllm_fleet.observe.alerts import ALERTS
from vllm_fleet.observe.prometheus import prometheus_config
from vllm_fleet.observe.rules import rule_groups
from vllm_fleet.observe.slo import recordings
from vllm_fleet.observe.targets import targets
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File
from vllm_fleet.render.textfile import textfile
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.certificate import Certificate

RULES = "/etc/prometheus/rules/vllm-fleet.yml"
PROMETHEUS_CONFIG = "/etc/prometheus/prometheus.yml"
ALERTMANAGER_CONFIG = "/etc/prometheus/alertmanager.yml"

PROMETHEUS = "prometheus"
ALERTMANAGER = "prometheus-alertmanager"
NODE_EXPORTER = "prometheus-node-exporter"
"""Names of packages, and of their units and files in /etc/default."""

# The real tools must take what comes; the configuration names the rules, which then are still beside their place.
CHECK = f"""\
set -e
promtool check rules "$stage{RULES}"
sed "s|{RULES}|$stage{RULES}|" "$stage{PROMETHEUS_CONFIG}" > "$stage/prometheus.yml"
promtool check config "$stage/prometheus.yml"
amtool check-config "$stage{ALERTMANAGER_CONFIG}"
"""

# The packages' units start before the network is up and give up after five quick attempts; ours wait for the
# private address.
WAIT_FOR_ADDRESS = """\
[Unit]
Wants=network-online.target
After=network-online.target

[Service]
Restart=always
RestartSec=5s
"""


def rules_file(fleet: Fleet) -> File:
    """The alerts, and the series that they are computed from."""
    return File(RULES, _yaml(rule_groups(recordings(fleet.services), ALERTS)))


def prometheus_file(fleet: Fleet, placements: list[Placement]) -> File:
    """What Prometheus scrapes and whom it tells."""
    scraped = targets(fleet, placements, release_id, configuration)
    return File(PROMETHEUS_CONFIG, _yaml(prometheus_config(fleet, scraped, RULES)))


def alertmanager_file(webhooks: Mapping[str, str]) -> File:
    """Who is told what; readable to the daemons' user alone, for webhook URLs mostly hold a token."""
    content = _yaml(alertmanager_config(webhooks))
    return File(ALERTMANAGER_CONFIG, content, mode="0640", group="prometheus", secret=True)


def prometheus_start(fleet: Fleet, host: Host) -> list[File]:
    """How Prometheus starts on a monitoring host; a change needs a restart."""
    return _start(
        PROMETHEUS,
        f"--web.listen-address={endpoint(host, fleet.monitoring.prometheus_port)}",
        f"--storage.tsdb.retention.time={fleet.monitoring.retention}",
    )


def alertmanager_start(fleet: Fleet, host: Host) -> list[File]:
    """How Alertmanager starts on a monitoring host."""
    return _start(
        ALERTMANAGER,
        f"--web.listen-address={endpoint(host, fleet.monitoring.alertmanager_port)}",
        "--cluster.listen-address=",  # no peers: do not listen for any
    )


def node_exporter_start(fleet: Fleet, host: Host) -> list[File]:
    """How the node exporter starts on any host."""
    return _start(
        NODE_EXPORTER,
        f"--web.listen-address={endpoint(host, fleet.monitoring.node_exporter_port)}",
        # the state of each engine's unit; brackets, for systemd takes a backslash in the file for its own
        "--collector.systemd",
        "--collector.systemd.unit-include=vllm-.+[.]service",
        "--collector.systemd.enable-restarts-metrics",
    )


def gateway_metrics(name: str, certificate: Certificate | None) -> File:
    """When the certificate expires that was deployed for what clients call a gateway; no series without one."""
    samples = [({"certificate": name}, certificate.expires.timestamp())] if certificate else []
    help_text = "When the certificate that was deployed last expires, since the epoch."
    return textfile("gateway", (metrics.CERTIFICATE_EXPIRY, help_text, samples))


def _start(package: str, *arguments: str) -> list[File]:
    return [
        File(f"/etc/default/{package}", f'# Written by vllm-fleet.\nARGS="{" ".join(arguments)}"\n'),
        File(f"{paths.UNITS}/{package}.service.d/vllm-fleet.conf", WAIT_FOR_ADDRESS),
    ]


def _yaml(value: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, width=110)
    return f"# Written by vllm-fleet.\n{text}"
