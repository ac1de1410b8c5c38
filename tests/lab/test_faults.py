"""What happens when something dies: it comes back alone, and clients hardly notice."""

import time

import pytest

from tests.lab.conftest import Traffic, wait_until

pytestmark = pytest.mark.lab


def restarts(lab, host, unit):
    return int(lab.ssh(host, f"systemctl show --property=NRestarts --value {unit}"))


@pytest.mark.parametrize("host, backend, unit", [("gpu-1", "chat", "vllm-chat"), ("gpu-2", "batch", "vllm-batch")])
def test_a_killed_engine_comes_back_and_gets_no_request_meanwhile(lab, host, backend, unit):
    before = restarts(lab, host, unit)
    lab.ssh(host, "pkill -KILL -f [E]ngineCore" if unit == "vllm-chat" else
            f"pkill -KILL -f [E]ngineCore --cgroup /system.slice/{unit}.service")  # fmt: skip
    wait_until(lambda: lab.status_of(backend, host).startswith("DOWN"), 20, f"{host} is out of the gateway")
    served = {name: row["stot"] for name, row in lab.servers(backend).items() if name.startswith(host)}
    if backend == "chat":
        with Traffic(lab) as traffic:
            time.sleep(5)  # so long requests must stay away from the dead engine
            down = {name: row["stot"] for name, row in lab.servers(backend).items() if name.startswith(host)}
        assert len(traffic.codes) >= 3
        assert set(traffic.codes) == {200}
        assert down == served
    wait_until(lambda: lab.status_of(backend, host).startswith("UP"), 240, f"{unit} answers again")
    assert restarts(lab, host, unit) > before
    answer = lab.complete("tiny-llama" if backend == "chat" else "tiny-llama-batch")
    assert answer.status_code == 200


def test_a_restart_of_docker_leaves_the_engine_serving(lab):
    started = 'docker inspect --format "{{.State.StartedAt}}" vllm-chat'
    before = lab.ssh("gpu-1", started), restarts(lab, "gpu-1", "vllm-chat")
    lab.ssh("gpu-1", "systemctl restart docker")
    assert lab.complete().status_code == 200
    assert (lab.ssh("gpu-1", started), restarts(lab, "gpu-1", "vllm-chat")) == before
    # the unit follows it again: stopping the unit still ends the container
    assert lab.ssh("gpu-1", "systemctl is-active vllm-chat") == "active"


def test_a_stopped_engine_leaves_no_process_behind(lab):
    lab.ssh("gpu-2", "systemctl stop vllm-batch")
    left = lab.ssh("gpu-2", "pgrep -u vllm -f models/tiny-llama/ || echo none", check=False)
    assert left == "none"
    lab.ssh("gpu-2", "systemctl start vllm-batch")
    wait_until(lambda: lab.complete("tiny-llama-batch").status_code == 200, 240, "batch answers again")


def test_a_frozen_engine_looks_healthy_and_its_probe_tells(lab):
    signal = "pkill -{} -f [E]ngineCore --cgroup /system.slice/vllm-batch.service"
    of_batch = '{host="gpu-2", unit="vllm-batch.service"}'

    def is_now(metric: str, value: str) -> bool:
        return [sample["value"][1] for sample in lab.query(metric + of_batch)] == [value]

    wait_until(lambda: is_now("vllm_fleet_probe_success", "1"), 120, "it answers its probe")
    lab.ssh("gpu-2", signal.format("STOP"))
    try:
        # the next probe, and its deadline
        wait_until(lambda: is_now("vllm_fleet_probe_success", "0"), 150, "its probe fails")
        assert is_now("up", "1")
        alert = 'ALERTS{alertname="VllmProbeFailing", unit="vllm-batch.service"}'
        wait_until(lambda: lab.query(alert), 60, "the alert is pending")
    finally:
        lab.ssh("gpu-2", signal.format("CONT"))
    wait_until(lambda: is_now("vllm_fleet_probe_success", "1"), 150, "it answers its probe again")
