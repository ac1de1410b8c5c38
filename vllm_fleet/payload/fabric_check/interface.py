"""The interface: whether it is the declared one, up, and as wide as the others'."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .findings import Finding, finding

SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFMTU = 0x8912, 0x8913, 0x8921
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFREQ_BYTES = 40
"""netdevice(7), on 64 bits."""
LINK_SECONDS = 3.0


@dataclass(frozen=True)
class Interface:
    """One network interface, as the kernel has it."""

    name: str
    up: bool
    link: bool
    mtu: int
    addresses: tuple[str, ...]


def interfaces() -> dict[str, Interface]:
    """Every interface of this network namespace by its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        addresses = _ipv4(handle) + _ipv6()
        return {name: _interface(handle, name, addresses) for _, name in socket.if_nameindex()}


def _interface(handle: socket.socket, name: str, addresses: list[tuple[str, str]]) -> Interface:
    request = struct.pack("16s24x", name.encode())
    (flags,) = struct.unpack_from("H", fcntl.ioctl(handle, SIOCGIFFLAGS, request), 16)
    (mtu,) = struct.unpack_from("i", fcntl.ioctl(handle, SIOCGIFMTU, request), 16)
    own = tuple(address for owner, address in addresses if owner == name)
    return Interface(name, bool(flags & IFF_UP), bool(flags & IFF_RUNNING), mtu, own)


def _ipv4(handle: socket.socket) -> list[tuple[str, str]]:
    room = array.array("B", bytes(IFREQ_BYTES * 1024))
    reply = fcntl.ioctl(handle, SIOCGIFCONF, struct.pack("iL", len(room), room.buffer_info()[0]))
    return parse_ipv4(room.tobytes()[: struct.unpack_from("i", reply)[0]])


def parse_ipv4(table: bytes) -> list[tuple[str, str]]:
    """Interface and address of each entry of SIOCGIFCONF's answer; a label (`eth0:1`) counts as its interface."""
    entries = [table[start : start + IFREQ_BYTES] for start in range(0, len(table), IFREQ_BYTES)]
    return [
        (entry[:16].split(b"\0")[0].decode().split(":")[0], socket.inet_ntop(socket.AF_INET, entry[20:24]))
        for entry in entries
    ]


def _ipv6() -> list[tuple[str, str]]:
    # not there where IPv6 is off
    path = Path("/proc/self/net/if_inet6")
    return parse_ipv6(path.read_text()) if path.exists() else []


def parse_ipv6(table: str) -> list[tuple[str, str]]:
    """Interface and address of each line of /proc/net/if_inet6."""
    fields = [line.split() for line in table.splitlines()]
    return [(each[5], str(ipaddress.IPv6Address(int(each[0], 16)))) for each in fields]


def settled(name: str) -> dict[str, Interface]:
    """Every interface, once this one has had LINK_SECONDS for its link: the kernel tells of it a moment after `up`."""
    end = time.monotonic() + LINK_SECONDS
    while (found := interfaces()).get(name) and found[name].up and not found[name].link and time.monotonic() < end:
        time.sleep(0.1)  # bounded above
    return found


def interface_findings(found: dict[str, Interface], name: str, address: str | None, mtu: int | None) -> list[Finding]:
    """What is wrong with the declared interface; the first thing alone, for the others follow from it.

    `address` is the host's declared one, None where nobody declared it.
    """
    holder = next((each.name for each in found.values() if address in each.addresses), None)
    is_on = f"{address} is on {holder}" if holder else f"no interface has {address}"
    if name not in found:
        what = f"there is no interface {name}; {is_on}" if address else f"there is no interface {name}"
        return [finding(what, f"declare interface={holder or ' or '.join(each for each in found if each != 'lo')}")]
    interface = found[name]
    # every interface has a link-local one, and nobody declares it
    has = ", ".join(each for each in interface.addresses if not each.startswith("fe80:")) or "no address"
    if not address:
        return [finding(f"{name} has {has}, and rank 0's is of another kind", "declare the host's address")]
    if address not in interface.addresses:
        mend = f"declare interface={holder}" if holder else f"declare the address that {name} has"
        return [finding(f"{name} has {has}, not {address}; {is_on}", mend)]
    if not interface.up:
        return [finding(f"{name} is down", f"ip link set {name} up, and have it come up at boot")]
    if not interface.link:
        return [finding(f"{name} has no link", "look at its cable, its switch port and `ethtool`")]
    if mtu and interface.mtu != mtu:
        return [finding(f"{name} has MTU {interface.mtu}, declared is {mtu}", f"ip link set {name} mtu {mtu}")]
    return []


def route_findings(found: dict[str, Interface], name: str, target: str, source: str | None) -> list[Finding]:
    """Whether the kernel sends from the declared interface to `target`; `source` is the address that it sends from."""
    if source is None:
        return [finding(f"there is no route to {target}", f"route it through {name}")]
    if name in found and source in found[name].addresses:
        return []
    taken = next((each.name for each in found.values() if source in each.addresses), "another interface")
    return [
        finding(
            f"the kernel reaches {target} through {taken} ({source}), not {name}",
            f"declare interface={taken} and that address, or route {target} through {name}",
        )
    ]


def source_for(target: str) -> str | None:
    """The address that the kernel would send from to `target`; None where there is no route. Sends nothing."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as handle:
        try:
            handle.connect((target, 9))
        except OSError:
            return None
        return str(handle.getsockname()[0])


def mtu_findings(members: list[dict[str, Any]]) -> list[Finding]:
    """Members whose MTU is not rank 0's: large packets of the one are lost at the other."""
    first = members[0]
    return [
        finding(
            f"MTU {first['mtu']} on {first['interface']}, but {each['mtu']} on {each['interface']} of rank "
            f"{each['rank']}",
            "set one MTU on both, and on the switch between them",
        )
        for each in members
        if each["mtu"] != first["mtu"]
    ]
