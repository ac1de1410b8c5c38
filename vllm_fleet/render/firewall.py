"""The host's nftables table and the unit that loads it."""

from __future__ import annotations

from vllm_fleet.network.firewall import Rule
from vllm_fleet.render.files import File, fill

TABLE = "/etc/vllm-fleet/firewall.nft"
UNIT = "vllm-fleet-firewall.service"

_FAMILIES = (("ip", "ipv4", 4, "0.0.0.0/0"), ("ip6", "ipv6", 6, "::/0"))


def table_file(rules: list[Rule]) -> File:
    """The whole table; loading it replaces ours in one transaction and touches no other."""
    lines = [line for rule in rules for line in _lines(rule)]
    return File(TABLE, fill("nftables.nft.j2", rules=lines))


def unit_file() -> File:
    """The unit that loads the table before the network is up."""
    return File(f"/etc/systemd/system/{UNIT}", fill("vllm-fleet-firewall.service.j2", table=TABLE))


def _lines(rule: Rule) -> list[str]:
    """One nftables rule for each address family that has sources."""
    lines = []
    for keyword, protocol, version, everything in _FAMILIES:
        sources = rule.of_family(version)
        if not sources:
            continue
        whence = f"meta nfproto {protocol}" if everything in sources else f"{keyword} saddr {_set(sources)}"
        where = "meta l4proto tcp" if rule.ports is None else f"tcp dport {_set(rule.ports)}"
        lines.append(f'{whence} {where} accept comment "{rule.why}"')
    return lines


def _set(values: tuple[object, ...]) -> str:
    return str(values[0]) if len(values) == 1 else "{ " + ", ".join(map(str, values)) + " }"
