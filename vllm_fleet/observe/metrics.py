"""The names of metrics, labels and scrape jobs, each written once. vLLM's are those of 0.32 and 0.33."""

from __future__ import annotations

import re

# Prometheus, a series a target: 1 when the last scrape succeeded
UP = "up"

# Prometheus, a series an alert that waits or fires; labels `alertname`, `alertstate` (pending, firing) and the alert's
ALERTS = "ALERTS"

# vLLM; labels `engine` (the data-parallel rank) and `model_name`
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"  # 0 to 1
REQUESTS_RUNNING = "vllm:num_requests_running"
REQUESTS_WAITING = "vllm:num_requests_waiting"
REQUESTS_WAITING_BY_REASON = "vllm:num_requests_waiting_by_reason"  # label `reason`: capacity, deferred
ITERATIONS = "vllm:iteration_tokens_total_count"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
GENERATION_TOKENS = "vllm:generation_tokens_total"
PREEMPTIONS = "vllm:num_preemptions_total"
REQUESTS_FINISHED = "vllm:request_success_total"  # label `finished_reason`
ADMISSION_REJECTIONS = "vllm:admission_rejections_total"  # label `reason`, but no `engine`
PREFIX_CACHE_QUERIES = "vllm:prefix_cache_queries_total"  # tokens
PREFIX_CACHE_HITS = "vllm:prefix_cache_hits_total"  # tokens
# histograms in seconds, without `_bucket`, `_count` and `_sum`
TTFT = "vllm:time_to_first_token_seconds"
ITL = "vllm:inter_token_latency_seconds"
E2E = "vllm:e2e_request_latency_seconds"
QUEUE_TIME = "vllm:request_queue_time_seconds"
PREFILL_TIME = "vllm:request_prefill_time_seconds"
DECODE_TIME = "vllm:request_decode_time_seconds"
# histograms in tokens
PROMPT_LENGTH = "vllm:request_prompt_tokens"
OUTPUT_LENGTH = "vllm:request_generation_tokens"
# vLLM's API server; labels `handler`, `method` and `status` (2xx ...). Not there before the first request.
HTTP_REQUESTS = "http_requests_total"

# HAProxy; labels `proxy` (for backends the service) and `code` (1xx ... 5xx, other)
BACKEND_RESPONSES = "haproxy_backend_http_responses_total"
SERVER_RESPONSES = "haproxy_server_http_responses_total"
BACKEND_QUEUE_TIME = "haproxy_backend_queue_time_average_seconds"  # the mean of the last 1024 requests

# node exporter
UNIT_STATE = "node_systemd_unit_state"  # labels `name` (the unit) and `state`; 0 or 1
UNIT_RESTARTS = "node_systemd_service_restart_total"  # label `name`
# which of them are engines': the bundle's own are vllm-fleet-NAME.service
ENGINE_UNITS = 'name=~"vllm-.+", name!~"vllm-fleet-.+"'
FREE_BYTES = "node_filesystem_avail_bytes"  # label `mountpoint`
SIZE_BYTES = "node_filesystem_size_bytes"
OOM_KILLS = "node_vmstat_oom_kill"
CLOCK_SECONDS = "node_time_seconds"
CPU_SECONDS = "node_cpu_seconds_total"  # labels `cpu` and `mode`
RAM_AVAILABLE = "node_memory_MemAvailable_bytes"
RAM_TOTAL = "node_memory_MemTotal_bytes"
DISK_READ = "node_disk_read_bytes_total"  # label `device`
DISK_WRITTEN = "node_disk_written_bytes_total"
NETWORK_RECEIVED = "node_network_receive_bytes_total"  # label `device`
NETWORK_SENT = "node_network_transmit_bytes_total"

# our GPU exporter; labels `gpu` and `uuid` but for the first four
GPU_TELEMETRY_UP = "nvml_up"
GPU_TELEMETRY_AGE = "nvml_snapshot_age_seconds"
GPUS_DECLARED = "nvml_gpus_declared"
GPUS_VISIBLE = "nvml_gpus_visible"
GPU_UP = "nvml_gpu_up"
GPU_INFO = "nvml_gpu_info"  # labels `name`, `pci`, `serial`, `vbios` and `driver`
GPU_MEMORY_TOTAL = "nvml_memory_total_bytes"
GPU_MEMORY_USED = "nvml_memory_used_bytes"
GPU_PROCESS_MEMORY = "nvml_process_memory_bytes"  # label UNIT: of whose process
GPU_ACTIVITY = "nvml_activity_ratio"  # label `unit`: sm, tensor, dram ...
GPU_TEMPERATURE = "nvml_temperature_celsius"  # label `sensor`: gpu, memory
GPU_POWER = "nvml_power_watts"
GPU_POWER_LIMIT = "nvml_power_limit_watts"
GPU_XIDS = "nvml_xid_errors_total"  # label `xid`
GPU_XID_LAST = "nvml_xid_last_timestamp_seconds"  # label `xid`
GPU_RECOVERY_ACTION = "nvml_recovery_action"  # keys of gpu_faults.RECOVERY_ACTIONS, 0 for none
GPU_ECC_ERRORS = "nvml_ecc_errors_total"  # labels `type` (corrected, uncorrected) and `scope` (volatile, aggregate)
GPU_ROW_REMAP_PENDING = "nvml_row_remap_pending"
GPU_ROW_REMAP_FAILURE = "nvml_row_remap_failure"
GPU_THROTTLE_SECONDS = "nvml_throttle_seconds_total"  # label `reason`
GPU_NVLINK_UP = "nvml_nvlink_up"  # label `link`
GPU_NVLINK_ERRORS = "nvml_nvlink_errors_total"  # labels `link` and `type`
GPU_NVLINK_SENT = "nvml_nvlink_transmitted_bytes_total"  # label `link`
GPU_NVLINK_RECEIVED = "nvml_nvlink_received_bytes_total"  # label `link`
GPU_PCIE_WIDTH = "nvml_pcie_link_width"
GPU_PCIE_WIDTH_MAX = "nvml_pcie_link_width_max"

