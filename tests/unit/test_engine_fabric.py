"""engine/fabric.py: the check that each member runs, whole, and what its answers come to."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from tests.fleets import IMAGE, example_fleet
from vllm_fleet import paths
from vllm_fleet.engine.command import venv_directory
from vllm_fleet.engine.environment import environment
from vllm_fleet.engine.fabric import fabric_digest, proof_command, proof_of
from vllm_fleet.planner.placement import Placement, place, ranks_of
from vllm_fleet.schema import Venv

MEMBERS = [one for one in place(example_fleet()) if one.service.name == "large"]
CHECK = [
    "-B", "-m", "fabric_check", "--rank", "1", "--world", "2", "--address", "10.0.0.11", "--port", "8901",
    "--host-address", "10.0.0.12", "--interface", "eth0", "--device", "cuda", "--local-gpus", "4",
]  # fmt: skip


def test_a_container_gets_what_the_engine_gets() -> None:
    variables = [part for name, value in environment(MEMBERS[1]).items() for part in ("--env", f"{name}={value}")]
    assert "NCCL_SOCKET_IFNAME==eth0" in variables
    assert shlex.split(proof_command(MEMBERS[1], 8901)) == [
        "/usr/bin/docker", "run", "--rm", "--pull", "never", "--network", "host", "--shm-size", "16g",
        "--user", "2000:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ulimit", "memlock=-1:-1",
        *[part for gpu in MEMBERS[1].gpus for part in ("--device", f"nvidia.com/gpu={gpu}")],
        "--workdir", "/usr/local/lib/vllm-fleet",
        "--volume", "/usr/local/lib/vllm-fleet/fabric_check:/usr/local/lib/vllm-fleet/fabric_check:ro",
        *variables, "--entrypoint", "python3", IMAGE, *CHECK,
    ]  # fmt: skip


def test_a_virtual_environment_is_asked_by_its_own_python(tmp_path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("vllm==0.33.0 --hash=sha256:00\n")
    venv = Venv(requirements=str(lock))
    member = in_venv(MEMBERS[1], venv)
    command = proof_command(member, 8901)
    assert command.startswith(f"cd {paths.PROGRAMS} && env ")
    words = shlex.split(command)
    assert words[words.index(f"{venv_directory(venv)}/bin/python") + 1 :] == CHECK


def in_venv(member: Placement, venv: Venv) -> Placement:
    return replace(member, service=member.service.model_copy(update={"runtime": venv}))


def test_a_declared_bandwidth_is_asked_for() -> None:
    fast = replace(MEMBERS[0], host=MEMBERS[0].host.model_copy(update={"fabric_gbit": 350.0}))
    assert proof_command(fast, 8901).split()[-2:] == ["--expect-gbit", "350"]


def test_the_digest_is_that_of_the_network_alone() -> None:
    first = MEMBERS[0]
    assert fabric_digest(MEMBERS[1]) == fabric_digest(first)
    longer = replace(first, service=first.service.model_copy(update={"max_model_len": 4096}))
    assert fabric_digest(longer) == fabric_digest(first)
    for change in ({"interface": "eth1"}, {"address": "10.0.0.99"}, {"fabric": "efa"}):
        moved = replace(first, members=(first.members[0], first.members[1].model_copy(update=change)))
        assert fabric_digest(moved) != fabric_digest(first)


def test_the_ranks_of_a_replica_are_found_in_order() -> None:
    placements = place(example_fleet())
    assert [one.rank for one in ranks_of(placements, MEMBERS[1])] == [0, 1]


def report(rank: int, *findings: str, **more: object) -> str:
    said = {"rank": rank, "ok": not findings, "findings": [{"what": what, "mend": "do so"} for what in findings]}
    return "a line of docker's\n" + json.dumps(said | more) + "\n"


def test_what_rank_0_heard_is_told_once() -> None:
    found = "rank 1: there is no interface eth7"
    proof = proof_of({"gpu1": (report(0, found), "it failed"), "gpu2": (report(1, found), "it failed")})
    assert proof.problems == ("rank 1: there is no interface eth7; do so",)
    assert proof.gbit is None


def test_the_best_bandwidth_counts() -> None:
    speeds = [{"bytes": size, "bus_gigabytes_per_second": speed} for size, speed in ((1, 2.5), (2, 40.0), (4, 39.0))]
    proof = proof_of({"gpu1": (report(0, all_reduce=speeds), ""), "gpu2": (report(1), "")})
    assert (proof.problems, proof.gbit) == ((), 320.0)


def test_a_member_without_a_report_is_told_by_its_error() -> None:
    proof = proof_of({"gpu1": (report(0, "rank 1 did not come"), ""), "gpu2": ("", "No such image: x")})
    assert proof.problems == ("gpu2: the check did not run: No such image: x", "rank 1 did not come; do so")
    assert proof_of({"gpu1": ("[]\n", "")}).problems == ("gpu1: the check did not run: it printed no report",)
