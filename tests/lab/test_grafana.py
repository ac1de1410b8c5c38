"""Grafana's password can be changed: the next deploy makes the new one count."""

import httpx
import pytest

from tests.lab.conftest import ROOT, deploy

pytestmark = pytest.mark.lab


@pytest.fixture
def restored():
    yield
    code, said = deploy(ROOT, "--limit", "ops-1")
    assert code == 0, said


def test_a_new_password_counts_after_a_deploy_and_the_old_one_does_not(lab, changed, restored):
    monitor = lab.fleet.hosts_in("monitoring")[0].address
    url = f"http://{monitor}:{lab.fleet.monitoring.grafana.port}/api/search"
    old, new = lab.fleet.grafana_password(), "another-password"
    assert httpx.get(url, auth=("admin", old), timeout=10).status_code == 200
    project = changed('Secret(file=".lab/secrets/grafana-password")', f'Secret(command="echo {new}")')
    code, said = deploy(project, "--limit", "ops-1", "--diff")
    assert code == 0, said
    assert new not in said
    assert httpx.get(url, auth=("admin", new), timeout=10).status_code == 200
    assert httpx.get(url, auth=("admin", old), timeout=10).status_code == 401
