"""Whether the hosts of one model can talk as it will: the interface, the ports, then a real all-reduce.

    fabric_check.py --rank R --world N --address MASTER --port P --interface IF [--host-address A] [--mtu M]
                    [--device cuda|cpu] [--local-gpus K] [--expect-gbit X]

Runs on every member at the same time, with the engine's own interpreter and environment, so that the all-reduce takes
the libraries, variables and wires that the engine will take. It needs torch and Python's library, nothing else (an
engine's image has no `ip`, so the kernel is asked directly). `--rank` and `--world` count hosts; on each, one process a
GPU takes part (on CPU one). `--address` and `--port` are rank 0's; `--host-address` is the member's own declared one
(else VLLM_HOST_IP, which an engine's environment has).

Prints one JSON object: rank, ok, findings (each `what` is wrong and its `mend`, of all members that were heard),
backend, interface, mtu, and on rank 0 the measurements. Exit 0 when all is well with all members, else 1. Ends after
DEADLINE_SECONDS at the latest, and its processes with it.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import datetime
import fcntl
import ipaddress
import json
import os
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DEADLINE_SECONDS = 300.0
"""For all of it; importing torch from a cold disk is half a minute, 256 MiB over 1 Gbit/s a quarter."""
START_SECONDS = 30.0
"""How long members wait for each other to begin."""
CONNECT_SECONDS = 5.0
COLLECTIVE_SECONDS = 90
"""After this long torch gives a collective up: a member's process is gone, or its packets are."""
GRACE_SECONDS = 10.0
"""Rank 0 gives a silent member up this long before its own deadline, to be able to name it."""

MIB = 1 << 20
SIZES = {"cpu": [1, 8, 64, 256], "cuda": [1, 8, 64, 256, 1024]}
"""MiB of each all-reduce."""
REPEATS = {"cpu": (1, 5), "cuda": (5, 20)}
"""All-reduces of each size: to warm up, and timed."""
SMALL_BYTES, SMALL_REPEATS = 8192, 100
"""One token's activations of an 8B model in bf16: what a decode step of one stream sends."""
TOO_FEW = "torch sees"
RESULT = "fabric-check-result "
"""Begins the one line of a worker's output that is its result; NCCL may log to the same place."""

ALLOW = "allow all TCP among the hosts of the service (the bundle's firewall does), and none from elsewhere"

Finding = dict[str, str]


class Trouble(Exception):
    """What stops the check, and its mend."""

    def __init__(self, what: str, mend: str) -> None:
        self.finding: Finding = {"what": what, "mend": mend}
        super().__init__(what)


# ---- the interface ------------------------------------------------------------------------------------------------

SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFMTU = 0x8912, 0x8913, 0x8921
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFREQ_BYTES = 40
"""netdevice(7), on 64 bits."""


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


def interface_findings(found: dict[str, Interface], name: str, address: str | None, mtu: int | None) -> list[Finding]:
    """What is wrong with the declared interface; the first thing alone, for the others follow from it.

    `address` is the host's declared one, None where nobody declared it.
    """
    holder = next((each.name for each in found.values() if address in each.addresses), None)
    is_on = f"{address} is on {holder}" if holder else f"no interface has {address}"
    if name not in found:
        what = f"there is no interface {name}; {is_on}" if address else f"there is no interface {name}"
        return [_finding(what, f"declare interface={holder or ' or '.join(each for each in found if each != 'lo')}")]
    interface = found[name]
    # every interface has a link-local one, and nobody declares it
    has = ", ".join(each for each in interface.addresses if not each.startswith("fe80:")) or "no address"
    if not address:
        return [_finding(f"{name} has {has}, and rank 0's is of another kind", "declare the host's address")]
    if address not in interface.addresses:
        mend = f"declare interface={holder}" if holder else f"declare the address that {name} has"
        return [_finding(f"{name} has {has}, not {address}; {is_on}", mend)]
    if not interface.up:
        return [_finding(f"{name} is down", f"ip link set {name} up, and have it come up at boot")]
    if not interface.link:
        return [_finding(f"{name} has no link", "look at its cable, its switch port and `ethtool`")]
    if mtu and interface.mtu != mtu:
        return [_finding(f"{name} has MTU {interface.mtu}, declared is {mtu}", f"ip link set {name} mtu {mtu}")]
    return []


