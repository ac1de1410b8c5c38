"""Grafana: the dashboards are there, behind the declared password, and nothing of it is open to others."""

from __future__ import annotations

import base64
import json

import pytest

from tests.host.machine import Machine
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe.grafana import NAMES, uid
from vllm_fleet.render import grafana as rendered
from vllm_fleet.schema import Grafana

# Reads the password on the host, so that no argument holds it; `wrong` sends another, `none` no account at all.
_ASK = """
import base64, json, sys, urllib.error, urllib.request
url, account, file = sys.argv[1:]
password = "wrong" if account == "wrong" else open(file).read().strip()
token = base64.b64encode(("admin:" + password).encode()).decode()
request = urllib.request.Request(url, headers={} if account == "none" else {"Authorization": "Basic " + token})
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, ""]))
"""


@pytest.fixture
def grafana(monitor: Machine) -> Grafana:
    if monitor.fleet.monitoring.grafana is None:
        pytest.skip("no Grafana is declared for this fleet")
    return monitor.fleet.monitoring.grafana


def _ask(monitor: Machine, grafana: Grafana, path: str, account: str = "admin") -> tuple[int, str]:
    url = f"http://{endpoint(monitor.here, grafana.port)}{path}"
    program = base64.b64encode(_ASK.encode()).decode()
    command = f"echo {program} | base64 -d | python3 - '{url}' {account} {rendered.PASSWORD}"
    status, text = json.loads(monitor.run(command))
    return status, text


def test_it_runs_and_starts_at_boot(monitor: Machine, grafana: Grafana) -> None:
    service = monitor.shell.service(rendered.UNIT)
    assert service.is_running
    assert service.is_enabled


def test_it_is_of_the_declared_release(monitor: Machine, grafana: Grafana) -> None:
    version = monitor.run("dpkg-query --show --showformat '${Version}' grafana")
    assert version.startswith(f"{grafana.release}.")
    candidate = monitor.run("apt-cache policy grafana | sed -n 's/ *Candidate: //p'")
    assert candidate.startswith(f"{grafana.release}."), "an upgrade would leave the release"


def test_it_has_every_dashboard_in_its_folder(monitor: Machine, grafana: Grafana) -> None:
    status, text = _ask(monitor, grafana, "/api/search?type=dash-db")
    assert status == 200
    found = {one["uid"]: one["folderTitle"] for one in json.loads(text) if one["uid"].startswith("vllm-fleet-")}
    assert found == {uid(name): "vLLM fleet" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_the_one_that_was_deployed(monitor: Machine, grafana: Grafana, name: str) -> None:
    status, text = _ask(monitor, grafana, f"/api/dashboards/uid/{uid(name)}")
    assert status == 200
    (placed,) = [file for file in rendered.dashboard_files() if file.path.endswith(f"/{name}.json")]
    shown, wanted = json.loads(text)["dashboard"], json.loads(placed.content)
    assert [panel["title"] for panel in shown["panels"]] == [panel["title"] for panel in wanted["panels"]]


def test_its_data_source_is_this_hosts_prometheus(monitor: Machine, grafana: Grafana) -> None:
    status, text = _ask(monitor, grafana, "/api/datasources")
    assert status == 200
    (source,) = json.loads(text)
    assert source["url"] == f"http://{endpoint(monitor.here, monitor.fleet.monitoring.prometheus_port)}"
    assert source["isDefault"]


@pytest.mark.parametrize("account", ["none", "wrong"])
def test_without_the_password_nothing_is_shown(monitor: Machine, grafana: Grafana, account: str) -> None:
    for path in ("/api/search", "/api/datasources", f"/api/dashboards/uid/{uid(NAMES[0])}"):
        assert _ask(monitor, grafana, path, account)[0] == 401


def test_it_listens_on_the_private_address_only(monitor: Machine, grafana: Grafana) -> None:
    listening = monitor.run(f"ss -Hltn 'sport = :{grafana.port}'").splitlines()
    assert {line.split()[3] for line in listening} == {endpoint(monitor.here, grafana.port)}


def test_the_password_is_not_for_everyone(monitor: Machine, grafana: Grafana) -> None:
    file = monitor.shell.file(rendered.PASSWORD)
    assert (file.mode, file.user, file.group) == (0o640, "root", "grafana")
    password = file.content_string.strip()
    assert password not in monitor.run(f"cat {rendered.SETTINGS}; ps -eo args")
