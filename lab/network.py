"""The bridge that joins the hosts and the mirrors. No route leads out of it, so no sysctl and no firewall rule
of the machine is changed: the hosts are air-gapped by construction."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from lab import shell
from lab.errors import LabError
from lab.topology import BRIDGE, BRIDGE_ADDRESS, PREFIX_LENGTH, SUBNET


def conflict(addresses: list[dict[str, Any]], routes: list[dict[str, Any]]) -> str:
    """The interface that already uses the lab's subnet, from `ip -json address` and `ip -json route`."""
    subnet = ipaddress.ip_network(SUBNET)
    for link in addresses:
        for info in link.get("addr_info", []):
            if link.get("ifname") != BRIDGE and ipaddress.ip_address(info["local"]) in subnet:
                return str(link["ifname"])
    for route in routes:
        if route["dst"] != "default" and route.get("dev") != BRIDGE:
            target = ipaddress.ip_network(route["dst"], strict=False)
            if target.version == 4 and target.overlaps(subnet):
                return str(route["dev"])
    return ""


def check() -> None:
    """Refuse early what would otherwise be seen as a host that never answers."""
    addresses = json.loads(shell.output(["ip", "-json", "-4", "address"]) or "[]")
    routes = json.loads(shell.output(["ip", "-json", "-4", "route"]) or "[]")
    if taken := conflict(addresses, routes):
        raise LabError(f"{SUBNET} is already in use on {taken}; change SUBNET and the addresses in lab/topology.py")
    if _firewalled() and "-P FORWARD DROP" in shell.output(["iptables", "-S", "FORWARD"]):
        raise LabError(
            "the machine's firewall drops bridged traffic (FORWARD policy DROP, as Docker sets it); stop Docker "
            f"or allow the bridge: iptables -I FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT"
        )


def _firewalled() -> bool:
    """Whether bridged packets go through the machine's iptables (the module br_netfilter is loaded and on)."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    return switch.exists() and switch.read_text().strip() == "1"


def exists() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()


def up(log: Path) -> None:
    """Make the bridge with the mirrors' address."""
    for argv in (
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "address", "add", f"{BRIDGE_ADDRESS}/{PREFIX_LENGTH}", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ):
        shell.logged(argv, log, f"making the bridge {BRIDGE}")


def down() -> None:
    """Remove the bridge and the hosts' ends of it (a host that was killed may leave its own for a moment)."""
    ports = Path("/sys/class/net", BRIDGE, "brif")
    for port in [path.name for path in ports.iterdir()] if ports.exists() else []:
        shell.quiet(["ip", "link", "delete", port])
    if exists():
        shell.quiet(["ip", "link", "delete", BRIDGE])
