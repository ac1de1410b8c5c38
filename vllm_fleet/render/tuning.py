"""Kernel settings of GPU hosts, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_fleet import paths
from vllm_fleet.render.files import File, fill


@dataclass(frozen=True)
class Setting:
    """One of sysctl's, and why it is set."""

    name: str
    value: str
    why: str


SETTINGS = (
    Setting(
        "kernel.numa_balancing", "0",
        "It unmaps pages to see who uses them, and those faults stall the threads that feed GPUs (NVIDIA Grace CPU\n"
        "# benchmarking guide, Platform configuration).",
    ),
    Setting("vm.nr_hugepages", "0", "What is set aside is lost to the cache weights load through; vLLM asks for none."),
    Setting(
        "vm.swappiness", "10",
        "Reading weights fills the page cache: that shall give way before engines do (kernel documentation,\n"
        "# admin-guide/sysctl/vm).",
    ),
    Setting(
        "vm.zone_reclaim_mode", "0",
        "Weights larger than one node's memory go on in the other's, instead of being thrown out again (same page).",
    ),
)  # fmt: skip

SYSCTL = File(
    "/etc/sysctl.d/60-vllm-fleet-gpu.conf",
    # the dash: a kernel without NUMA lacks some of them
    "\n".join(f"# {setting.why}\n-{setting.name} = {setting.value}\n" for setting in SETTINGS),
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
    files = {f"/proc/sys/{setting.name.replace('.', '/')}": setting.value for setting in SETTINGS}
    tests = [f'{{ [ ! -e {path} ] || [ "$(cat {path})" = {value} ]; }}' for path, value in files.items()]
    return f"systemd-detect-virt --quiet --container || {{ {' && '.join(tests)}; }}"


APPLY = f"sysctl --quiet --ignore --load {SYSCTL.path}"

# Every kernel's, for any may boot next.
INITRAMFS = "update-initramfs -u -k all"
INITRAMFS_IS_NEWER = (
    f"! command -v update-initramfs || {{ [ -e {NOUVEAU.path} ] && "
    f"[ -z \"$(find /boot -maxdepth 1 -name 'initrd.img-*' ! -newer {NOUVEAU.path})\" ]; }}"
)
"""A read-only shell test: whether NOUVEAU is in each initramfs, or there is none."""
