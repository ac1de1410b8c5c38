"""How long until all hosts have a model: from host to host in rounds, or all from one. `python -m bench.weights`.

Eight of the plain hosts, each with a link of 400 Mbit/s (a token bucket on its own interface), copy 200 MB that node-1
has, with the program that a deploy uses (`vllm_fleet/payload/peer_weights.py`), every byte checked.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from bench.__main__ import fresh_hosts
from lab.state import read_nodes
from vllm_fleet.planner.peers import source_of
from vllm_fleet.schema import Host

ROOT = Path(__file__).parents[1]
HOSTS = 8
MBIT = 400
MEGABYTES = 200
PORT = 8900
PROGRAM = "/tmp/peer_weights.py"

console = Console(highlight=False)


def on(host: str, command: str, stdin: bytes = b"") -> str:
    """What a command prints on a host, as root."""
    ssh = ["ssh", "-F", str(ROOT / ".lab/ssh/config"), host, f"sudo sh -c '{command}'"]
    return subprocess.run(ssh, input=stdin, stdout=subprocess.PIPE, check=True).stdout.decode()


def prepare(host: Host) -> None:
    program = (ROOT / "vllm_fleet/payload/peer_weights.py").read_bytes()
    on(host.name, f"cat > {PROGRAM}", program)
    on(host.name, f"tc qdisc replace dev host0 root tbf rate {MBIT}mbit burst 256kb latency 50ms")


def share(host: Host) -> None:
    unit = "systemd-run --quiet --collect --unit=share"
    on(host.name, f"systemctl is-active --quiet share || {unit} python3 {PROGRAM} share /srv {host.address} {PORT}")


def copy(to: Host, source: Host, sums: str) -> None:
    on(to.name, f"rm -rf /srv/model; python3 {PROGRAM} fetch http://{source.address}:{PORT}/model {sums} /srv/model")


def from_one(hosts: list[Host], sums: str) -> float:
    """Seconds until all have copied from the first, all at once."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: copy(host, hosts[0], sums), hosts[1:]))
    return time.monotonic() - began


def in_rounds(hosts: list[Host], sums: str) -> float:
    """Seconds until all have copied, as a deploy does it."""
    began = time.monotonic()
    turns = {host.name: source_of(hosts, host.name) for host in hosts}
    for number in range(1, 1 + max(turn for turn, _ in turns.values())):
        pairs = [(host, turns[host.name][1]) for host in hosts if turns[host.name][0] == number]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: _shared_copy(pair[0], pair[1], sums), pairs))
    return time.monotonic() - began


def _shared_copy(to: Host, source: Host | None, sums: str) -> None:
    assert source, "only the first host has none"
    share(source)
    copy(to, source, sums)


def main() -> None:
    fresh_hosts()
    facts = read_nodes()
    assert facts, "the hosts are up"
    hosts = [Host(name=name, address=address) for name, address in list(facts["hosts"].items())[:HOSTS]]
    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare, hosts))
    content = hashlib.shake_256(b"weights").digest(MEGABYTES // 4 * 1_000_000)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {number}.safetensors\n" for number in range(4)).encode()
    for number in range(4):
        on(hosts[0].name, f"mkdir -p /srv/model; cat > /srv/model/{number}.safetensors", content)
    on(hosts[0].name, "cat > /srv/model/SHA256SUMS", sums)
    digest = hashlib.sha256(sums).hexdigest()
    share(hosts[0])
    one = MEGABYTES * 8 / MBIT
    console.print(f"{MEGABYTES} MB over one link of {MBIT} Mbit/s: {one:.1f} s at best")
    alone, rounds = from_one(hosts, digest), in_rounds(hosts, digest)
    console.print(f"{HOSTS - 1} hosts from one: {alone:.1f} s, {alone / one:.1f} times one link's time")
    console.print(f"in rounds: {rounds:.1f} s, {rounds / one:.1f} times one link's time, {alone / rounds:.1f}x quicker")
    subprocess.run([sys.executable, "-m", "lab", "down"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
