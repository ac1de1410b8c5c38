"""What the one box of inventories/single.py runs."""

from inventories import single as _inventory
from vllm_fleet.planner import place as _place
from vllm_fleet.schema import Container, Fleet, Gateway, Hub, Monitoring, Secret, Service, hosts_of

fleet = Fleet(
    hosts=hosts_of(_inventory),
    services=[
        Service(
            name="chat",
            model=Hub(
                name="Qwen/Qwen2.5-7B-Instruct",
                revision="a09a35458c702b33eeacc393d103063234e8bc28",
            ),
            runtime=Container(
                image="docker.io/vllm/vllm-openai@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                vllm="0.33",
            ),
            hosts=["box-1"],
            max_model_len=16384,
            api_key=Secret(env="CHAT_ENGINE_KEY"),
        ),
    ],
    gateway=Gateway(api_keys=[Secret(env="CLIENT_KEY")]),
    monitoring=Monitoring(),
)

placements = _place(fleet)
