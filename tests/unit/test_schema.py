"""Every way a configuration can be wrong is one line with the path and the mend."""

from types import SimpleNamespace

import pytest

from vllm_fleet.schema import (
    ConfigError,
    Container,
    Fleet,
    Gateway,
    Host,
    Hub,
    Monitoring,
    Secret,
    Service,
    Slo,
    Venv,
    hosts_of,
)

LLAMA = Hub(name="meta-llama/Llama-3.1-8B-Instruct", revision="a" * 40)
IMAGE = Container(image=f"registry.example/vllm@sha256:{'0' * 64}", vllm="0.33")
GPU_1 = Host(name="gpu-1", address="10.0.0.1", groups=("gpu",), gpus=8)
OPS_1 = Host(name="ops-1", address="10.0.0.2", groups=("gateway", "monitoring"))


def host(**changes):
    values = {"name": "gpu-1", "address": "10.0.0.1", "groups": ("gpu",), "gpus": 8, "interface": "eth1"}
    return Host(**(values | changes))


def service(**changes):
    values = {"name": "chat", "model": LLAMA, "runtime": IMAGE, "hosts": ["gpu-1"], "api_key": Secret(env="KEY")}
    return Service(**(values | changes))


def fleet(*services, hosts=(GPU_1, OPS_1), **changes):
    values = {
        "hosts": list(hosts),
        "services": list(services),
        "gateway": Gateway(api_keys=[Secret(env="KEY")]),
        "monitoring": Monitoring(),
    }
    return Fleet(**(values | changes))


PAIR = [
    *(Host(name=f"gpu-{n}", address=f"10.0.1.{n}", groups=("gpu",), gpus=8, interface="eth0") for n in (1, 2)),
    OPS_1,
]


def spanning(*sizes: dict[str, object]) -> list[Service]:
    """Services over both hosts of PAIR, each with an API's and a group's port of its own."""
    return [
        service(name=name, served_name=name, hosts=["gpu-1", "gpu-2"], nodes=2, port=port, group_port=port + 1, **each)
        for name, port, each in zip("ab", (8100, 8200), sizes, strict=True)
    ]


ON_RAY = {"pipeline_parallel_size": 2, "executor": "ray"}


def on_ray(**changes):
    return service(**{"hosts": ["gpu-1", "gpu-2"], "nodes": 2, **ON_RAY, **changes})


def test_services_over_the_same_hosts_meet_at_ports_of_their_own_kind():
    fleet(*spanning({"data_parallel_size": 2}, {"pipeline_parallel_size": 2}), hosts=PAIR)
    fleet(*spanning(ON_RAY, {"pipeline_parallel_size": 2}), hosts=PAIR)


