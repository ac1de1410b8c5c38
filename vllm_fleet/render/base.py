"""The few settings every host of the fleet has."""

from __future__ import annotations

from vllm_fleet import paths
from vllm_fleet.render.files import File

JOURNAL = File(
    "/etc/systemd/journald.conf.d/60-vllm-fleet.conf",
    "# Engines log every start in full; without a bound the journal takes a tenth of the disk.\n"
    "[Journal]\nStorage=persistent\nSystemMaxUse=2G\nSystemKeepFree=5G\n",
)

LIMITS = File(
    "/etc/security/limits.d/60-vllm-fleet.conf",
    "# A connection is a file; engines and gateway have the same limit in their units.\n"
    f"{paths.SERVICE_USER} - nofile 65535\n",
)

# Created by systemd-sysusers, at boot too.
USER = File(
    "/etc/sysusers.d/vllm-fleet.conf",
    f"g {paths.SERVICE_USER} {paths.SERVICE_UID}\n"
    f'u {paths.SERVICE_USER} {paths.SERVICE_UID}:{paths.SERVICE_UID} "vLLM engines" {paths.STATE} /usr/sbin/nologin\n',
)

SOMAXCONN = "/proc/sys/net/core/somaxconn"
SYSCTL = File(
    "/etc/sysctl.d/60-vllm-fleet.conf",
    "# vLLM's listen backlog is 2048 (uvicorn); the kernel cuts it to this.\nnet.core.somaxconn = 4096\n",
)
