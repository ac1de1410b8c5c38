"""What the lab's hosts run: the same kinds of service as a real fleet, on CPU, with a tiny model.

Two replicas of `chat` in containers with weights from the lab's hub, `batch` in a virtual environment with weights sent
as an archive, and `pair`, one replica over both hosts: both runtimes, two ways for weights to travel, and a group.
"""

from lab.state import read as _read_state

_lab = _read_state()  # None while the lab is down: this file is then read for another inventory, and says nothing

if _lab:
    from inventories import lab as _inventory
    from vllm_fleet.planner import place as _place
    from vllm_fleet.schema import (
        AptRepository,
        Archive,
        Container,
        Drill,
        Fleet,
        Gateway,
        Grafana,
        Hub,
        Monitoring,
        Secret,
        Service,
        Venv,
        Versions,
        hosts_of,
    )

    # vLLM's CPU build: 1 GiB of KV cache, one thread that is not pinned (three engines share two cores), and no
    # compilation, for the image has no compiler
    _on_cpu = {
        "device": "cpu",
        # bfloat16 takes AMX where the processor names it, which some virtual machines then refuse (SIGILL)
        "dtype": "float32",
        "max_model_len": 1024,
        "options": {"max-num-seqs": 8, "enforce-eager": True},
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"},
        "api_key": Secret(file=".lab/secrets/engine-key"),
        "drain_seconds": 20,
        "start_seconds": 600,
    }

    # 0.32's CPU build fails at the second pipeline rank's first request (sync_and_gather_intermediate_tensors) unless
    # it has warmed up, which it does only where something is compiled; Dynamo's trace alone needs no compiler
    _traced = {"mode": 1, "backend": "eager"}
    _container = Container(image=_lab["engine_image"], vllm="0.32")
    _hub = Hub(
        name=_lab["model"]["repo"],
        revision=_lab["model"]["revision"],
        endpoint=_lab["hub_endpoint"],
        config=_lab["model"]["directory"],
    )

    fleet = Fleet(
        hosts=hosts_of(_inventory),
        services=[
            Service(
                name="chat",
                model=_hub,
                served_name="tiny-llama",
                runtime=_container,
                hosts=["gpu-1", "gpu-2"],
                replicas=2,
                **_on_cpu,
            ),
            Service(
                name="batch",
                model=Archive(
                    name="tiny-llama",
                    path=_lab["model"]["archive"],
                    sha256=_lab["model"]["archive_sha256"],
                    config=_lab["model"]["directory"],
                ),
                served_name="tiny-llama-batch",
                runtime=Venv(
                    python=_lab["python"],
                    requirements=_lab["engine_requirements"],
                    find_links=_lab["wheels_url"],
                ),
                hosts=["gpu-2"],
                port=8100,
                # little room and a short queue: some load fills them (`fleet drill`)
                **_on_cpu
                | {"options": _on_cpu["options"] | {"num-gpu-blocks-override": 10, "max-num-queued-reqs": 80}},
            ),
            Service(
                name="pair",
                model=_hub,
                served_name="tiny-llama-pair",
                runtime=_container,
                hosts=["gpu-1", "gpu-2"],
                nodes=2,
                pipeline_parallel_size=2,
                port=8200,
                **_on_cpu | {"options": {"max-num-seqs": 8, "compilation-config": _traced}},
            ),
        ],
        gateway=Gateway(
            api_keys=[Secret(file=".lab/secrets/client-key")],
            certificate=Secret(file=".lab/secrets/certificate.pem"),
            ca=".lab/secrets/ca.pem",
            clients=[_lab["subnet"]],
        ),
        monitoring=Monitoring(
            operators=[_lab["subnet"]],
            retention="2d",
            # simulated by a package of the lab's own, with Grafana's name (lab/grafana)
            grafana=Grafana(
                repository=AptRepository(line=_lab["grafana_apt"]["source"], packages=_lab["grafana_apt"]["packages"]),
                admin_password=Secret(file=".lab/secrets/grafana-password"),
            ),
            # the lab's own receiver
            page_webhook=Secret(command=f"echo {_lab['webhooks']}/page"),
            ticket_webhook=Secret(command=f"echo {_lab['webhooks']}/ticket"),
            watchdog_webhook=Secret(command=f"echo {_lab['webhooks']}/watchdog"),
        ),
        drill=Drill(receipts=_lab["webhooks"]),
        versions=Versions(
            insecure_registries=[_lab["registry"]],
            docker_repository=AptRepository(line=_lab["docker_apt"]["source"], packages=_lab["docker_apt"]["packages"])
            if _lab["docker_apt"]
            else None,
            nvidia_packages=[AptRepository(line=_lab["nvidia_apt"]["source"], packages=_lab["nvidia_apt"]["packages"])],
        ),
    )

    placements = _place(fleet)