def error_of(build):
    with pytest.raises(ConfigError) as caught:
        build()
    return caught.value.message


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: service(tensor_paralel_size=2),
            "services.chat.tensor_paralel_size: unknown key; did you mean tensor_parallel_size?",
        ),
        (
            lambda: service(port="8000"),
            "services.chat.port: input should be a valid integer, got '8000'; give a port from 1 to 65535",
        ),
        (lambda: Service(name="chat"), "services.chat.model: is required; add it"),
        (
            lambda: service(hosts=["gpu-1", "gpu-1"]),
            "services.chat.hosts: names a host twice; use replicas to run several engines on one host",
        ),
        (
            lambda: Slo(ttft_seconds=3),
            "slo.ttft_seconds: 3 s is between two buckets of vLLM's histogram; use 1.0, 2.5 or 5.0",
        ),
        (
            lambda: Slo(itl_seconds=0.08),
            "slo.itl_seconds: 0.08 s is between two buckets of vLLM's histogram; use 0.05, 0.075 or 0.1",
        ),
        (
            lambda: Slo(ttft_objective=99),
            "slo.ttft_objective: input should be less than 1, got 99; give a share from 0.95 to below 1, as 0.99",
        ),
        (
            lambda: service(slo=0.99),
            "services.chat.slo: input should be a valid dictionary or instance of Slo, got 0.99; give Slo(...)",
        ),
        (
            lambda: service(nodes=2, tensor_parallel_size=2),
            "services.chat.nodes: 2 hosts a replica, but hosts names 1; add hosts",
        ),
        (
            lambda: service(nodes=2, hosts=["gpu-1", "gpu-2"], tensor_parallel_size=2, data_parallel_size=3),
            "services.chat.data_parallel_size: 3 ranks do not divide over 2 hosts, and each (tensor x pipeline "
            "parallel) must be on one of them; use a multiple of 2, or data_parallel_size=1",
        ),
        (
            lambda: service(options={"enable-expert-parallel": True}),
            "services.chat.options.enable-expert-parallel: is a field of the service; set expert_parallel instead",
        ),
        (
            lambda: service(options={"data-parallel-start-rank": 1}),
            "services.chat.options.data-parallel-start-rank: is set from the placement; remove it",
        ),
        (
            lambda: service(options={"max_num_seqs": 4}),
            "services.chat.options.max_num_seqs: write the option's long name without leading dashes: 'max-num-seqs'",
        ),
        (
            lambda: service(options={"api-key": "x"}),
            "services.chat.options.api-key: is a field of the service; set api_key instead",
        ),
        (
            lambda: service(options={"distributed-executor-backend": "ray"}),
            "services.chat.options.distributed-executor-backend: is a field of the service; set executor instead",
        ),
        (
            lambda: service(executor="ray"),
            "services.chat.executor: 'ray' is for a replica that spans hosts; remove it, or set nodes",
        ),
        (
            lambda: on_ray(device="cpu"),
            "services.chat.executor: 'ray' does not run vLLM on CPU; use 'mp'",
        ),
        (
            lambda: on_ray(pipeline_parallel_size=1, data_parallel_size=2),
            "services.chat.executor: 'ray' is not for data parallel ranks here; use 'mp'",
        ),
        (
            lambda: on_ray(env={"RAY_ADDRESS": "10.0.0.9:6379"}),
            "services.chat.env.RAY_ADDRESS: it is the first host's address and ray_port; set those",
        ),
        (
            lambda: fleet(*spanning(ON_RAY, ON_RAY), hosts=PAIR),
            "services.b.ray_port: port 29520 on gpu-1 is also services.a.ray_port's; give one of them another port",
        ),
        (
            lambda: service(env={"VLLM_SERVER_DEV_MODE": "1"}),
            "services.chat.env.VLLM_SERVER_DEV_MODE: it opens weight updates and remote calls to anyone who reaches "
            "the port; remove it",
        ),
        (
            lambda: Container(image="vllm/vllm-openai:latest", vllm="0.33"),
            r"container.image: string should match pattern '^[^\s@]+@sha256:[0-9a-f]{64}$', got "
            "'vllm/vllm-openai:latest'; give an image by digest: name@sha256:<64 hex digits>",
        ),
        (
            lambda: Hub(name="x/y", revision="main"),
            "hub.revision: string should match pattern '^[0-9a-f]{40}$', got 'main'; give the full commit, "
            "40 hex digits",
        ),
        (
            lambda: Hub(name="x/y", revision="a" * 40, endpoint="http://hub", token=Secret(env="T")),
            "hub.endpoint: a token would travel in clear text; use https:// or drop the token",
        ),
        (
            lambda: Host(name="gpu-1", address="gpu-1.local"),
            "hosts.gpu-1.address: 'gpu-1.local' is not an IP address; give the host's private address",
        ),
        (
            lambda: host(fabric="token-ring"),
            "hosts.gpu-1.fabric: input should be 'ethernet', 'roce', 'infiniband', 'efa' or 'nvlink', got "
            "'token-ring'; give one of ethernet, roce, infiniband, efa, nvlink",
        ),
        (
            lambda: host(fabric="roce"),
            "hosts.gpu-1.infiniband: is needed for fabric='roce', or NCCL takes every HCA, storage's too; name those "
            "that `ibdev2netdev` shows for this network: 'mlx5_0,mlx5_1'",
        ),
        (
            lambda: host(fabric="efa", infiniband="mlx5_0"),
            "hosts.gpu-1.infiniband: names HCAs, which fabric='efa' does not use; remove it, or set fabric to "
            "infiniband or roce",
        ),
        (
            lambda: host(infiniband="mlx5_0", roce_gid_index=3),
            "hosts.gpu-1.roce_gid_index: is for RoCE; remove it, or set fabric='roce'",
        ),
        (
            lambda: fleet(
                service(hosts=["gpu-1", "gpu-2"], nodes=2, pipeline_parallel_size=2),
                hosts=[host(fabric="nvlink"), host(name="gpu-2", address="10.0.0.3"), OPS_1],
            ),
            "hosts.gpu-1.fabric: 'nvlink' joins the GPUs of one host, and chat spans hosts; name what joins the "
            "hosts: ethernet, roce, infiniband or efa",
        ),
        (
            lambda: Gateway(api_keys=[Secret(env="K")], clients=["10.0.0.1/8"]),
            "gateway.clients: 10.0.0.1/8 has host bits set; write networks as 10.0.0.0/8 or 0.0.0.0/0",
        ),
        (
            lambda: Gateway(api_keys=[Secret(env="K")], ca="ca.pem"),
            "gateway.ca: has no use without a certificate; declare gateway.certificate, or remove it",
        ),
        (
            lambda: Gateway(api_keys=[Secret(env="K")], name="https://llm.example.net"),
            "gateway.name: string should match pattern '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$', got "
            "'https://llm.example.net'; give a DNS name, as llm.example.net",
        ),
        (lambda: Secret(), "secret.env: a secret has exactly one source; set one of env, file or command"),
        (
            lambda: Venv(requirements="/nonexistent/lock.txt"),
            "venv.requirements: cannot read /nonexistent/lock.txt (No such file or directory); "
            "write the lock file there",
        ),
        (
            lambda: fleet(service(hosts=["gpu-9"])),
            "services.chat.hosts: 'gpu-9' is not in the inventory's group 'gpu'; add it there, or use gpu-1",
        ),
        (
            lambda: fleet(service(), service(name="b", served_name="b")),
            "services.b.port: port 8000 on gpu-1 is also services.chat.port's; give one of them another port",
        ),
        (
            lambda: fleet(*spanning({"data_parallel_size": 2}, {"data_parallel_size": 2}), hosts=PAIR),
            "services.b.data_parallel_rpc_port: port 29550 on gpu-1 is also services.a.data_parallel_rpc_port's; give "
            "one of them another port",
        ),
        (
            lambda: fleet(service(), service(port=8001, served_name="b")),
            "services.#2.name: 'chat' is also that of #1; make them different",
        ),
        (
            lambda: fleet(service(), service(name="b", port=8001)),
            "services.b.served_name: 'meta-llama/Llama-3.1-8B-Instruct' is also that of chat; make them different",
        ),
        (
            lambda: fleet(service(), hosts=[GPU_1]),
            "hosts: no host is in the inventory group 'gateway'; add that list to the inventory",
        ),
        (
            lambda: fleet(service(port=22)),
            "services.chat.port: port 22 on gpu-1 is also hosts.gpu-1.ssh_port's; give one of them another port",
        ),
        (
            lambda: fleet(service(port=9400)),
            "services.chat.port: port 9400 on gpu-1 is also monitoring.gpu_exporter_port's; give one of them another "
            "port",
        ),
    ],
)
def test_a_mistake_is_one_line_with_path_and_mend(build, message):
    assert error_of(build).splitlines()[0] == message


