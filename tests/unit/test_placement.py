"""Placements: who runs where, from declared data alone."""

import json

import pytest

from tests.unit.test_schema import OPS_1, fleet, service
from vllm_fleet.planner import heads, on_host, place
from vllm_fleet.schema import Archive, ConfigError, Host, Hub

NODES = [
    Host(name=f"gpu-{number}", address=f"10.0.1.{number}", groups=("gpu",), gpus=8, interface="eth1")
    for number in (1, 2, 3)
]


def placed(*services):
    return place(fleet(*services, hosts=[*NODES, OPS_1]))


def seats(placements):
    return [(p.instance, p.host.name, p.replica, p.rank, p.port, p.gpus) for p in placements]


def test_two_replicas_on_one_host_share_its_gpus_and_number_their_units():
    assert seats(placed(service(replicas=2, tensor_parallel_size=4))) == [
        ("chat-0", "gpu-1", 0, 0, 8000, (0, 1, 2, 3)),
        ("chat-1", "gpu-1", 1, 0, 8001, (4, 5, 6, 7)),
    ]


def test_replicas_spread_before_they_share_a_host():
    spread = placed(service(hosts=["gpu-1", "gpu-2"], replicas=3))
    assert [(p.unit, p.host.name) for p in spread] == [
        ("vllm-chat-0.service", "gpu-1"),
        ("vllm-chat.service", "gpu-2"),
        ("vllm-chat-1.service", "gpu-1"),
    ]


def test_a_replica_over_two_hosts_has_a_rank_on_each_and_one_head():
    ranks = placed(
        service(hosts=["gpu-2", "gpu-3"], nodes=2, tensor_parallel_size=8, pipeline_parallel_size=2, replicas=1)
    )
    assert seats(ranks) == [
        ("chat", "gpu-2", 0, 0, 8000, tuple(range(8))),
        ("chat", "gpu-3", 0, 1, 8000, tuple(range(8))),
    ]
    assert [host.name for host in ranks[1].members] == ["gpu-2", "gpu-3"]
    assert heads(ranks, "chat") == [ranks[0]]
    assert on_host(ranks, "gpu-3") == [ranks[1]]


def test_replicas_over_hosts_meet_at_the_port_of_their_own_head():
    """The head of one replica shares a host with a follower of the other: all members of each name one port."""
    spanning = service(hosts=["gpu-1", "gpu-2", "gpu-3"], nodes=2, pipeline_parallel_size=2, replicas=2)
    found = placed(spanning)
    assert [(p.host.name, p.replica, p.rank, p.slot, p.master_port) for p in found] == [
        ("gpu-1", 0, 0, 0, 29501),
        ("gpu-2", 0, 1, 0, 29501),
        ("gpu-3", 1, 0, 0, 29501),
        ("gpu-1", 1, 1, 1, 29501),
    ]
    with_ray = placed(spanning.model_copy(update={"executor": "ray"}))
    assert [(p.replica, p.rank, p.meeting_port) for p in with_ray] == [
        (0, 0, 29520), (0, 1, 29520), (1, 0, 29520), (1, 1, 29520),
    ]  # fmt: skip
    ranks = spanning.model_copy(update={"pipeline_parallel_size": 1, "data_parallel_size": 2, "replicas": 3})
    assert [(p.replica, p.rank, p.meeting_port) for p in placed(ranks)] == [
        (0, 0, 29550), (0, 1, 29550), (1, 0, 29550), (1, 1, 29550), (2, 0, 29551), (2, 1, 29551),
    ]  # fmt: skip
    assert placed(service())[0].meeting_port is None


def test_data_parallel_ranks_over_hosts_may_not_meet_at_another_services_port():
    spanning = service(hosts=["gpu-1", "gpu-2"], nodes=2, data_parallel_size=2, replicas=2, data_parallel_rpc_port=8100)
    other = service(name="b", served_name="b", port=8101)
    with pytest.raises(ConfigError, match=r"services\.b\.port: several engines of chat on gpu-1 also take port 8101"):
        placed(spanning, other)


def test_ray_may_not_meet_at_another_services_port():
    spanning = service(hosts=["gpu-1", "gpu-2"], nodes=2, pipeline_parallel_size=2, replicas=3, executor="ray")
    other = service(name="b", served_name="b", port=29521)
    with pytest.raises(ConfigError, match=r"services\.b\.port: several engines of chat on gpu-1 also take port 29521"):
        placed(spanning, other)


