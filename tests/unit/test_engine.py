"""The command line, environment and release of an engine, compared whole."""

import hashlib
import json
import os
import subprocess
from typing import Any

import pytest

from tests.unit.test_schema import IMAGE, OPS_1, fleet, service
from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.engine.command import start_command
from vllm_fleet.engine.environment import environment
from vllm_fleet.engine.release import Release, configuration, release
from vllm_fleet.engine.weights import fetch_command
from vllm_fleet.planner import Placement, place
from vllm_fleet.render.engine import secret_file, unit_file
from vllm_fleet.render.runtime import repository_files
from vllm_fleet.schema import AptRepository, Archive, Directory, Host, Hub, Secret, Venv

MODEL = "/var/lib/vllm-fleet/models/meta-llama--Llama-3.1-8B-Instruct/" + "a" * 40
COMMON = {
    "DG_JIT_CACHE_DIR": "/var/cache/vllm-fleet/chat/deep-gemm",
    "DO_NOT_TRACK": "1",
    "FLASHINFER_WORKSPACE_BASE": "/var/cache/vllm-fleet/chat/flashinfer",
    "HF_HOME": "/var/cache/vllm-fleet/chat/huggingface",
    "HF_HUB_OFFLINE": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/var/cache/vllm-fleet/chat/inductor",
    "TRITON_CACHE_DIR": "/var/cache/vllm-fleet/chat/triton",
    "VLLM_CACHE_ROOT": "/var/cache/vllm-fleet/chat/vllm",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "120",
    "VLLM_MAX_N_SEQUENCES": "64",
    "VLLM_NO_USAGE_STATS": "1",
}
OF_SECOND_HOST = {
    "VLLM_HOST_IP": "10.0.1.2",
    "NCCL_SOCKET_IFNAME": "=eth1",
    "GLOO_SOCKET_IFNAME": "eth1",
    "NCCL_IB_HCA": "mlx5_0",
}
NODES = [
    Host(name=f"gpu-{n}", address=f"10.0.1.{n}", groups=("gpu",), gpus=8, interface="eth1", infiniband="mlx5_0")
    for n in (1, 2)
]


def only(**changes):
    return place(fleet(service(**changes), hosts=[*NODES, OPS_1]))[0]


def test_the_whole_argv_of_a_container():
    placement = only(
        tensor_parallel_size=2,
        max_model_len=8192,
        kv_cache_dtype="fp8",
        options={
            "max-num-seqs": 64,
            "async-scheduling": True,
            "enable-chunked-prefill": False,
            "speculative-config": {"method": "ngram", "num_speculative_tokens": 5},
            "lora-modules": ["a=/a", {"name": "b", "path": "/b"}],
            "structured-outputs-config.backend": None,
        },
    )
    assert start_command(placement) == [
        "/usr/bin/docker", "create", "--name", "vllm-chat", "--pull", "never", "--network", "host",
        "--shm-size", "16g", "--user", "2000:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--ulimit", "memlock=-1:-1", "--stop-signal", "SIGINT",
        "--env-file", "/etc/vllm-fleet/engines/chat/current/environment",
        "--volume", f"{MODEL}:{MODEL}:ro",
        "--volume", "/etc/vllm-fleet/engines/chat/secret.yaml:/etc/vllm-fleet/engines/chat/secret.yaml:ro",
        "--volume", "/var/cache/vllm-fleet/chat:/var/cache/vllm-fleet/chat",
        "--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1",
        IMAGE.image,
        MODEL, "--config", "/etc/vllm-fleet/engines/chat/secret.yaml",
        "--served-model-name", "meta-llama/Llama-3.1-8B-Instruct", "--host", "10.0.1.1", "--port", "8000",
        "--tensor-parallel-size", "2", "--dtype", "auto", "--gpu-memory-utilization", "0.92",
        "--max-model-len", "8192", "--kv-cache-dtype", "fp8", "--enable-prefix-caching",
        "--shutdown-timeout", "60", "--disable-fastapi-docs",
        "--disable-access-log-for-endpoints", "/health,/metrics",
        "--max-num-seqs", "64", "--async-scheduling", "--no-enable-chunked-prefill",
        "--speculative-config", '{"method":"ngram","num_speculative_tokens":5}',
        "--lora-modules", "a=/a", '{"name":"b","path":"/b"}',
    ]  # fmt: skip


