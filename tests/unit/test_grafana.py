"""Grafana as declared: its mistakes, who may reach it, and that it is watched itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fleets import GRAFANA, example_fleet
from vllm_fleet.network.firewall import Rule, rules
from vllm_fleet.observe.targets import Target, targets
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import AptRepository, ConfigError, Fleet, Grafana, Host, Monitoring, Secret

MIRROR = "deb http://mirror.example/grafana stable main"


def fleet(hosts: list[Host] | None = None, **values: Any) -> Fleet:
    monitoring = Monitoring(grafana=GRAFANA.model_copy(update=values), operators=["10.9.0.0/24"])
    return example_fleet(monitoring=monitoring, **({"hosts": hosts} if hosts else {}))


def grafana(**values: Any) -> Grafana:
    given = {"repository": AptRepository(line=MIRROR, packages=["grafana"]), "admin_password": Secret(env="P")} | values
    return Grafana(**{key: value for key, value in given.items() if value is not None})


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: grafana(repository=AptRepository(line=MIRROR, packages=["grafana-enterprise"])),
            'monitoring.grafana.repository.packages: is not ["grafana"], which is what is taken from there; write that',
        ),
        (
            lambda: grafana(release="10"),
            "monitoring.grafana.release: input should be '11.6', '12' or '13', got '10'; change it",
        ),
        (lambda: grafana(admin_password=None), "monitoring.grafana.admin_password: is required; add it"),
        (
            lambda: fleet(port=9090),
            "monitoring.grafana.port: port 9090 on edge1 is also monitoring.prometheus_port's; give one of them "
            "another port",
        ),
    ],
)
def test_a_mistake_is_one_line_with_path_and_mend(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert caught.value.message == message


def test_a_missing_password_ends_the_deploy_before_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHAT_KEY", "CODER_KEY", "LARGE_KEY", "CLIENT_KEY"):
        monkeypatch.setenv(name, "key")
    with pytest.raises(ConfigError) as caught:
        fleet().check_deployable()
    assert caught.value.message.startswith("monitoring.grafana.admin_password: environment variable GRAFANA_PASSWORD")


def test_operators_and_other_watchers_reach_it() -> None:
    hosts = [*example_fleet().hosts, Host(name="watch1", address="10.0.0.30", groups=("monitoring",))]
    watched = fleet(hosts)
    found = rules(watched, place(watched), watched.host("edge1"))
    assert Rule("Grafana", ("10.0.0.30/32", "10.9.0.0/24"), (3000,)) in found
    assert not any(3000 in (rule.ports or ()) for rule in rules(watched, place(watched), watched.host("gpu1")))


def test_it_is_scraped() -> None:
    watched = fleet()
    found = targets(watched, place(watched), lambda _: "r", lambda _: "c")
    assert found[-1] == Target("grafana", "10.0.0.10:3000", {"host": "edge1"})


def test_without_it_nothing_is_open_for_it() -> None:
    plain = example_fleet()
    assert "Grafana" not in {rule.why for rule in rules(plain, place(plain), plain.host("edge1"))}
