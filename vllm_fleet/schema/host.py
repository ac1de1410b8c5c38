"""Hosts, read from a pyinfra inventory module without pyinfra."""

from __future__ import annotations

import ipaddress
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .base import Model, Name, Port
from .errors import ConfigError, FieldError
from .gpu import Gpu, gpu

GPU, GATEWAY, MONITORING = "gpu", "gateway", "monitoring"
"""The inventory groups that give a host its roles."""

Fabric = Literal["ethernet", "roce", "infiniband", "efa", "nvlink"]
VERBS = ("roce", "infiniband")
"""Fabrics whose HCAs NCCL opens itself, by InfiniBand's verbs."""
RDMA = (*VERBS, "efa")
"""Fabrics that pass the kernel's network by; their devices are those of /dev/infiniband."""


class Host(Model):
    """One machine. `address` is the private one, on which engines listen and hosts talk to each other."""

    name: Name
    address: str
    groups: tuple[str, ...] = ()
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    gpu: str | None = None
    """What the GPUs are, by a name of the catalogue (schema/gpu.py): `h100-sxm`."""
    nvlink_groups: list[list[int]] = []
    """Which GPUs NVLink joins, where it does not join all: `[[0, 1], [2, 3]]` for bridged pairs."""
    nvswitch: bool | None = None
    """Whether NVSwitches join its GPUs, which then need the fabric manager. None: see `has_nvswitch`."""
    numa_nodes: list[list[int]] = []
    """Which GPUs hang on the same processor: `[[0, 1, 2, 3], [4, 5, 6, 7]]`; `nvidia-smi topo -m` shows it."""
    interface: str | None = None
    """The network interface of `address`, for NCCL and Gloo; needed on hosts of models that span hosts."""
    fabric: Annotated[Fabric | None, Field(description="one of ethernet, roce, infiniband, efa, nvlink")] = None
    """What joins it to other hosts: `nvlink` says nothing does, for models inside it. None: see `joined_by`."""
    infiniband: str | None = None
    """The HCAs NCCL may use on InfiniBand and RoCE (NCCL_IB_HCA, e.g. `mlx5_0,mlx5_1`)."""
    roce_gid_index: Annotated[int, Field(ge=0, le=255, description="an index that show_gids lists")] | None = None
    """Which of an HCA's addresses RoCE uses, where NCCL's own choice (the RoCE v2 one) is wrong."""
    fabric_gbit: Annotated[float, Field(gt=0, description="Gbit/s, above 0")] | None = None
    """Bus bandwidth in Gbit/s that an all-reduce with its peers must reach; None: measured, not judged."""
    ssh_port: Port = 22

    @field_validator("address")
    @classmethod
    def _is_ip(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address; give the host's private address") from None

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str | None) -> str | None:
        try:
            return value and gpu(value).name and value
        except ConfigError as error:
            raise ValueError(error.message.removeprefix("gpu: ")) from None

    @model_validator(mode="after")
    def _islands(self) -> Host:
        for field in ("nvlink_groups", "numa_nodes"):
            named = [index for group in getattr(self, field) for index in group]
            if len(set(named)) != len(named) or not set(named) <= set(range(self.gpus)):
                raise FieldError(
                    field, f"names a GPU twice, or one that is not there; use each of 0 to {self.gpus - 1} once"
                )
        return self

    @model_validator(mode="after")
    def _fabric(self) -> Host:
        if self.joined_by in VERBS and not self.infiniband:
            raise FieldError(
                "infiniband",
                f"is needed for fabric={self.fabric!r}, or NCCL takes every HCA, storage's too; name those that "
                "`ibdev2netdev` shows for this network: 'mlx5_0,mlx5_1'",
            )
        if self.infiniband and self.joined_by not in VERBS:
            raise FieldError(
                "infiniband",
                f"names HCAs, which fabric={self.fabric!r} does not use; remove it, or set fabric to infiniband or "
                "roce",
            )
        if self.roce_gid_index is not None and self.joined_by != "roce":
            raise FieldError("roce_gid_index", "is for RoCE; remove it, or set fabric='roce'")
        return self

    @property
    def joined_by(self) -> Fabric:
        """The fabric between this host and others: the declared one, else InfiniBand where HCAs are named."""
        return self.fabric or ("infiniband" if self.infiniband else "ethernet")

    @property
    def has_nvswitch(self) -> bool:
        """As declared; else whether it has 8 or more GPUs with NVLink: HGX boards of 8 and 16 join them by switches,
        those of 4 directly (Fabric Manager user guide, "NVSwitch-based systems")."""
        if self.nvswitch is not None:
            return self.nvswitch
        return self.gpus >= 8 and self.card is not None and self.card.nvlink_bandwidth is not None

    @property
    def card(self) -> Gpu | None:
        """What its GPUs are, None where the inventory does not say."""
        return gpu(self.gpu) if self.gpu else None

    @classmethod
    def path_of(cls, data: dict[str, Any]) -> str:
        return f"hosts.{data.get('name', '?')}"


def hosts_of(inventory: ModuleType) -> list[Host]:
    """Every host of an inventory module: its module-level lists are groups, the tuples' second part its data.

    Keys that are pyinfra's own (`ssh_user`, `ssh_key`, `_sudo` ...) are left to pyinfra, except `ssh_port`,
    which the firewall needs too. Raises ConfigError for unknown keys or a host declared twice with data.
    """
    data: dict[str, dict[str, Any]] = {}
    groups: dict[str, set[str]] = {}
    for group, entries in vars(inventory).items():
        if group.startswith("_") or not isinstance(entries, list):
            continue
        for entry in entries:
            name, values = entry if isinstance(entry, tuple) else (entry, {})
            groups.setdefault(name, set()).add(group)
            if values and data.get(name):
                raise ConfigError(f"hosts.{name}: declared twice with data; keep the data in one group")
            data[name] = data.get(name) or _ours(values)
    return [Host(name=name, groups=tuple(sorted(groups[name])), **values) for name, values in data.items()]


def _ours(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key == "ssh_port" or not key.startswith(("ssh_", "_"))}