def test_a_follower_of_a_model_that_spans_hosts():
    follower = place(
        fleet(
            service(hosts=["gpu-1", "gpu-2"], nodes=2, tensor_parallel_size=8, pipeline_parallel_size=2),
            hosts=[*NODES, OPS_1],
        )
    )[1]
    arguments = serve_arguments(follower)
    start = arguments.index("--tensor-parallel-size")
    assert arguments[start : arguments.index("--dtype")] == [
        "--tensor-parallel-size", "8", "--pipeline-parallel-size", "2", "--nnodes", "2", "--node-rank", "1",
        "--master-addr", "10.0.1.1", "--master-port", "29501", "--distributed-executor-backend", "mp",
        "--distributed-timeout-seconds", "300", "--headless",
    ]  # fmt: skip
    assert environment(follower) == COMMON | OF_SECOND_HOST
    command = start_command(follower)
    assert command[command.index("/dev/infiniband") - 1] == "--device"


def members(model: str, **changes: Any) -> list[Placement]:
    """The engines of a service of a model with experts, on both hosts."""
    values = {"model": Hub(name=model, revision="a" * 40), "hosts": ["gpu-1", "gpu-2"], **changes}
    return place(fleet(service(**values), hosts=[*NODES, OPS_1]))


def whole_argv(model: str, host: int, *parallel: str, port: int = 8000, instance: str = "chat") -> list[str]:
    return [
        f"/var/lib/vllm-fleet/models/{model.replace('/', '--')}/{'a' * 40}",
        "--config", f"/etc/vllm-fleet/engines/{instance}/secret.yaml",
        "--served-model-name", model, "--host", f"10.0.1.{host}", "--port", str(port), *parallel,
        "--dtype", "auto", "--gpu-memory-utilization", "0.92", "--enable-prefix-caching",
        "--shutdown-timeout", "60", "--disable-fastapi-docs",
        "--disable-access-log-for-endpoints", "/health,/metrics",
    ]  # fmt: skip


QWEN, DEEPSEEK = "Qwen/Qwen3-235B-A22B-Instruct-2507", "deepseek-ai/DeepSeek-V3"
MEET = ("--data-parallel-address", "10.0.1.1", "--data-parallel-rpc-port", "29550")


def test_data_parallel_ranks_on_each_of_two_hosts():
    head, follower = members(DEEPSEEK, nodes=2, data_parallel_size=16, expert_parallel=True)
    sizes = ("--data-parallel-size", "16", "--enable-expert-parallel", "--data-parallel-size-local", "8")
    assert serve_arguments(head) == whole_argv(
        DEEPSEEK, 1, *sizes, *MEET, "--distributed-timeout-seconds", "300"
    )  # fmt: skip
    assert serve_arguments(follower) == whole_argv(
        DEEPSEEK, 2, *sizes, "--data-parallel-start-rank", "8", *MEET, "--distributed-timeout-seconds", "300",
        "--headless",
    )  # fmt: skip
    assert environment(follower) == COMMON | OF_SECOND_HOST


def test_a_data_parallel_rank_of_several_gpus_on_each_of_two_hosts():
    sizes = (
        "--tensor-parallel-size", "4", "--pipeline-parallel-size", "2", "--data-parallel-size", "2",
        "--data-parallel-size-local", "1",
    )  # fmt: skip
    head, follower = members(
        QWEN, nodes=2, tensor_parallel_size=4, pipeline_parallel_size=2, data_parallel_size=2,
        data_parallel_rpc_port=29600, options={"distributed-timeout-seconds": 60, "api-server-count": 1},
    )  # fmt: skip
    meet = (*MEET[:3], "29600")
    mine = ["--distributed-timeout-seconds", "60"]
    assert serve_arguments(head) == [*whole_argv(QWEN, 1, *sizes, *meet), *mine, "--api-server-count", "1"]
    start = ("--data-parallel-start-rank", "1")
    assert serve_arguments(follower) == [*whole_argv(QWEN, 2, *sizes, *start, *meet, "--headless"), *mine]