def route_findings(found: dict[str, Interface], name: str, target: str, source: str | None) -> list[Finding]:
    """Whether the kernel sends from the declared interface to `target`; `source` is the address that it sends from."""
    if source is None:
        return [_finding(f"there is no route to {target}", f"route it through {name}")]
    if name in found and source in found[name].addresses:
        return []
    taken = next((each.name for each in found.values() if source in each.addresses), "another interface")
    return [
        _finding(
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
        _finding(
            f"MTU {first['mtu']} on {first['interface']}, but {each['mtu']} on {each['interface']} of rank "
            f"{each['rank']}",
            "set one MTU on both, and on the switch between them",
        )
        for each in members
        if each["mtu"] != first["mtu"]
    ]


# ---- the members --------------------------------------------------------------------------------------------------


class Members:
    """All members, over a connection of each to rank 0: what one says, all hear. They are trusted, as NCCL trusts them.

    An answer is a list in rank order. A member that went away is heard with that as its finding.
    """

    def __init__(self, rank: int, world: int, address: str, port: int, deadline: float) -> None:
        self.rank, self.world, self.deadline = rank, world, deadline
        self.place = f"{address}:{port}"
        self.address, self.port = address, port
        self.links: dict[int, Link] = {}
        self.early: dict[int, dict[str, Any]] = {}

    def join(self, source: str | None) -> None:
        """Meet the others, from the address `source` where one is given. Raises Trouble when nobody is met."""
        if self.rank:
            self.links[0] = Link(self._patiently(source))
            self.links[0].say({"rank": self.rank})
        elif self.world > 1:
            self._await()

    def _await(self) -> None:
        try:
            server = _listen(self.address, self.port)
        except OSError as error:
            raise Trouble(f"cannot listen on {self.place}: {error.strerror}", "stop what uses it") from None
        end = time.monotonic() + START_SECONDS
        with server:
            while len(self.links) < self.world - 1 and (left := end - time.monotonic()) > 0:
                server.settimeout(left)
                # whoever is no member is not heard, and the next one is
                with contextlib.suppress(OSError, ValueError, KeyError):
                    link = Link(server.accept()[0])
                    self.links[int(link.hear(time.monotonic() + CONNECT_SECONDS)["rank"])] = link

    def _patiently(self, source: str | None) -> socket.socket:
        """Rank 0 may just be starting."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return _connect(self.address, self.port, source)
            except OSError as error:
                if time.monotonic() > end:
                    what = f"cannot reach rank 0 at {self.place} for {START_SECONDS:.0f} s: {_why(error)}"
                    raise Trouble(what, f"start the check there too, and {ALLOW}") from None
            time.sleep(0.3)

    def exchange(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        """Everyone's word, once all have spoken."""
        mine = {"rank": self.rank, **mine}
        if self.rank:
            try:
                self.links[0].say(mine)
                while "all" not in (heard := self.links[0].hear(self.deadline)):
                    """Rank 0 had called it off; its word follows."""
            except (OSError, ValueError):
                raise Trouble("rank 0 went away", "look at its output") from None
            return list(heard["all"])
        everyone = [mine, *(self._of(rank) for rank in range(1, self.world))]
        for link in self.links.values():
            with contextlib.suppress(OSError):
                link.say({"all": everyone})
        return everyone

    def disturbed(self) -> bool:
        """Whether a member has failed while this one still works."""
        waiting = {link.connection: rank for rank, link in self.links.items() if rank not in self.early}
        readable, _, _ = select.select(list(waiting), [], [], 0)
        if self.rank:
            # rank 0 speaks last, so this is its calling off or its end
            return bool(readable)
        for connection in readable:
            self.early[waiting[connection]] = self._of(waiting[connection])
        return any(each["findings"] for each in self.early.values())

    def call_off(self) -> None:
        """This member failed: rank 0 tells the others while they still work, and nobody is waited for much longer."""
        self.deadline = min(self.deadline, time.monotonic() + 2 * GRACE_SECONDS)
        for link in self.links.values() if self.rank == 0 else ():
            with contextlib.suppress(OSError):
                link.say({"off": True})

    def _of(self, rank: int) -> dict[str, Any]:
        if rank in self.early:
            return self.early.pop(rank)
        if rank not in self.links:
            lost = _finding(
                f"rank {rank} did not come to {self.place} within {START_SECONDS:.0f} s",
                f"start the check there too, and {ALLOW}",
            )
            return {"rank": rank, "findings": [lost]}
        try:
            return self.links[rank].hear(self.deadline - GRACE_SECONDS)
        except (OSError, ValueError):
            return {"rank": rank, "findings": [_finding(f"rank {rank} went away", "look at its output")]}


class Link:
    """Messages over one connection, a line of JSON each."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = connection.makefile("rb")

    def say(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, deadline: float) -> dict[str, Any]:
        """The next message. Raises OSError or ValueError when none comes."""
        self.connection.settimeout(max(0.1, deadline - time.monotonic()))
        heard = json.loads(self.stream.readline(MIB))
        if not isinstance(heard, dict):
            raise ValueError("no message")
        return heard


def _listen(address: str, port: int) -> socket.socket:
    return socket.create_server(
        (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=128
    )


def _connect(address: str, port: int, source: str | None) -> socket.socket:
    return socket.create_connection((address, port), CONNECT_SECONDS, (source, 0) if source else None)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer, as from a firewall that drops"
    if isinstance(error, ConnectionRefusedError):
        return "refused: nothing listens there, or a firewall rejects"
    return error.strerror or type(error).__name__


def reach_findings(own: str, others: list[dict[str, Any]]) -> list[Finding]:
    """Members whose listening port cannot be reached from here; the way back they try themselves."""
    return [finding for each in others for finding in _reach(own, each)]


def _reach(own: str, member: dict[str, Any]) -> Iterator[Finding]:
    try:
        # the kernel takes the connection: nobody needs to accept it there
        _connect(member["address"], member["port"], own).close()
    except OSError as error:
        yield _finding(
            f"cannot reach rank {member['rank']} at {member['address']}:{member['port']} within "
            f"{CONNECT_SECONDS:.0f} s: {_why(error)}",
            ALLOW,
        )


# ---- the all-reduce, in the parent ----------------------------------------------------------------------------------


def bus_gigabytes_per_second(processes: int, size: int, seconds: float) -> float:
    """What each wire carries, whatever the number of processes: nccl-tests' bus bandwidth (its PERFORMANCE.md)."""
    return 2 * (processes - 1) / processes * size / seconds / 1e9


def bandwidth_findings(all_reduce: list[dict[str, Any]], expected_gbit: float | None) -> list[Finding]:
    """Whether the best size fell short of what the fabric should give (gigabits a second of bus bandwidth)."""
    best = max((each["bus_gigabytes_per_second"] for each in all_reduce), default=0.0) * 8
    if not expected_gbit or best >= expected_gbit:
        return []
    return [
        _finding(
            f"the all-reduce reached {best:.1f} Gbit/s of bus bandwidth, expected are {expected_gbit:g}",
            "look at the link's speed (ethtool, ibstat); with NCCL_DEBUG=INFO, NET/Socket means TCP, and NET/IB "
            "without GDRDMA goes through the host's memory",
        )
    ]


class Workers:
    """One process a GPU of this host, each with its output in a file that nobody else sees."""

    def __init__(self) -> None:
        self.running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def start(self, specification: dict[str, Any], interface: str) -> None:
        # what an engine gets (engine/environment.py); all else stays as it is, NCCL_NVLS_ENABLE=0 too
        wires = {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as its worker
        command = [sys.executable, str(Path(__file__).resolve()), "worker", json.dumps(specification)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **wires}
        )
        self.running.append((process, output))

    def wait(self, deadline: float, disturbed: Callable[[], bool]) -> list[dict[str, Any]]:
        """The result of each, or `error`; nothing where another host disturbed them.

        The others are killed a while after the first that fails.
        """
        while any(process.poll() is None for process, _ in self.running) and time.monotonic() < deadline:
            if disturbed():
                self.kill()
                return []
            if any(process.poll() for process, _ in self.running):
                deadline = min(deadline, time.monotonic() + 3.0)
            time.sleep(0.05)
        late = [process.poll() is None for process, _ in self.running]
        self.kill()
        return [
            {"error": "did not end in time"} if still else _result(output, process.returncode)
            for (process, output), still in zip(self.running, late, strict=True)
        ]

    def kill(self) -> None:
        for process, _ in self.running:
            process.kill()
        for process, _ in self.running:
            process.wait()


def _result(output: IO[bytes], status: int) -> dict[str, Any]:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(RESULT):
            return dict(json.loads(line.removeprefix(RESULT)))
    last = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
    return {"error": f"a worker ended with status {status}: {last}"}


def worker_findings(results: list[dict[str, Any]]) -> list[Finding]:
    """Each different error once: the first, and not the ones that only say that others went away."""
    errors = [each["error"] for each in results if each.get("error")]
    first = [each for each in errors if each != "did not end in time"] or errors
    mend = "run it with NCCL_DEBUG=INFO for what NCCL tried"
    if any("No module named 'torch'" in each for each in first):
        mend = "run it with the interpreter of the engine's image or virtual environment"
    if any(TOO_FEW in each for each in first):
        mend = "declare as many GPUs as the host has, and give the container all of them"
    return [_finding(f"the all-reduce failed: {error}", mend) for error in dict.fromkeys(first)]


# ---- the all-reduce, in a worker ------------------------------------------------------------------------------------


def worker(specification: dict[str, Any]) -> int:
    """One process of the all-reduce; its result or error is its last line."""
    # it must not outlive the check, whatever ends that: prctl(PR_SET_PDEATHSIG, SIGKILL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    try:
        result = _all_reduces(**specification)
    except Exception as error:  # torch raises many kinds, and each is to be one line
        print(RESULT + json.dumps({"error": error_line(error)}), flush=True)
        # without NCCL's own way out, which waits for the others
        os._exit(1)
    print(RESULT + json.dumps(result), flush=True)
    return 0


def error_line(error: Exception) -> str:
    """The line of an exception of torch that says most: NCCL's own comes after `Last error:`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "Last error:" in lines[:-1]:
        return f"{lines[0]}: {lines[lines.index('Last error:') + 1]}"
    return lines[0]


def _all_reduces(device: str, local: int, rank: int, processes: int, store: str) -> dict[str, Any]:
    # there with an engine, not where this is checked
    import torch  # type: ignore[import-not-found]

    dist = torch.distributed
    backend = "nccl" if device == "cuda" else "gloo"
    where = torch.device(device, local) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        if (seen := torch.cuda.device_count()) <= local:
            raise RuntimeError(f"{TOO_FEW} {seen} GPUs, not number {local}")
        torch.cuda.set_device(where)
    dist.init_process_group(
        backend,
        init_method=f"tcp://{store}",
        rank=rank,
        world_size=processes,
        timeout=datetime.timedelta(seconds=COLLECTIVE_SECONDS),
    )
    all_reduce = [_measure(torch, where, mib * MIB, processes, rank) for mib in SIZES[device]]
    result = {
        "all_reduce": all_reduce,
        "small_all_reduce": {"bytes": SMALL_BYTES, "p50_seconds": _latency(torch, where)},
        "versions": {
            "torch": torch.__version__,
            **({"nccl": ".".join(map(str, torch.cuda.nccl.version()))} if device == "cuda" else {}),
        },
    }
    dist.destroy_process_group()
    return result


def _measure(torch: Any, where: Any, size: int, processes: int, rank: int) -> dict[str, Any]:
    """Seconds of one all-reduce of `size` bytes. Raises ValueError when the sum is wrong."""
    # 251 is a prime, so a part that lands in the wrong place shows; the sums are exact in float32
    pattern = (torch.arange(size // 4, dtype=torch.int32, device=where) % 251).float()
    values = torch.zeros_like(pattern)
    warm_up, repeats = REPEATS[where.type]
    for _ in range(warm_up):
        torch.distributed.all_reduce(values)
    _settle(torch, where)
    torch.distributed.barrier()
    _settle(torch, where)
    begin = time.perf_counter()
    for _ in range(repeats):
        torch.distributed.all_reduce(values)
    _settle(torch, where)
    seconds = (time.perf_counter() - begin) / repeats
    torch.add(pattern, rank, out=values)
    torch.distributed.all_reduce(values)
    if not torch.equal(values, pattern * processes + processes * (processes - 1) // 2):
        raise ValueError(f"a sum over {size // MIB} MiB is wrong on rank {rank}")
    return {
        "bytes": size,
        "seconds": seconds,
        "bus_gigabytes_per_second": bus_gigabytes_per_second(processes, size, seconds),
    }


def _latency(torch: Any, where: Any) -> float:
    """Median seconds of a small all-reduce, each waited for."""
    values, times = torch.zeros(SMALL_BYTES // 4, device=where), list[float]()
    for _ in range(SMALL_REPEATS):
        begin = time.perf_counter()
        torch.distributed.all_reduce(values)
        _settle(torch, where)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _settle(torch: Any, where: Any) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)


# ---- all of it ------------------------------------------------------------------------------------------------------


def _finding(what: str, mend: str) -> Finding:
    return {"what": what, "mend": mend}


class Check:
    """One run on one member: each step is taken when all members have the one before behind them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.given = arguments
        self.deadline = time.monotonic() + DEADLINE_SECONDS
        self.workers = Workers()
        self.printing = threading.Lock()
        self.report: dict[str, Any] = {
            "rank": arguments.rank,
            "ok": False,
            "findings": [],
            "all_reduce": [],
            "backend": "nccl" if arguments.device == "cuda" else "gloo",
            "interface": arguments.interface,
            "mtu": None,
        }

    def run(self) -> int:
        try:
            self._steps()
        except Trouble as trouble:
            self._add([trouble.finding])
        except Exception as error:  # an unforeseen one is one line too
            self._add([_finding(f"the check failed: {type(error).__name__}: {error}", "report this line")])
        return self.finish()

    def finish(self) -> int:
        """Print the report, and let nobody print after that."""
        self.printing.acquire()
        return self._print()

    def stop(self, what: str) -> None:
        """End now, from another thread or a signal, unless the report is just being printed."""
        if self.printing.acquire(blocking=False):
            self._add([_finding(what, "look at the output of the other members")])
            self.workers.kill()
            self._print()
            os._exit(1)

    def _print(self) -> int:
        self.report["ok"] = not self.report["findings"]
        print(json.dumps(self.report), flush=True)
        return int(bool(self.report["findings"]))

    def _steps(self) -> None:
        given = self.given
        found = interfaces()
        own = self._own(found)
        findings = self._local(found, own)
        members = Members(given.rank, given.world, given.address, given.port, self.deadline)
        try:
            members.join(None if findings else own)
        except Trouble:
            # not to be reached over a wrong interface is no news
            if not findings:
                raise
            self._add(findings)
            return
        with contextlib.ExitStack() as stack:
            word: dict[str, Any] = {"findings": self._named(findings)}
            if own and not findings:
                listener, store = (stack.enter_context(_listen(own, 0)) for _ in range(2))
                word |= {"address": own, "port": _port(listener), "store": _port(store)}
            word |= {"mtu": self.report["mtu"], "interface": given.interface}
            everyone = self._together(members, word)
            if not everyone:
                return
            # rank 0's worker takes the port that this kept free
            store.close()
            if not self._together(members, {"findings": self._named(self._reach(found, everyone))}):
                return
        self._measure(members, f"{_bracketed(given.address)}:{everyone[0]['store']}")

    def _reach(self, found: dict[str, Interface], everyone: list[dict[str, Any]]) -> list[Finding]:
        """What is wrong between this member and the others."""
        rank = self.given.rank
        others = [each for each in everyone if each["rank"] != rank]
        routes = [finding for each in others for finding in self._route(found, each["address"])]
        mtus = mtu_findings(everyone) if rank == 0 else []
        return mtus + routes + reach_findings(everyone[rank]["address"], others)

    def _own(self, found: dict[str, Interface]) -> str | None:
        """The declared address of this host; where nobody declared one, whichever the interface has."""
        declared = self.given.host_address or os.environ.get("VLLM_HOST_IP")
        if declared or self.given.rank == 0:
            return str(declared or self.given.address)
        interface = found.get(self.given.interface)
        same = (
            [each for each in interface.addresses if (":" in each) == (":" in self.given.address)] if interface else []
        )
        return next(iter(same), None)

    def _local(self, found: dict[str, Interface], own: str | None) -> list[Finding]:
        given = self.given
        if given.interface in found:
            self.report["mtu"] = found[given.interface].mtu
        findings = interface_findings(found, given.interface, own, given.mtu)
        # the wrong interface is named with the one that the kernel would take
        return findings + (self._route(found, given.address) if given.rank else [])

    def _route(self, found: dict[str, Interface], target: str) -> list[Finding]:
        return route_findings(found, self.given.interface, target, source_for(target))

    def _together(self, members: Members, word: dict[str, Any]) -> list[dict[str, Any]]:
        """Everyone's word; empty where any has a finding, which then is ours too."""
        try:
            everyone = members.exchange(word)
        except Trouble:
            self._add(word["findings"], named=True)
            raise
        findings = [finding for each in everyone for finding in each["findings"]]
        self._add(findings, named=True)
        return [] if findings else everyone

    def _measure(self, members: Members, store: str) -> None:
        given = self.given
        local = given.local_gpus
        for number in range(local):
            specification = {
                "device": given.device,
                "local": number,
                "rank": given.rank * local + number,
                "processes": given.world * local,
                "store": store,
            }
            self.workers.start(specification, given.interface)
        results = self.workers.wait(self.deadline - 2 * GRACE_SECONDS, members.disturbed)
        findings = worker_findings(results)
        if findings:
            members.call_off()
        elif results and given.rank == 0:
            self.report |= results[0]
            findings = bandwidth_findings(self.report["all_reduce"], given.expect_gbit)
        self._together(members, {"findings": self._named(findings)})

    def _named(self, findings: list[Finding]) -> list[Finding]:
        return [{**each, "what": f"rank {self.given.rank}: {each['what']}"} for each in findings]

    def _add(self, findings: list[Finding], named: bool = False) -> None:
        self.report["findings"] += findings if named else self._named(findings)


def _port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fabric_check.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rank", type=int, required=True, help="of this host, from 0")
    parser.add_argument("--world", type=int, required=True, help="how many hosts")
    parser.add_argument("--address", required=True, help="of rank 0")
    parser.add_argument("--port", type=int, required=True, help="of rank 0, free on it")
    parser.add_argument("--interface", required=True, help="the declared one of this host")
    parser.add_argument("--host-address", help="the declared one of this host; default VLLM_HOST_IP")
    parser.add_argument("--mtu", type=int, help="that the interface must have")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cpu")
    parser.add_argument("--local-gpus", type=int, default=1, help="processes of this host")
    parser.add_argument("--expect-gbit", type=float, help="least bus bandwidth of the best size")
    return parser


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"]:
        return worker(json.loads(arguments[1]))
    check = Check(_parser().parse_args(arguments))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: check.stop("the check was stopped"))
    watchdog = threading.Timer(DEADLINE_SECONDS, check.stop, [f"the check did not end in {DEADLINE_SECONDS:.0f} s"])
    watchdog.daemon = True
    watchdog.start()
    return check.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
