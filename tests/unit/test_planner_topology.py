"""Which GPU holds which rank, and which wire joins them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_schema import OPS_1, error_of, fleet, service
from vllm_fleet.planner import Placement, place
from vllm_fleet.planner.services import sizings
from vllm_fleet.planner.topology import expert_problems, ranks, topology_problems, topology_reasons
from vllm_fleet.schema import Host


def node(number: int = 1, **changes: Any) -> Host:
    values = {"gpus": 8, "interface": "eth1", "groups": ("gpu",), "address": f"10.0.1.{number}"}
    return Host(name=f"gpu-{number}", **{**values, **changes})


def placed(*hosts: Host, **changes: Any) -> list[Placement]:
    names = [host.name for host in hosts]
    return place(fleet(service(hosts=names, **changes), hosts=[*hosts, OPS_1]))


# ---- which GPUs ---------------------------------------------------------------------------------------------------

PAIRS = [[0, 4], [1, 5], [2, 6], [3, 7]]
HALVES = [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    "host, size, gpus",
    [
        ({}, 2, (0, 1)),
        ({"nvlink_groups": PAIRS}, 2, (0, 4)),
        ({"nvlink_groups": PAIRS}, 1, (0,)),
        # no island is large enough: inside a NUMA node, else the next free ones
        ({"nvlink_groups": PAIRS, "numa_nodes": HALVES}, 4, (0, 1, 2, 3)),
        ({"nvlink_groups": PAIRS}, 4, (0, 1, 2, 3)),
        # the tightest island that is large enough, to keep the wide ones whole
        ({"nvlink_groups": [[0, 1, 2, 3, 4, 5], [6, 7]]}, 2, (6, 7)),
        ({"numa_nodes": [[0, 1, 2, 3, 4], [5, 6, 7]]}, 2, (5, 6)),
    ],
)
def test_a_tensor_parallel_group_stays_inside_an_island(host, size, gpus):
    assert placed(node(**host), tensor_parallel_size=size)[0].gpus == gpus


def test_each_group_of_an_engine_has_its_own_island():
    (only,) = placed(node(nvlink_groups=PAIRS), tensor_parallel_size=2, pipeline_parallel_size=2)
    assert only.gpus == (0, 4, 1, 5)


def test_replicas_take_islands_that_are_still_whole():
    found = placed(node(nvlink_groups=PAIRS), tensor_parallel_size=2, replicas=4)
    assert [each.gpus for each in found] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    mixed = place(
        fleet(
            service(name="small", served_name="small", port=8100),
            service(tensor_parallel_size=2, port=8200),
            hosts=[node(nvlink_groups=PAIRS), OPS_1],
        )
    )
    assert [each.gpus for each in mixed] == [(0,), (1, 5)]


@pytest.mark.parametrize("field", ["nvlink_groups", "numa_nodes"])
@pytest.mark.parametrize("islands", [[[0, 1], [1, 2]], [[7, 8]], [[-1, 0]], [[0, 0]]])
def test_an_island_names_gpus_of_the_host_once(field, islands):
    message = error_of(lambda: node(**{field: islands}))
    assert message == (f"hosts.gpu-1.{field}: names a GPU twice, or one that is not there; use each of 0 to 7 once")


# ---- ranks --------------------------------------------------------------------------------------------------------


def rows(placement: Placement) -> list[tuple[int, ...]]:
    return [tuple(each.values()) for each in ranks(placement)]


def test_tensor_ranks_vary_fastest_then_pipeline_then_data_ranks():
    (only,) = placed(node(), tensor_parallel_size=2, pipeline_parallel_size=2, data_parallel_size=2)
    assert list(ranks(only)[0]) == ["gpu", "tensor_parallel_rank", "pipeline_parallel_rank", "data_parallel_rank"]
    assert rows(only) == [
        (0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 1, 0), (3, 1, 1, 0),
        (4, 0, 0, 1), (5, 1, 0, 1), (6, 0, 1, 1), (7, 1, 1, 1),
    ]  # fmt: skip


def test_ranks_follow_the_islands():
    (only,) = placed(node(nvlink_groups=PAIRS), tensor_parallel_size=2, pipeline_parallel_size=2)
    assert rows(only) == [(0, 0, 0, 0), (4, 1, 0, 0), (1, 0, 1, 0), (5, 1, 1, 0)]


def test_the_second_host_continues_where_the_first_ends():
    two = placed(node(1), node(2), nodes=2, tensor_parallel_size=2, pipeline_parallel_size=2)
    assert [rows(each) for each in two] == [[(0, 0, 0, 0), (1, 1, 0, 0)], [(0, 0, 1, 0), (1, 1, 1, 0)]]
    over = placed(node(1), node(2), nodes=2, tensor_parallel_size=4)
    assert [rows(each) for each in over] == [[(0, 0, 0, 0), (1, 1, 0, 0)], [(0, 2, 0, 0), (1, 3, 0, 0)]]


# ---- wires --------------------------------------------------------------------------------------------------------

FAST = {"infiniband": "mlx5_0"}


def problems(*hosts: Host, **changes: Any) -> list[str]:
    first = placed(*hosts, **changes)[0]
    return [str(each) for each in topology_problems(first.service, first.members)]


def test_tensor_parallelism_over_hosts_needs_a_fast_fabric():
    expected = (
        "services.chat.tensor_parallel_size: 16 reaches over 2 hosts, and every layer's all-reduces with it, but TCP "
        "joins them; use tensor_parallel_size=8 and pipeline_parallel_size=2, or declare the hosts' faster fabric: "
        "infiniband, roce or efa"
    )
    assert problems(node(1), node(2), nodes=2, tensor_parallel_size=16) == [expected]
    for fast in (FAST, {**FAST, "fabric": "roce"}, {"fabric": "efa"}):
        assert problems(node(1, **fast), node(2, **fast), nodes=2, tensor_parallel_size=16) == []


@pytest.mark.parametrize("sizes", [{"tensor_parallel_size": 16}, {"pipeline_parallel_size": 2}])
def test_the_hosts_of_a_replica_have_one_fabric(sizes):
    assert problems(node(1, **FAST), node(2), nodes=2, **sizes) == [
        "services.chat.hosts: a replica's hosts are joined by different fabrics: gpu-1 infiniband, gpu-2 ethernet; "
        "declare the one that joins them all as each host's fabric, or choose other hosts"
    ]
    assert problems(node(1, **FAST), node(2)) == []


def test_replicas_may_have_different_fabrics_and_each_is_looked_at():
    hosts = [node(1, **FAST), node(2, **FAST), node(3), node(4)]
    whole = fleet(
        service(hosts=[host.name for host in hosts], nodes=2, replicas=2, tensor_parallel_size=16),
        hosts=[*hosts, OPS_1],
    )
    (sizing,) = sizings(whole, place(whole))
    assert [each.path for each in sizing.contradictions] == ["services.chat.tensor_parallel_size"]


def test_what_the_mend_says_is_fine():
    assert problems(node(1), node(2), nodes=2, tensor_parallel_size=8, pipeline_parallel_size=2) == []
    assert problems(node(1), tensor_parallel_size=8) == []


def reasons(*hosts: Host, **changes: Any) -> list[str]:
    return list(topology_reasons(placed(*hosts, **changes)[0]))


@pytest.mark.parametrize(
    "host, wire",
    [
        ({"gpu": "h100-sxm"}, "NVLink"),
        ({"gpu": "h100-pcie"}, "PCIe"),
        ({"gpu": "l40s", "numa_nodes": [[0, 1], [2, 3]]}, "PCIe of one NUMA node"),
        ({"gpu": "h100-nvl", "nvlink_groups": [[0, 1], [2, 3]]}, "NVLink"),
        ({"gpu": "h100-nvl", "nvlink_groups": [[0], [1]]}, "PCIe between NVLink groups"),
        ({}, "what joins its GPUs"),
    ],
)
def test_the_wire_inside_a_host_is_named(host, wire):
    assert reasons(node(**host), tensor_parallel_size=2) == [
        f"tensor parallel 2 inside one host, over {wire}: two all-reduces a layer and step"
    ]


def test_the_wires_between_hosts_are_named():
    fast = [node(1, **FAST), node(2, **FAST)]
    assert reasons(*fast, nodes=2, tensor_parallel_size=16) == [
        "tensor parallel 16 over 2 hosts: two all-reduces a layer and step cross InfiniBand"
    ]
    between = "pipeline parallel 2 between hosts over {}: one activation a step"
    assert reasons(*fast, nodes=2, pipeline_parallel_size=2) == [between.format("InfiniBand")]
    assert reasons(node(1), node(2), nodes=2, pipeline_parallel_size=2) == [between.format("TCP")]
    efa = [node(1, fabric="efa"), node(2, fabric="efa")]
    assert reasons(*efa, nodes=2, pipeline_parallel_size=2) == [between.format("EFA")]


def test_the_hosts_that_ray_orders_are_not_ours_to_name():
    hosts = [node(number) for number in (1, 2, 3)]
    between = "pipeline parallel {} between hosts over TCP: one activation a step"
    assert reasons(*hosts[:2], nodes=2, pipeline_parallel_size=2, executor="ray") == [between.format(2)]
    assert reasons(*hosts, nodes=3, pipeline_parallel_size=3, executor="ray") == [
        between.format(3),
        "Ray orders the hosts: the first runs the first ranks, the others follow in no order of ours",
    ]


def test_each_host_of_data_parallel_ranks_has_whole_ones():
    two = placed(node(1), node(2), nodes=2, tensor_parallel_size=2, data_parallel_size=4)
    assert [rows(each) for each in two] == [
        [(0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 0, 1), (3, 1, 0, 1)],
        [(0, 0, 0, 2), (1, 1, 0, 2), (2, 0, 0, 3), (3, 1, 0, 3)],
    ]


RANKS = {"nodes": 2, "tensor_parallel_size": 4, "data_parallel_size": 4}


def of_experts(experts: int, *hosts: Host, **changes: Any) -> list[str]:
    first = placed(*hosts, **changes)[0]
    return [str(each) for each in expert_problems(first.service, first.members, experts)]


def test_experts_that_hosts_share_need_a_fast_fabric():
    assert of_experts(128, node(1), node(2), **RANKS) == [
        "services.chat.data_parallel_size: 4 ranks on 2 hosts share the experts, and every layer's tokens go to all of "
        "them, but TCP joins them; use tensor_parallel_size=8, pipeline_parallel_size=2 and data_parallel_size=1, or "
        "declare the hosts' faster fabric: infiniband, roce or efa"
    ]
    assert of_experts(128, node(1, **FAST), node(2, **FAST), **RANKS) == []
    assert of_experts(128, node(1), tensor_parallel_size=4, data_parallel_size=2) == []


def test_data_parallel_ranks_over_hosts_are_for_experts():
    fast = [node(1, **FAST), node(2, **FAST)]
    mend = "services.chat.data_parallel_size: 4 is over 2 hosts, and the model has no experts that their ranks could "
    assert of_experts(0, *fast, **RANKS) == [mend + "share; use nodes=1, data_parallel_size=2 and replicas=2"]
    assert of_experts(0, *fast, nodes=2, pipeline_parallel_size=2) == []
    made = fleet(
        service(hosts=["gpu-1", "gpu-2"], **RANKS), hosts=[*(node(n, gpu="h100-sxm", **FAST) for n in (1, 2)), OPS_1]
    )
    (sizing,) = sizings(made, place(made))
    assert [each.path for each in sizing.contradictions] == ["services.chat.data_parallel_size"]


def test_data_parallel_ranks_over_hosts_are_named():
    fast = [node(1, gpu="h100-sxm", **FAST), node(2, gpu="h100-sxm", **FAST)]
    assert reasons(*fast, nodes=2, tensor_parallel_size=2, pipeline_parallel_size=2, data_parallel_size=4) == [
        "tensor parallel 2 inside one host, over NVLink: two all-reduces a layer and step",
        "pipeline parallel 2 between GPUs: one activation a step",
        "data parallel 4 over 2 hosts: that many engines behind rank 0's port, and every layer's tokens cross "
        "InfiniBand to the experts",
    ]


def test_other_splits_are_named():
    assert reasons(node()) == []
    assert reasons(node(), pipeline_parallel_size=2, data_parallel_size=2) == [
        "pipeline parallel 2 between GPUs: one activation a step",
        "data parallel 2: that many engines behind one port",
    ]
