"""A small fleet for tests: three hosts, two services on one host each or more, and one that spans two hosts."""

from __future__ import annotations

from typing import Any

from vllm_fleet.schema import (
    AptRepository,
    Container,
    Fleet,
    Gateway,
    Grafana,
    Host,
    Hub,
    Monitoring,
    Secret,
    Service,
)

IMAGE = "vllm/vllm-openai@sha256:" + "0123456789abcdef" * 4
REVISION = "0123456789abcdef0123456789abcdef01234567"

GRAFANA = Grafana(
    repository=AptRepository(
        line="deb [signed-by=/etc/apt/keyrings/vllm-fleet-grafana.asc] https://apt.example stable main",
        packages=["grafana"],
        key="-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    ),
    admin_password=Secret(env="GRAFANA_PASSWORD"),
)


def service(name: str, model: str, **values: Any) -> Service:
    """A service in a container, with its key in `NAME_KEY`."""
    return Service(
        name=name,
        model=Hub(name=model, revision=REVISION),
        runtime=Container(image=IMAGE, vllm="0.33"),
        api_key=Secret(env=f"{name.upper()}_KEY"),
        **values,
    )


def example_fleet(**changes: Any) -> Fleet:
    """`chat` (two replicas), `coder` (two engines on one host) and `large` (one replica over two hosts).

    `changes` replace whole fields of the fleet: `example_fleet(services=[...])`.
    """
    values: dict[str, Any] = {
        "hosts": [
            Host(name="gpu1", address="10.0.0.11", groups=("gpu",), gpus=8, gpu="h100-sxm", interface="eth0"),
            Host(name="gpu2", address="10.0.0.12", groups=("gpu",), gpus=8, gpu="h100-sxm", interface="eth0"),
            Host(name="edge1", address="10.0.0.10", groups=("gateway", "monitoring")),
        ],
        "services": [
            service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1", "gpu2"], replicas=2),
            service("coder", "Qwen/Qwen2.5-7B-Instruct", hosts=["gpu2"], replicas=2, port=8100, served_name="coder"),
            service(
                "large",
                "meta-llama/Llama-3.1-70B-Instruct",
                hosts=["gpu1", "gpu2"],
                nodes=2,
                tensor_parallel_size=4,
                pipeline_parallel_size=2,
                port=8200,
            ),
        ],
        "gateway": Gateway(api_keys=[Secret(env="CLIENT_KEY")], clients=["10.0.0.0/8", "2001:db8::/32"]),
        "monitoring": Monitoring(operators=["10.9.0.0/24"], page_webhook=Secret(env="PAGE_URL")),
    }
    return Fleet(**{**values, **changes})
