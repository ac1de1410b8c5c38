"""The names of metrics, labels and scrape jobs, each written once. vLLM's are those of 0.32 and 0.33."""

from __future__ import annotations

# Prometheus itself, a series a target: 1 when the last scrape succeeded
UP = "up"

# vLLM; labels `engine` (the data-parallel rank) and `model_name`. 0 to 1.
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"

# node exporter, its systemd collector; labels `name` (the unit) and `state`. 0 or 1.
UNIT_STATE = "node_systemd_unit_state"

# scrape jobs
VLLM = "vllm"
NODE = "node"
NVML = "nvml"
HAPROXY = "haproxy"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"

# labels of our targets
HOST = "host"
SERVICE = "service"
REPLICA = "replica"