def test_with_ray_the_gpus_of_a_host_must_be_in_ascending_order():
    hosts = [
        Host(name=name, address=address, groups=("gpu",), gpus=8, interface="eth1", nvlink_groups=[[0, 4], [1, 5]])
        for name, address in (("gpu-1", "10.0.1.1"), ("gpu-2", "10.0.1.2"))
    ]
    sizes = {"hosts": ["gpu-1", "gpu-2"], "nodes": 2, "tensor_parallel_size": 2, "pipeline_parallel_size": 4}
    place(fleet(service(**sizes), hosts=[*hosts, OPS_1]))
    place(fleet(service(executor="ray", **{**sizes, "pipeline_parallel_size": 2}), hosts=[*hosts, OPS_1]))
    with pytest.raises(ConfigError) as caught:
        place(fleet(service(executor="ray", **sizes), hosts=[*hosts, OPS_1]))
    assert caught.value.message == (
        "services.chat.executor: 'ray' takes the GPUs of gpu-1 in ascending order, but its NVLink or NUMA groups ask "
        "for 0, 4, 1, 5; use 'mp'"
    )


def test_services_take_different_gpus_of_one_host():
    both = placed(service(tensor_parallel_size=2), service(name="b", served_name="b", port=8100))
    assert [p.gpus for p in both] == [(0, 1), (2,)]


def test_on_cpu_no_gpu_is_taken():
    assert placed(service(device="cpu"))[0].gpus == ()


def test_too_few_gpus_says_what_is_free():
    with pytest.raises(ConfigError) as caught:
        placed(service(replicas=3, tensor_parallel_size=4))
    assert caught.value.message == (
        "services.chat.replicas: each needs 4 GPUs on 1 host(s), free are gpu-1 0; "
        "add hosts, or lower replicas or a parallel size"
    )


def test_a_second_replica_may_not_take_another_services_port():
    with pytest.raises(ConfigError, match=r"services\.b\.port: several engines of chat on gpu-1 also take port 8001"):
        placed(service(replicas=2), service(name="b", served_name="b", port=8001))


def test_an_ipv6_endpoint_has_brackets():
    node = Host(name="gpu-1", address="fd00::1", groups=("gpu",), gpus=1)
    assert place(fleet(service(), hosts=[node, OPS_1]))[0].endpoint == "[fd00::1]:8000"


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"tensor_parallel_size": 3},
            "services.chat.tensor_parallel_size: 3 does not divide 32 attention heads "
            "(meta-llama/Llama-3.1-8B-Instruct); use 1, 2, 4, 8 or 16",
        ),
        (
            {"pipeline_parallel_size": 64, "nodes": 3, "tensor_parallel_size": 3},
            "services.chat.tensor_parallel_size: 3 does not divide 32 attention heads "
            "(meta-llama/Llama-3.1-8B-Instruct); use 1, 2, 4, 8 or 16\n"
            "services.chat.pipeline_parallel_size: 64 is more than the 32 layers of "
            "meta-llama/Llama-3.1-8B-Instruct; lower it",
        ),
    ],
)
def test_a_model_that_cannot_be_split_so_is_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        placed(service(hosts=["gpu-1", "gpu-2", "gpu-3"], **changes))
    assert caught.value.message == message


@pytest.mark.parametrize(
    "model, changes, message",
    [
        (
            "meta-llama/Llama-3.1-8B-Instruct",
            {"expert_parallel": True, "tensor_parallel_size": 2},
            "services.chat.expert_parallel: meta-llama/Llama-3.1-8B-Instruct has no experts; remove it",
        ),
        (
            "mistralai/Mixtral-8x7B-Instruct-v0.1",
            {"expert_parallel": True, "data_parallel_size": 16, "nodes": 2},
            "services.chat.data_parallel_size: 16 GPUs (tensor x data parallel) are more than the 8 experts; lower it",
        ),
        (
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            {"data_parallel_size": 5},
            "services.chat.data_parallel_size: the experts of Qwen/Qwen3-30B-A3B-Instruct-2507, 768 wide, do not "
            "divide over 5 GPUs (tensor x data parallel); change it, or use expert parallelism, which leaves experts "
            "whole",
        ),
    ],
)
def test_experts_that_do_not_go_over_the_gpus_are_refused(model, changes, message):
    with pytest.raises(ConfigError) as caught:
        placed(service(model=Hub(name=model, revision="a" * 40), hosts=["gpu-1", "gpu-2"], **changes))
    assert caught.value.message == message


def test_a_model_with_a_declared_config_is_checked_by_it_and_an_unknown_one_is_left_to_vllm(tmp_path):
    own = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 8, "intermediate_size": 128, "vocab_size": 100,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own))
    model = Archive(name="own-model", path="m.tar", sha256="0" * 64)
    assert len(placed(service(model=model, tensor_parallel_size=3))) == 1
    with pytest.raises(ConfigError, match=r"3 does not divide 8 attention heads \(own-model\); use 1, 2, 4 or 8"):
        placed(service(model=model.model_copy(update={"config": str(tmp_path)}), tensor_parallel_size=3))