def test_data_parallel_ranks_of_one_host_meet_nowhere():
    (only,) = members(QWEN, hosts=["gpu-1"], tensor_parallel_size=4, data_parallel_size=2, expert_parallel=True)
    assert serve_arguments(only) == whole_argv(
        QWEN, 1, "--tensor-parallel-size", "4", "--data-parallel-size", "2", "--enable-expert-parallel"
    )  # fmt: skip


def test_whole_experts_over_two_hosts_without_data_parallel_ranks():
    follower = members(QWEN, nodes=2, tensor_parallel_size=16, expert_parallel=True)[1]
    assert serve_arguments(follower) == whole_argv(
        QWEN, 2, "--tensor-parallel-size", "16", "--enable-expert-parallel", "--nnodes", "2", "--node-rank", "1",
        "--master-addr", "10.0.1.1", "--master-port", "29501", "--distributed-executor-backend", "mp",
        "--distributed-timeout-seconds", "300", "--headless",
    )  # fmt: skip


SPANNING = {"hosts": ["gpu-1", "gpu-2"], "nodes": 2, "tensor_parallel_size": 8, "pipeline_parallel_size": 2}
NODE = (
    "--num-gpus", "8", "--object-store-memory", "1073741824", "--min-worker-port", "0", "--max-worker-port", "0",
    "--dashboard-agent-listen-port", "0",
)  # fmt: skip


def on_ray(**changes: Any) -> list[Placement]:
    """The engines of a service over both hosts, with Ray."""
    return place(fleet(service(executor="ray", **{**SPANNING, **changes}), hosts=[*NODES, OPS_1]))


def test_with_ray_rank_0_starts_a_cluster_and_becomes_vllm():
    command = start_command(on_ray()[0])
    sh = command.index("--entrypoint")
    assert command[sh:] == [
        "--entrypoint", "sh", IMAGE.image, "-c",
        "trap exit INT; ray start --head --port 29520 --include-dashboard false --node-ip-address 10.0.1.1 "
        f'{" ".join(NODE)} && exec vllm serve "$@"',
        "sh",
        *whole_argv(
            "meta-llama/Llama-3.1-8B-Instruct", 1, "--tensor-parallel-size", "8", "--pipeline-parallel-size", "2",
            "--distributed-executor-backend", "ray", "--distributed-timeout-seconds", "300",
        ),
    ]  # fmt: skip
    with_mp = start_command(place(fleet(service(**SPANNING), hosts=[*NODES, OPS_1]))[0])
    assert command[:sh] == with_mp[: with_mp.index(IMAGE.image)]


