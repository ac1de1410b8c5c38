"""What the fleet of inventories/prod.py runs. Reads like a configuration page; every other setting has its default
in vllm_fleet/schema, where each field says what it means.

Secrets are named, not written: they are read when a deploy runs.
"""

from inventories import prod as _inventory
from vllm_fleet.planner import place as _place
from vllm_fleet.schema import (
    Container,
    Fleet,
    Gateway,
    Hub,
    Monitoring,
    NvidiaNetwork,
    Secret,
    Service,
    Slo,
    Versions,
    hosts_of,
)

# One image for all engines, by digest. Print yours with:
#   skopeo inspect --format '{{.Digest}}' docker://docker.io/vllm/vllm-openai:v0.33.0
_vllm = Container(
    image="docker.io/vllm/vllm-openai@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    vllm="0.33",
)

ssh_user = "deploy"

fleet = Fleet(
    hosts=hosts_of(_inventory),
    services=[
        # One node, four GPUs a replica: two replicas fill gpu-1.
        Service(
            name="chat",
            model=Hub(
                name="meta-llama/Llama-3.3-70B-Instruct",
                revision="6f6073b423013f6a7d4d9f39144961bfbfbc386b",
                token=Secret(env="HF_TOKEN"),
            ),
            runtime=_vllm,
            hosts=["gpu-1"],
            replicas=2,
            tensor_parallel_size=4,
            max_model_len=32768,
            api_key=Secret(env="CHAT_ENGINE_KEY"),
            # people wait for these answers: 99 % of first tokens within a second, or alerts tell
            slo=Slo(ttft_seconds=1.0),
        ),
        # 405B on two nodes: tensor parallel over NVLink inside a node, pipeline parallel between them.
        Service(
            name="large",
            model=Hub(
                name="meta-llama/Llama-3.1-405B-Instruct",
                revision="be673f326cab4cd22ccfef76109faf68e41aa5f1",
                token=Secret(env="HF_TOKEN"),
            ),
            runtime=_vllm,
            hosts=["gpu-2", "gpu-3"],
            nodes=2,
            tensor_parallel_size=8,
            pipeline_parallel_size=2,
            max_model_len=16384,
            port=8100,
            api_key=Secret(env="LARGE_ENGINE_KEY"),
            start_seconds=3600,
        ),
    ],
    gateway=Gateway(
        api_keys=[Secret(env="CLIENT_KEY")],
        # clients call both gateways by this name; without a certificate they would speak plain HTTP to their addresses
        name="llm.example.net",
        certificate=Secret(command="pass show llm.example.net/pem"),
        clients=["10.0.0.0/8"],
    ),
    monitoring=Monitoring(
        operators=["10.30.0.0/16"],
        page_webhook=Secret(env="PAGE_WEBHOOK"),
        ticket_webhook=Secret(env="TICKET_WEBHOOK"),
        watchdog_webhook=Secret(env="WATCHDOG_WEBHOOK"),
        # Grafana with the dashboards of grafana/, for operators on port 3000. The key of its packages is a file that
        # you have compared with Grafana's fingerprint.
        # grafana=Grafana(
        #     repository=AptRepository(
        #         line="deb [signed-by=/etc/apt/keyrings/vllm-fleet-grafana.asc] https://apt.grafana.com stable main",
        #         packages=["grafana"],
        #         key=Path("keys/grafana.asc").read_text(),
        #     ),
        #     admin_password=Secret(env="GRAFANA_PASSWORD"),
        # ),
    ),
    versions=Versions(
        # Another branch or version is a rolling upgrade: each host is drained, rebooted, looked at and admitted again.
        nvidia_driver=580,
        # From NVIDIA, for each host's own distribution; [AptRepository(...)] for a mirror, None if you install drivers
        # yourself. The keys are files that you have compared with NVIDIA's fingerprints.
        nvidia_packages=NvidiaNetwork(driver_key="keys/nvidia-driver.asc", toolkit_key="keys/nvidia-toolkit.asc"),
    ),
)

placements = _place(fleet)
