"""A real fleet, as an example: edit the addresses, then `pyinfra inventories/prod.py deploy.py`.

Each list is a group and gives its hosts their roles: `gpu` runs engines, `gateway` answers clients, `monitoring`
watches. A host may be in several. What runs on them stands in group_data/prod.py.

    address      private address: engines listen on it, hosts talk to each other over it
    gpus         GPUs the fleet may use
    gpu          what they are (vllm_fleet/schema/gpu.py), so that `fleet plan` can tell what fits
    interface    interface of `address`; needed where a model spans hosts, so that NCCL never picks docker0
    infiniband   HCAs for NCCL; leave it out and NCCL uses TCP
    fabric       where that does not say it: roce (with infiniband's HCAs), efa, nvlink (no model spans this host)
    fabric_gbit  what an all-reduce with its peers must reach in Gbit/s, before a model that spans hosts may start
    ssh_*        pyinfra's own connection settings (ssh_hostname, ssh_user, ssh_key, ssh_port)
"""

_H100_NODE = {"gpus": 8, "gpu": "h100-sxm", "interface": "bond0", "infiniband": "mlx5_0,mlx5_1,mlx5_2,mlx5_3"}

gpu = [
    ("gpu-1", {"address": "10.20.0.11", "ssh_hostname": "gpu-1.example.net", **_H100_NODE}),
    ("gpu-2", {"address": "10.20.0.12", "ssh_hostname": "gpu-2.example.net", **_H100_NODE}),
    ("gpu-3", {"address": "10.20.0.13", "ssh_hostname": "gpu-3.example.net", **_H100_NODE}),
]

gateway = [
    ("gate-1", {"address": "10.20.0.21", "ssh_hostname": "gate-1.example.net"}),
    ("gate-2", {"address": "10.20.0.22", "ssh_hostname": "gate-2.example.net"}),
]

monitoring = [
    ("ops-1", {"address": "10.20.0.31", "ssh_hostname": "ops-1.example.net"}),
]
