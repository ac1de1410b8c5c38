"""Grafana's package source, settings and what it is provisioned with, as its Debian package expects them."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from vllm_fleet import paths
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe.grafana import NAMES
from vllm_fleet.observe.grafana_server import datasource, folder, settings
from vllm_fleet.render.apt import pin, preferences_file, source_files
from vllm_fleet.render.files import File
from vllm_fleet.render.monitoring import WAIT_FOR_ADDRESS
from vllm_fleet.schema import Fleet, Grafana, Host

PACKAGE = "grafana"
UNIT = "grafana-server.service"
SETTINGS = "/etc/grafana/grafana.ini"
PROVISIONING = "/etc/grafana/provisioning"
PASSWORD = "/etc/grafana/admin-password"

# There is no program that checks the rest before Grafana starts with it.
CHECK = f'for file in "$stage{paths.DASHBOARDS}"/*.json; do python3 -m json.tool "$file" /dev/null; done'

_DASHBOARDS = Path(__file__).parents[2] / "grafana"
# of the password that Grafana has; as secret as the password is on this host
_SET = f"{paths.STATE}/grafana-password.sha256"
PASSWORD_IS_SET = f"sha256sum --check --status {_SET}"

_SET_PASSWORD = """\
set -e; umask 077
end=$(($(date +%s) + 120))
until python3 -c {look} 2>/dev/null; do
  [ "$(date +%s)" -lt $end ] || {{ echo {silent} >&2; exit 1; }}
  sleep 1
done
runuser -u grafana -- /usr/share/grafana/bin/grafana cli --homepath /usr/share/grafana --config {settings} \\
  admin reset-admin-password --password-from-stdin < {password} >/dev/null
mkdir -p {folder}; sha256sum {password} > {note}
"""


def package_files(grafana: Grafana) -> list[File]:
    """The source and its pins: nothing else is taken from there, and of Grafana only the declared release."""
    pins = [
        pin([PACKAGE], f"version {grafana.release}.*", 990),
        pin([PACKAGE], "version *", -1),
        pin(["*"], f'origin "{grafana.repository.origin}"', 1),
    ]
    return [*source_files("grafana", grafana.repository), preferences_file("grafana", pins)]


def password_file(password: str) -> File:
    """The admin's password; Grafana's alone."""
    return _file(PASSWORD, f"{password}\n", secret=True)


def start_files(fleet: Fleet, grafana: Grafana, host: Host) -> list[File]:
    """What Grafana reads when it starts; a change needs a restart."""
    sections = settings(host.address, grafana.port, PASSWORD, PROVISIONING, f"{paths.DASHBOARDS}/{NAMES[0]}.json")
    ini = "".join(
        f"\n[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for name, values in sections.items()
    )
    prometheus = f"http://{endpoint(host, fleet.monitoring.prometheus_port)}"
    return [
        _file(SETTINGS, f"; Written by vllm-fleet.\n{ini}"),
        _yaml("datasources", datasource(prometheus, fleet.monitoring.scrape_interval)),
        _yaml("dashboards", folder(paths.DASHBOARDS)),
        File(f"{paths.UNITS}/{UNIT}.d/vllm-fleet.conf", WAIT_FOR_ADDRESS),
    ]


def dashboard_files() -> list[File]:
    """The dashboards; Grafana looks for changed ones every half minute."""
    return [
        File(f"{paths.DASHBOARDS}/{name}.json", (_DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
        for name in NAMES
    ]


def set_password(grafana: Grafana, host: Host) -> str:
    """A shell script that gives the admin the password in its file, once Grafana answers, and notes that it did."""
    health = f"http://{endpoint(host, grafana.port)}/api/health"
    return _SET_PASSWORD.format(
        look=shlex.quote(f"import urllib.request; urllib.request.urlopen('{health}', timeout=5)"),
        silent=shlex.quote(f"{host.name}: Grafana does not answer; read journalctl -u {UNIT}"),
        settings=SETTINGS,
        password=PASSWORD,
        folder=paths.STATE,
        note=_SET,
    )


def _file(path: str, content: str, secret: bool = False) -> File:
    """In /etc/grafana all is root's and readable to Grafana; its package makes it so with each upgrade."""
    return File(path, content, mode="0640", group="grafana", secret=secret)


def _yaml(kind: str, content: dict[str, object]) -> File:
    text = yaml.safe_dump(content, sort_keys=False)
    return _file(f"{PROVISIONING}/{kind}/vllm-fleet.yaml", f"# Written by vllm-fleet.\n{text}")