def test_with_ray_the_other_ranks_only_join():
    head, follower = on_ray()
    command = start_command(follower)
    assert command[command.index("--entrypoint") :] == [
        "--entrypoint", "ray", IMAGE.image,
        "start", "--address", "10.0.1.1:29520", "--node-ip-address", "10.0.1.2", *NODE, "--block",
    ]  # fmt: skip
    assert environment(follower) == COMMON | OF_SECOND_HOST | {
        "RAY_ADDRESS": "10.0.1.1:29520",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    assert environment(head) == environment(follower) | {"VLLM_HOST_IP": "10.0.1.1"}


def test_with_ray_a_venv_starts_the_same_from_its_own_programs(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"vllm==0.33.0 --hash=sha256:{'0' * 64}\nray==2.60.0 --hash=sha256:{'0' * 64}\n")
    runtime = Venv(requirements=str(lock))
    programs = f"/var/lib/vllm-fleet/venvs/{runtime.digest}/bin"
    head, follower = on_ray(runtime=runtime, ray_port=6379)
    assert start_command(head) == [
        "sh", "-c",
        f"trap exit INT; {programs}/ray start --head --port 6379 --include-dashboard false "
        f'--node-ip-address 10.0.1.1 {" ".join(NODE)} && exec {programs}/vllm serve "$@"',
        "sh", *serve_arguments(head),
    ]  # fmt: skip
    assert start_command(follower) == [
        f"{programs}/ray", "start", "--address", "10.0.1.1:6379", "--node-ip-address", "10.0.1.2", *NODE, "--block",
    ]  # fmt: skip
    assert environment(follower)["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6,7"


def test_members_of_a_group_with_ray_know_each_other_by_one_version():
    engines = {json.loads(dict_of(release(one))["engine.json"])["group"]["version"] for one in on_ray()}
    others = {json.loads(dict_of(release(one))["engine.json"])["group"]["version"] for one in on_ray(ray_port=6379)}
    assert len(engines) == len(others) == 1
    assert engines != others


def dict_of(files: Release) -> dict[str, str]:
    return {name: content for name, _, content in files.files}


def test_what_ray_runs_is_sh_that_ends_where_ray_does_not_start(tmp_path):
    """The release's own script, with stand-ins for ray and vllm."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"ray==2.60.0 --hash=sha256:{'0' * 64}\n")
    runtime = Venv(requirements=str(lock))
    script = dict_of(release(on_ray(runtime=runtime)[0]))["start"]
    start = tmp_path / "start"
    start.write_text(script.replace(f"/var/lib/vllm-fleet/venvs/{runtime.digest}/bin", str(tmp_path)))
    for name, content in (("ray", 'exit "$RAY"'), ("vllm", "printf '%s\\n' \"$@\"")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    ran = [
        subprocess.run(["sh", str(start)], env={**os.environ, "RAY": status}, capture_output=True, text=True)
        for status in ("0", "3")
    ]
    assert [each.returncode for each in ran] == [0, 3]
    assert ran[0].stdout.splitlines() == ["serve", *serve_arguments(on_ray(runtime=runtime)[0])]
    assert ran[1].stdout == ""


def test_an_ipv6_cluster_is_joined_in_brackets():
    hosts = [Host(name=f"gpu-{n}", address=f"2001:db8::{n}", groups=("gpu",), gpus=8, interface="eth1") for n in (1, 2)]
    follower = place(fleet(service(executor="ray", **SPANNING), hosts=[*hosts, OPS_1]))[1]
    assert environment(follower)["RAY_ADDRESS"] == "[2001:db8::1]:29520"


@pytest.mark.parametrize(
    "declared, variables",
    [
        ({}, {"NCCL_IB_DISABLE": "1"}),
        ({"fabric": "ethernet"}, {"NCCL_IB_DISABLE": "1"}),
        ({"infiniband": "mlx5_0,mlx5_1"}, {"NCCL_IB_HCA": "mlx5_0,mlx5_1"}),
        ({"fabric": "roce", "infiniband": "mlx5_0"}, {"NCCL_IB_HCA": "mlx5_0"}),
        (
            {"fabric": "roce", "infiniband": "mlx5_0", "roce_gid_index": 3},
            {"NCCL_IB_HCA": "mlx5_0", "NCCL_IB_GID_INDEX": "3"},
        ),
        ({"fabric": "efa"}, {"FI_PROVIDER": "efa", "NCCL_NET": "Libfabric"}),
    ],
)
def test_the_fabric_between_the_hosts_says_what_nccl_may_use(declared, variables):
    hosts = [
        Host(name=f"gpu-{n}", address=f"10.0.1.{n}", groups=("gpu",), gpus=8, interface="eth1", **declared)
        for n in (1, 2)
    ]
    spanning = service(hosts=["gpu-1", "gpu-2"], nodes=2, tensor_parallel_size=8, pipeline_parallel_size=2)
    engine = place(fleet(spanning, hosts=[*hosts, OPS_1]))[0]
    ours = {name: value for name, value in environment(engine).items() if name.startswith(("NCCL", "GLOO", "FI_"))}
    assert ours == {"NCCL_SOCKET_IFNAME": "=eth1", "GLOO_SOCKET_IFNAME": "eth1", **variables}
    assert ("/dev/infiniband" in start_command(engine)) == ("NCCL_IB_DISABLE" not in variables)


def test_a_venv_sees_its_gpus_through_the_environment(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text("vllm==0.33.0 --hash=sha256:" + "0" * 64)
    placement = only(runtime=Venv(python="/usr/bin/python3.12", requirements=str(lock)), tensor_parallel_size=2)
    assert environment(placement)["CUDA_VISIBLE_DEVICES"] == "0,1"
    command = start_command(placement)
    assert command[0].startswith("/var/lib/vllm-fleet/venvs/")
    assert command[0].endswith("/bin/vllm")
    assert command[1:3] == ["serve", MODEL]


def on_islands(**changes):
    """An engine whose tensor parallel groups are pairs that NVLink joins: GPUs 1 and 5, then 2 and 6."""
    host = Host(name="gpu-1", address="10.0.1.1", groups=("gpu",), gpus=8, nvlink_groups=[[1, 5], [2, 6]])
    values = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, **changes}
    placement = place(fleet(service(**values), hosts=[host, OPS_1]))[0]
    assert placement.gpus == (1, 5, 2, 6)
    return placement


def test_a_venv_sees_its_gpus_in_the_order_of_their_ranks(tmp_path):
    lock = tmp_path / "lock.txt"
    lock.write_text("vllm==0.33.0 --hash=sha256:" + "0" * 64)
    placement = on_islands(runtime=Venv(python="/usr/bin/python3.12", requirements=str(lock)))
    assert environment(placement)["CUDA_VISIBLE_DEVICES"] == "1,5,2,6"


def test_a_container_numbers_its_gpus_by_their_bus_and_puts_them_in_the_order_of_their_ranks():
    placement = on_islands()
    # it is given 1, 2, 5 and 6 and calls them 0 to 3: 1 and 5 are its first and third
    assert environment(placement)["CUDA_VISIBLE_DEVICES"] == "0,2,1,3"
    command = start_command(placement)
    devices = [argument for argument in command if argument.startswith("nvidia.com/gpu=")]
    assert sorted(devices) == [f"nvidia.com/gpu={gpu}" for gpu in (1, 2, 5, 6)]


def test_a_container_whose_gpus_lie_in_order_is_told_nothing():
    assert "CUDA_VISIBLE_DEVICES" not in environment(only(tensor_parallel_size=4))


def test_what_the_service_sets_in_the_environment_wins():
    changed = environment(only(env={"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "30"}))
    assert changed == COMMON | {"VLLM_HOST_IP": "10.0.1.1", "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "30"}


def test_a_release_is_named_by_its_content():
    first, same, other = release(only()), release(only()), release(only(max_model_len=4096))
    assert first.id == same.id
    assert first.id != other.id
    assert first.directory == f"/etc/vllm-fleet/engines/chat/releases/{first.id}"


def test_engines_that_run_alike_have_one_configuration_and_a_release_each():
    hosts = [*NODES, OPS_1]
    replicas = place(fleet(service(hosts=["gpu-1", "gpu-2"], replicas=3), hosts=hosts))
    assert len({release(one).id for one in replicas}) == 3
    assert len({configuration(one) for one in replicas}) == 1
    ranks = place(fleet(service(hosts=["gpu-1", "gpu-2"], nodes=2, pipeline_parallel_size=2), hosts=hosts))
    assert len({configuration(one) for one in ranks}) == 1


def test_another_image_option_or_variable_is_another_configuration():
    other = IMAGE.model_copy(update={"image": IMAGE.image[:-1] + "f"})
    different = [{}, {"runtime": other}, {"options": {"max-num-seqs": 8}}, {"env": {"VLLM_LOGGING_LEVEL": "DEBUG"}}]
    assert len({configuration(only(**changes)) for changes in different}) == 4
    assert configuration(only()) == configuration(only(api_key=Secret(env="OTHER"), replicas=2))


def test_a_new_key_is_no_new_release():
    assert release(only()).id == release(only(api_key=Secret(env="OTHER"))).id


def test_the_start_script_runs_the_argv_as_it_is(tmp_path):
    placement = only(options={"speculative-config": {"model": 'it\'s a "quoted" $name'}})
    script = {name: content for name, _, content in release(placement).files}["start"]
    command = start_command(placement)
    program = tmp_path / "start"
    printed = script.replace("/usr/bin/docker", "printf '%s\\n'").replace("> /dev/null\nexec", "\ntrue")
    program.write_text(printed)
    ran = subprocess.run(["sh", str(program)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == command[1:]


def test_the_secret_is_only_in_its_own_file():
    placement = only()
    file = secret_file(placement, "sk-key")
    assert (file.path, file.content, file.mode, file.owner, file.secret) == (
        "/etc/vllm-fleet/engines/chat/secret.yaml", "api-key: sk-key\n", "0600", "vllm", True,
    )  # fmt: skip
    assert "sk-key" not in repr(file)


def test_the_unit_does_not_change_with_the_release():
    assert unit_file(only()).content == unit_file(only(max_model_len=4096, env={"A": "b"})).content


def test_weights_from_each_source_end_in_place_only_when_checked():
    sources = [
        Hub(name="a/b", revision="c" * 40, token=Secret(env="T")),
        Directory(name="a/b", path="/mnt/models/b", sha256="d" * 64),
        Archive(name="a/b", path="b.tar", sha256="e" * 64),
    ]
    commands = [fetch_command(only(model=source)) for source in sources]
    assert "--user 0:0" in commands[0]
    assert "HF_TOKEN_PATH=/etc/vllm-fleet/hub-token-chat" in commands[0]
    assert f"echo '{'d' * 64}  SHA256SUMS' | sha256sum --check --quiet" in commands[1]
    assert f"echo '{'e' * 64}  /var/tmp/vllm-fleet-{'e' * 40}.tar' | sha256sum --check --quiet" in commands[2]
    for command, source in zip(commands, sources, strict=True):
        final = f"/var/lib/vllm-fleet/models/{source.directory_name}"
        assert command.endswith(f"&& mv -T {final}.part {final}")
        assert " || " not in command


def test_an_archive_is_unpacked_with_sums_over_exactly_its_files(tmp_path, monkeypatch):
    """The fetch command itself, run twice over: with the right archive, and with one whose bytes changed."""
    (tmp_path / "weights").write_text("right")
    subprocess.run(["tar", "-cf", "model.tar", "weights"], cwd=tmp_path, check=True)
    content = (tmp_path / "model.tar").read_bytes()
    monkeypatch.setattr("vllm_fleet.paths.MODELS", str(tmp_path / "models"))
    archive = Archive(name="a/b", path="b.tar", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("vllm_fleet.engine.weights.archive_path", lambda _: str(tmp_path / "sent.tar"))
    placement = only(model=archive)
    command = fetch_command(placement).replace("chown -R root:root", "true")
    final = tmp_path / "models" / archive.directory_name
    (tmp_path / "sent.tar").write_bytes(content + b"x")
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0
    assert not final.exists()
    (tmp_path / "sent.tar").write_bytes(content)
    subprocess.run(["sh", "-c", command], check=True)
    assert sorted(file.name for file in final.iterdir()) == ["SHA256SUMS", "weights"]
    assert [line.split()[1] for line in (final / "SHA256SUMS").read_text().splitlines()] == ["./weights"]
    assert list(final.parent.iterdir()) == [final]


def test_a_directory_is_copied_and_a_changed_byte_refused(tmp_path, monkeypatch):
    """The fetch command itself, run: a directory whose SHA256SUMS is pinned but whose file was changed."""
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "weights").write_text("right")
    subprocess.run("sha256sum weights > SHA256SUMS", shell=True, cwd=origin, check=True)
    pinned = subprocess.run(
        ["sha256sum", "SHA256SUMS"], cwd=origin, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    monkeypatch.setattr("vllm_fleet.paths.MODELS", str(tmp_path / "models"))
    placement = only(model=Directory(name="a/b", path=str(origin), sha256=pinned))
    command = fetch_command(placement).replace("chown -R root:root", "true")
    final = tmp_path / "models" / placement.service.model.directory_name
    (origin / "weights").write_text("wrong")
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0
    assert not final.exists()
    (origin / "weights").write_text("right")
    subprocess.run(["sh", "-c", command], check=True)
    assert (final / "weights").read_text() == "right"


def test_of_an_extra_package_source_only_the_named_packages_are_taken():
    repository = AptRepository(
        line="deb [signed-by=/etc/apt/keyrings/vllm-fleet-docker.asc] https://mirror.example:8443/docker trixie stable",
        packages=["docker-ce", "docker-ce-cli"],
        key="KEY",
    )
    assert {file.path: file.content for file in repository_files(repository)} == {
        "/etc/apt/sources.list.d/vllm-fleet-docker.list": repository.line + "\n",
        "/etc/apt/preferences.d/vllm-fleet-docker": (
            'Package: *\nPin: origin "mirror.example"\nPin-Priority: 1\n\n'
            'Package: docker-ce docker-ce-cli\nPin: origin "mirror.example"\nPin-Priority: 990\n'
        ),
        "/etc/apt/keyrings/vllm-fleet-docker.asc": "KEY",
    }
