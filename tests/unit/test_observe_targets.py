"""What Prometheus scrapes."""

from __future__ import annotations

from tests.fleets import example_fleet
from vllm_fleet.observe.targets import Target, targets
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import Host


def test_targets_of_the_fleet() -> None:
    fleet = example_fleet()

    def engine(address: str, host: str, service: str, replica: int, unit: str) -> Target:
        labels = {"host": host, "service": service, "replica": str(replica), "unit": f"vllm-{unit}.service"}
        return Target(
            "vllm", address, labels | {"release": f"of {unit} on {host}", "configuration": service, "track": "stable"}
        )

    every = targets(
        fleet,
        place(fleet),
        release_of=lambda engine: f"of {engine.instance} on {engine.host.name}",
        configuration_of=lambda engine: engine.service.name,
    )
    assert every == [
        engine("10.0.0.11:8000", "gpu1", "chat", 0, "chat"),
        engine("10.0.0.12:8000", "gpu2", "chat", 1, "chat"),
        engine("10.0.0.12:8100", "gpu2", "coder", 0, "coder-0"),
        engine("10.0.0.12:8101", "gpu2", "coder", 1, "coder-1"),
        engine("10.0.0.11:8200", "gpu1", "large", 0, "large"),  # its second rank serves no metrics
        Target("node", "10.0.0.11:9100", {"host": "gpu1"}),
        Target("node", "10.0.0.12:9100", {"host": "gpu2"}),
        Target("node", "10.0.0.10:9100", {"host": "edge1"}),
        Target("nvml", "10.0.0.11:9400", {"host": "gpu1"}),
        Target("nvml", "10.0.0.12:9400", {"host": "gpu2"}),
        Target("haproxy", "10.0.0.10:8404", {"host": "edge1"}),
        Target("prometheus", "10.0.0.10:9090", {"host": "edge1"}),
        Target("alertmanager", "10.0.0.10:9093", {"host": "edge1"}),
    ]


def test_ipv6_addresses_stand_in_brackets() -> None:
    hosts = [*example_fleet().hosts[:2], Host(name="edge1", address="fd00::1", groups=("gateway", "monitoring"))]
    fleet = example_fleet(hosts=hosts)
    every = targets(fleet, place(fleet), lambda _: "r", lambda _: "c")
    found = [target.address for target in every if target.labels["host"] == "edge1"]
    assert found == ["[fd00::1]:9100", "[fd00::1]:8404", "[fd00::1]:9090", "[fd00::1]:9093"]
