"""What deploy.py does on hosts without engines, as pyinfra's own operations: `pyinfra INVENTORY deploy.py`."""

import os
from pathlib import Path

from pyinfra import config, host
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import apt, files, server, systemd

config.SUDO = True
here = Path(os.environ["BENCH_FILES"]) / host.name


def put(path: str, mode: str = "644", group: str = "root") -> OperationMeta:
    return files.put(name=path, src=str(here / path.lstrip("/")), dest=path, mode=mode, user="root", group=group)


apt.packages(name="Base packages", packages=["ca-certificates", "chrony", "python3", "tar"], no_recommends=True)
server.group(name="Group", group="vllm", system=True, gid=2000)
server.user(
    name="User", user="vllm", group="vllm", uid=2000, system=True, home="/var/lib/vllm-fleet", create_home=False,
    ensure_home=False, shell="/usr/sbin/nologin",
)  # fmt: skip
journal = put("/etc/systemd/journald.conf.d/60-vllm-fleet.conf")
systemd.service(name="Restart journald", service="systemd-journald", restarted=True, _if=journal.did_change)
put("/etc/security/limits.d/60-vllm-fleet.conf")
sysctl = put("/etc/sysctl.d/60-vllm-fleet.conf")
server.shell(
    name="Load kernel settings",
    commands=["sysctl --quiet --load /etc/sysctl.d/60-vllm-fleet.conf"],
    _if=sysctl.did_change,
)
put("/etc/sysusers.d/vllm-fleet.conf")
systemd.service(name="Time is synchronised", service="chrony", enabled=True, running=True)

apt.packages(name="nftables", packages=["nftables"], no_recommends=True)
table = put("/etc/vllm-fleet/firewall.nft")
unit = put("/etc/systemd/system/vllm-fleet-firewall.service")
systemd.daemon_reload(name="Read the firewall's unit", _if=unit.did_change)
systemd.service(name="Load the firewall", service="vllm-fleet-firewall", reloaded=True, _if=table.did_change)
systemd.service(name="Firewall is loaded", service="vllm-fleet-firewall", enabled=True, running=True)

put("/usr/local/lib/vllm-fleet/follow-container", "755")
for program in host.loop(sorted(path.name for path in (here / "usr/local/lib/vllm-fleet/readiness").iterdir())):
    put(f"/usr/local/lib/vllm-fleet/readiness/{program}")

apt.packages(name="Node exporter", packages=["prometheus-node-exporter"], no_recommends=True)
arguments = put("/etc/default/prometheus-node-exporter")
drop_in = put("/etc/systemd/system/prometheus-node-exporter.service.d/vllm-fleet.conf")
systemd.service(
    name="Restart the node exporter", service="prometheus-node-exporter", restarted=True, daemon_reload=True,
    _if=lambda: arguments.did_change() or drop_in.did_change(),
)  # fmt: skip
systemd.service(name="Node exporter runs", service="prometheus-node-exporter", enabled=True, running=True)

if "gateway" in host.groups:
    apt.packages(name="HAProxy", packages=["haproxy"], no_recommends=True)
    keys = put("/etc/haproxy/vllm-fleet/client-keys.lst", "600")
    engine_keys = put("/etc/haproxy/vllm-fleet/engine-keys.map", "600")
    haproxy = put("/etc/haproxy/haproxy.cfg")
    systemd.service(
        name="Reload HAProxy", service="haproxy", reloaded=True,
        _if=lambda: keys.did_change() or engine_keys.did_change() or haproxy.did_change(),
    )  # fmt: skip
    systemd.service(name="HAProxy runs", service="haproxy", enabled=True, running=True)
    put("/var/lib/prometheus/node-exporter/vllm-fleet-gateway.prom")

if "monitoring" in host.groups:
    apt.packages(
        name="Prometheus and Alertmanager", packages=["prometheus", "prometheus-alertmanager"], no_recommends=True
    )
    prometheus = [
        put("/etc/default/prometheus"),
        put("/etc/systemd/system/prometheus.service.d/vllm-fleet.conf"),
        put("/etc/prometheus/rules/vllm-fleet.yml"),
        put("/etc/prometheus/prometheus.yml"),
    ]
    alertmanager = [
        put("/etc/default/prometheus-alertmanager"),
        put("/etc/systemd/system/prometheus-alertmanager.service.d/vllm-fleet.conf"),
        put("/etc/prometheus/alertmanager.yml", "640", "prometheus"),
    ]
    systemd.service(
        name="Restart Prometheus", service="prometheus", restarted=True, daemon_reload=True,
        _if=lambda: any(done.did_change() for done in prometheus),
    )  # fmt: skip
    systemd.service(
        name="Restart Alertmanager", service="prometheus-alertmanager", restarted=True, daemon_reload=True,
        _if=lambda: any(done.did_change() for done in alertmanager),
    )  # fmt: skip
    systemd.service(name="Prometheus runs", service="prometheus", enabled=True, running=True)
    systemd.service(name="Alertmanager runs", service="prometheus-alertmanager", enabled=True, running=True)
