"""Where things stand on a host: each path written once."""

CONFIG = "/etc/vllm-fleet"
ENGINES = f"{CONFIG}/engines"
DASHBOARDS = f"{CONFIG}/dashboards"
STATE = "/var/lib/vllm-fleet"
MODELS = f"{STATE}/models"
VENVS = f"{STATE}/venvs"
CACHES = "/var/cache/vllm-fleet"
PROGRAMS = "/usr/local/lib/vllm-fleet"
READINESS = f"{PROGRAMS}/readiness"
GROUP = f"{PROGRAMS}/group"
FABRIC_CHECK = f"{PROGRAMS}/fabric_check"
GPU_EXPORTER = f"{PROGRAMS}/nvml_exporter.pyz"
ENGINE_FACTS = f"{PROGRAMS}/engine_facts.pyz"
# holds, for each replica that spans hosts, what its rank 0 last proved (engine/fabric.py)
FABRIC_PROOFS = f"{STATE}/fabric"
UNITS = "/etc/systemd/system"
# whose *.prom files the node exporter shows, as Debian and Ubuntu build it (--help of 1.5.0 and 1.9.0)
TEXTFILES = "/var/lib/prometheus/node-exporter"

SERVICE_USER = "vllm"
# Fixed, so that a container's user owns the same files on every host. vLLM's image supports this pair (its HOME is
# group-0 writable): vLLM documentation, "Deployment with Docker", 0.32.
SERVICE_UID = 2000

# How the package in READINESS is called, with an instance and `--once` or `--wait`. It runs as root, so -P: nothing is
# imported from the directory it is called in; -B: no __pycache__ stays on the host.
READY_COMMAND = f"PYTHONPATH={PROGRAMS} python3 -B -P -m readiness"
# The same for the package in GROUP, with an instance.
GROUP_COMMAND = f"/usr/bin/env PYTHONPATH={PROGRAMS} python3 -B -P -m group"


def engine(instance: str) -> str:
    """The directory of one engine: its releases, the links `current` and `good`, and its secret."""
    return f"{ENGINES}/{instance}"


def secret(instance: str) -> str:
    """The vLLM configuration file that holds the API key."""
    return f"{engine(instance)}/secret.yaml"


def model(directory_name: str) -> str:
    """The local weights of one model and revision (`Weights.directory_name`)."""
    return f"{MODELS}/{directory_name}"


def cache(instance: str) -> str:
    """What an engine keeps across restarts: compiled graphs and kernels."""
    return f"{CACHES}/{instance}"
