"""Everything on one box: `pyinfra inventories/single.py deploy.py`."""

gpu = [
    ("box-1", {"address": "10.20.0.10", "ssh_hostname": "box-1.example.net", "gpus": 1, "gpu": "h100-pcie"}),
]

gateway = ["box-1"]

monitoring = ["box-1"]