def test_every_mistake_of_one_object_is_told_at_once():
    lines = error_of(lambda: service(port="80", max_model_len=0)).splitlines()
    assert [line.split(":")[0] for line in lines] == ["services.chat.max_model_len", "services.chat.port"]


@pytest.mark.parametrize("content", ["", " \n", "two words"])
def test_a_secret_without_a_usable_value_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content)
    assert error_of(lambda: Secret(file=str(file)).read("services.chat.api_key")).startswith("services.chat.api_key: ")


def test_secrets_are_read_from_all_three_sources(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    monkeypatch.setenv("A_KEY", "from-env")
    secrets = [Secret(file=str(file)), Secret(env="A_KEY"), Secret(command="echo from-command")]
    assert [secret.read("x") for secret in secrets] == ["from-file", "from-env", "from-command"]


def test_a_secret_of_several_lines_is_read_as_text(monkeypatch):
    monkeypatch.setenv("PEM", "one line\nanother\n")
    assert Secret(env="PEM").read_text("x") == "one line\nanother"
    monkeypatch.setenv("PEM", " \n")
    assert error_of(lambda: Secret(env="PEM").read_text("x")).startswith("x: the secret from environment variable PEM")


@pytest.mark.parametrize(
    "secret, message",
    [
        (Secret(env="NOT_SET_ANYWHERE"), "x: environment variable NOT_SET_ANYWHERE is not set; "),
        (Secret(file="/nonexistent"), "x: cannot read file /nonexistent (No such file or directory); "),
        (Secret(command="false --token=hunter2"), "x: the secret from command false"),
        (Secret(command="/nonexistent hunter2"), "x: command /nonexistent did not run"),
    ],
)
def test_a_secret_that_cannot_be_read_says_where_it_was_looked_for(secret, message):
    text = error_of(lambda: secret.read("x"))
    assert text.startswith(message.replace("the secret from command false", "command false ended with 1"))
    assert "hunter2" not in text


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("KEY", "hunter2")
    whole = fleet(service(api_key=Secret(command="echo hunter2")))
    whole.engine_keys()
    assert "hunter2" not in repr(whole) + str(whole) + str(whole.to_json())
    assert whole.to_json()["services"][0]["api_key"] == "<secret>"


def test_one_missing_secret_anywhere_is_found_at_once(monkeypatch):
    monkeypatch.setenv("KEY", "key")
    whole = fleet(service(), monitoring=Monitoring(page_webhook=Secret(env="NOT_SET_ANYWHERE")))
    assert error_of(whole.check_deployable).startswith("monitoring.page_webhook: environment variable NOT_SET_ANYWHERE")


def test_what_joins_a_host_to_others_is_declared_or_told_by_its_hcas():
    assert host().joined_by == "ethernet"
    assert host(infiniband="mlx5_0").joined_by == "infiniband"
    assert host(infiniband="mlx5_0", fabric="roce").joined_by == "roce"


def test_hosts_come_from_the_inventory_groups_with_pyinfra_keys_left_out():
    inventory = SimpleNamespace(
        gpu=[("gpu-1", {"address": "10.0.0.1", "gpus": 8, "ssh_hostname": "a.example", "ssh_port": 2222})],
        gateway=["gpu-1"],
        _private=["x"],
    )
    assert hosts_of(inventory) == [
        Host(name="gpu-1", address="10.0.0.1", groups=("gateway", "gpu"), gpus=8, ssh_port=2222)
    ]


def test_an_unknown_key_of_a_host_is_refused():
    inventory = SimpleNamespace(gpu=[("gpu-1", {"address": "10.0.0.1", "gpuss": 8})])
    assert error_of(lambda: hosts_of(inventory)) == "hosts.gpu-1.gpuss: unknown key; did you mean gpus?"


def test_a_host_declared_twice_with_data_is_refused():
    data = {"address": "10.0.0.1"}
    inventory = SimpleNamespace(gpu=[("a", data)], gateway=[("a", data)])
    assert error_of(lambda: hosts_of(inventory)) == "hosts.a: declared twice with data; keep the data in one group"


@pytest.mark.parametrize(
    "line, held",
    [
        ("ray==2.60.0", True),
        ("ray[default]==2.60.0", True),
        ("ray @ https://wheels.example/ray-2.60.0.whl", True),
        ("ray-lightning==0.3", False),
        ("    # via ray", False),
    ],
)
def test_ray_must_be_in_the_lock_file(tmp_path, line, held):
    lock = tmp_path / "lock.txt"
    lock.write_text(f"vllm==0.33.0 --hash=sha256:{'0' * 64}\n{line}\n")
    runtime = Venv(requirements=str(lock))
    service(runtime=runtime)
    if held:
        on_ray(runtime=runtime)
    else:
        assert error_of(lambda: on_ray(runtime=runtime)) == (
            f"services.chat.runtime.requirements: {lock} does not pin ray, which vLLM does not bring; add it to the "
            "lock file, or use executor='mp'"
        )
