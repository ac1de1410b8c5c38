"""Kernel settings of GPU hosts, each with its reason."""

from __future__ import annotations

from vllm_fleet import paths
from vllm_fleet.render.files import File, fill

SETTINGS = {
    # it unmaps pages to see who uses them, and those faults stall the threads that feed GPUs
    # (NVIDIA Grace CPU benchmarking guide, "Platform configuration")
    "kernel.numa_balancing": "0",
    # pages set aside are lost to the page cache that weights load through, and vLLM asks for none
    "vm.nr_hugepages": "0",
    # reading weights fills the page cache: it shall give way before the memory of engines that wait for requests does
    # (kernel documentation, admin-guide/sysctl/vm)
    "vm.swappiness": "10",
    # weights larger than one node's memory spill to the other node instead of being thrown out again (same page)
    "vm.zone_reclaim_mode": "0",
}
"""By their names for sysctl. A kernel without NUMA lacks some, and a container must leave them alone."""

SYSCTL = File(
    "/etc/sysctl.d/60-vllm-fleet-gpu.conf",
    "# What each is for stands in vllm_fleet/render/tuning.py.\n"
    + "".join(f"-{name} = {value}\n" for name, value in SETTINGS.items()),
)

LIMITS = File(
    "/etc/security/limits.d/60-vllm-fleet-gpu.conf",
    "# RDMA registers its buffers as locked memory. Engines have the same limits in their units; these are for people\n"
    "# and for what checks the network between hosts.\n"
    f"{paths.SERVICE_USER} - memlock unlimited\nroot - memlock unlimited\nroot - nofile 65535\n",
)

NOUVEAU = File(
    "/etc/modprobe.d/vllm-fleet-nouveau.conf",
    "# It takes the GPUs before NVIDIA's module can (NVIDIA driver installation guide).\n"
    "blacklist nouveau\noptions nouveau modeset=0\n",
)

UNIT = "vllm-fleet-gpu-host.service"


def unit_file() -> File:
    """What has no file of settings of its own: set once a boot."""
    return File(f"{paths.UNITS}/{UNIT}", fill("vllm-fleet-gpu-host.service.j2"))


def applied() -> str:
    """A read-only shell test: whether the kernel has the settings, or is not this host's own to set."""
    tests = [f'{{ [ ! -e {path} ] || [ "$(cat {path})" = {value} ]; }}' for path, value in _paths().items()]
    return f"systemd-detect-virt --quiet --container || {{ {' && '.join(tests)}; }}"


def _paths() -> dict[str, str]:
    return {f"/proc/sys/{name.replace('.', '/')}": value for name, value in SETTINGS.items()}


APPLY = f"sysctl --quiet --ignore --load {SYSCTL.path}"

# Every kernel's, for any may boot next.
INITRAMFS = "update-initramfs -u -k all"
INITRAMFS_IS_NEWER = (
    f"! command -v update-initramfs || {{ [ -e {NOUVEAU.path} ] && "
    f"[ -z \"$(find /boot -maxdepth 1 -name 'initrd.img-*' ! -newer {NOUVEAU.path})\" ]; }}"
)
"""A read-only shell test: whether NOUVEAU is in each initramfs, or there is none."""