# ours, through the node exporter's text files; labels SERVICE, REPLICA and UNIT unless said. As a deploy declares it:
ENGINE_INFO = "vllm_fleet_engine_info"  # also `rank`, RELEASE, CONFIGURATION, TRACK, `vllm_version`; every rank
GROUP_SIZE = "vllm_fleet_group_size"  # hosts of a replica that spans hosts; every rank
KV_CACHE_PLANNED = "vllm_fleet_kv_cache_planned_tokens"  # each data parallel rank's; not where it cannot be sized
SERVICE_REPLICAS = "vllm_fleet_service_replicas"  # SERVICE alone, the same on each monitoring host
# as payload/engine_facts finds it
FACTS_TIMESTAMP = "vllm_fleet_engine_facts_timestamp_seconds"
RUNNING_INFO = "vllm_fleet_engine_running_info"  # also RELEASE: what the process was started with
KV_CACHE_TOKENS = "vllm_fleet_kv_cache_tokens"  # also `engine`
PROBE_SUCCESS = "vllm_fleet_probe_success"  # 0 or 1; only while it serves
PROBE_SECONDS = "vllm_fleet_probe_seconds"
ENGINE_PHASE = "vllm_fleet_engine_phase_info"  # also `phase`: how far its start got, or how it ended
# ours, from files that the node exporter reads; label `certificate`: what clients call the gateway
CERTIFICATE_EXPIRY = "vllm_fleet_certificate_expiry_timestamp_seconds"

# the watchers of themselves
NOTIFICATION_ERRORS = "prometheus_notifications_errors_total"
NOTIFICATIONS_FAILED = "alertmanager_notifications_failed_total"

# what our recording rules make; labels SERVICE and SLO (ttft, itl, errors)
SLO_EVENTS = "service:slo_events:rate5m"  # a second
SLO_BAD_EVENTS = "service:slo_bad_events:rate5m"  # a second
SLO_BUDGET = "service:slo_budget:ratio"  # the share of events that may be bad
SLO_BURN = "service:slo_burn:rate"  # followed by its window; in budgets: 1 uses it up exactly

# scrape jobs
VLLM = "vllm"
NODE = "node"
NVML = "nvml"
HAPROXY = "haproxy"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"
GRAFANA = "grafana"

# labels of our targets
HOST = "host"
SERVICE = "service"
REPLICA = "replica"
UNIT = "unit"
RELEASE = "release"  # an engine's own: addresses and GPUs are in it
TRACK = "track"
STABLE = "stable"  # the track of all engines
CONFIGURATION = "configuration"  # the same for engines that run alike
# of the GPU exporter: NVML's index
GPU = "gpu"
# and of our recordings
SLO = "slo"

JOB_OF_PREFIX = {
    "vllm:": VLLM,
    "node_": NODE,
    "nvml_": NVML,
    "haproxy_": HAPROXY,
    "prometheus_": PROMETHEUS,
    "alertmanager_": ALERTMANAGER,
}
"""Who exposes a metric; ours are left to EngineFactsStale."""
NOT_EVERYWHERE = frozenset(
    {
        *(GPU_XID_LAST, GPU_PROCESS_MEMORY),  # of a GPU that has had an XID, or work
        *(GPU_NVLINK_UP, GPU_NVLINK_ERRORS),  # of one with NVLink
        *(GPU_ECC_ERRORS, GPU_ROW_REMAP_PENDING, GPU_ROW_REMAP_FAILURE),  # not of GeForce, nor remapping before Ampere
        *(GPU_THROTTLE_SECONDS, GPU_RECOVERY_ACTION),  # of a driver that counts and tells so
    }
)
"""What a healthy target may lack."""
_METRIC = re.compile(rf"\b(?:{'|'.join(JOB_OF_PREFIX)})[a-zA-Z0-9_:]+")


def metrics_in(expression: str) -> list[str]:
    """The metrics that targets must expose for a PromQL expression, in its order and with repetitions; not
    `http_requests_total`, which an idle engine does not have."""
    return _METRIC.findall(expression)
