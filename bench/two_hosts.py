"""What happens to a model that spans two hosts when something fails, on one machine with two GPUs.

    python bench/two_hosts.py STEP OUTPUT_DIRECTORY --work DIRECTORY --tokenizer DIRECTORY --vllm PROGRAM [--python P]

A host is a set of namespaces (network, PID, IPC, mounts, host name) with one GPU; a veth pair joins two of them, and
each of its ends is `eth1`. So NCCL and vLLM see two machines, and TCP between them. Each runs what a deploy places: the
rendered release, payload/group and payload/fabric_check; a loop stands for systemd (starts the unit's program again
after 5 s, except after 78, and kills what it leaves behind). The model has random weights. Root, `ip`, `unshare`.

STEP is `fabric` (payload/fabric_check), `supervised` (faults in a group that payload/group watches), `alone` (the same
engines without it, several pairs of hosts at once, and tensor parallelism between two hosts).

docs/measurements/group-h200.json was made with it on 2026-11-21 on two NVIDIA H200s.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
ADDRESSES = {"gpu-1": "10.77.0.1", "gpu-2": "10.77.0.2"}
INSTANCE, PORT, KEY, LINK = "large", 8000, "measured", "eth1"
RESTART_SECONDS = 5.0
"""RestartSec of the unit."""
SHAPE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "vocab_size": 2048, "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False,
}  # fmt: skip


# ---- on a host: its first process -----------------------------------------------------------------------------------


def first_process(name: str, mode: str, directory: Path, command: list[str]) -> None:
    """PID 1 of a host: `unit` runs the command as systemd would, `once` runs it one time."""
    socket.sethostname(name)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        note(directory, event="start")
        status = run_logged(command, directory / "journal")
        ended = time.time()
        left = leftovers()
        note(directory, event="end", status=status, left=[title_of(pid) for pid in left])
        if mode == "unit":
            # systemd kills the unit's cgroup, and waits until it is empty
            while left := leftovers():
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)  # a killed process ends soon
            note(directory, event="empty", seconds=round(time.time() - ended, 2))
        if mode == "once" or status == 78 or (directory / "stop").exists():
            break
        time.sleep(RESTART_SECONDS)  # the unit's RestartSec
    while True:
        signal.pause()


def run_logged(command: list[str], journal: Path) -> int:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )

    def copy() -> None:
        assert process.stdout
        with journal.open("ab", buffering=0) as output:
            for line in process.stdout:
                output.write(f"{time.time():.2f} ".encode() + line)

    threading.Thread(target=copy, daemon=True).start()
    return process.wait()


def leftovers() -> list[int]:
    """Processes of this host that outlive the unit's main one."""
    return [pid for pid in pids() if pid != 1 and state_of(pid) not in "Z?"]


def note(directory: Path, **what: Any) -> None:
    with (directory / "events").open("a") as output:
        output.write(json.dumps({"at": round(time.time(), 2), **what}) + "\n")


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def state_of(pid: int) -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return "?"


def title_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:160]
    return ""


# ---- two hosts ------------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """One of a pair; its files are below `directory`."""

    name: str
    namespace: str
    directory: Path
    gpu: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def boot(self, mode: str, command: list[str]) -> None:
        """Start it with one program to run."""
        (self.directory / "run").mkdir(parents=True, exist_ok=True)
        inside = [sys.executable, __file__, "host", self.name, mode, str(self.directory), "--", *command]
        walls = ["unshare", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        environment = os.environ | self.environment | {"RUNTIME_DIRECTORY": str(self.directory / "run")}
        argv = ["ip", "netns", "exec", self.namespace, *walls, *inside]
        self.process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL)

    def power_off(self) -> None:
        """kill -9 of all its processes at once."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def processes(self) -> dict[int, str]:
        """All its processes but the first, by number outside, with their titles."""
        assert self.process
        found = {}
        with contextlib.suppress(OSError, IndexError, ValueError):
            first = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])
            own = os.stat(f"/proc/{first}/ns/pid").st_ino
            for pid in pids():
                with contextlib.suppress(OSError):
                    if pid != first and os.stat(f"/proc/{pid}/ns/pid").st_ino == own and state_of(pid) not in "Z?":
                        found[pid] = title_of(pid)
        return found

    def kill(self, wanted: str = "") -> list[str]:
        """kill -9 of the processes whose title holds this."""
        chosen = {pid: title for pid, title in self.processes().items() if wanted in title}
        for pid in chosen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(chosen.values())

    def journal(self) -> list[tuple[float, str]]:
        with contextlib.suppress(OSError):
            lines = (self.directory / "journal").read_text(errors="replace").splitlines()
            parts = [line.split(" ", 1) for line in lines if re.match(r"\d+\.\d\d ", line)]
            return [(float(at), text) for at, text in parts]
        return []

    def events(self) -> list[dict[str, Any]]:
        with contextlib.suppress(OSError):
            return [json.loads(line) for line in (self.directory / "events").read_text().splitlines()]
        return []


class Pair:
    """Two hosts and the cable between them."""

    def __init__(self, name: str, given: argparse.Namespace, **service: Any) -> None:
        self.name, self.given = name, given
        root = given.work / name
        shutil.rmtree(root, ignore_errors=True)
        self.hosts = [Host(host, f"{name}-{host}", root / host, gpu) for gpu, host in enumerate(ADDRESSES)]
        self.commands: dict[str, str] = {}
        self._wire()
        self._deploy(**service)

    def _wire(self) -> None:
        first, second = (host.namespace for host in self.hosts)
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.namespace], stderr=subprocess.DEVNULL, check=False)
            ip("netns", "add", host.namespace)
        ip("-n", first, "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", second)
        for host in self.hosts:
            ip("-n", host.namespace, "address", "add", f"{ADDRESSES[host.name]}/24", "dev", LINK)
            ip("-n", host.namespace, "link", "set", LINK, "up")
            ip("-n", host.namespace, "link", "set", "lo", "up")
        time.sleep(2)  # the kernel says within a second that a new link is up, and fabric_check asks for that

    def cable(self, state: str) -> None:
        """`up` or `down`. Both ends see it, as with a cable."""
        ip("-n", self.hosts[1].namespace, "link", "set", LINK, state)

    def _deploy(self, **service: Any) -> None:
        """The rendered files of both hosts, below directories of their own; nothing else is changed in them."""
        sys.path.insert(0, str(REPOSITORY))
        from vllm_fleet import paths
        from vllm_fleet.engine.command import venv_directory
        from vllm_fleet.engine.fabric import proof_command
        from vllm_fleet.engine.release import release
        from vllm_fleet.schema import Venv

        for host, placement in zip(self.hosts, placements(self.given.work, **service), strict=True):
            moved = {
                paths.ENGINES: str(host.directory / "engines"),
                paths.CACHES: str(self.given.work / "cache" / host.name),
                paths.PROGRAMS: str(host.directory / "programs"),
                paths.STATE: str(self.given.work / "state"),
                # the second host's GPU 0 is the machine's GPU 1
                "CUDA_VISIBLE_DEVICES=0": f"CUDA_VISIBLE_DEVICES={host.gpu}",
            }
            here = host.directory / "engines" / INSTANCE
            made = release(placement)
            for name, mode, content in made.files:
                write(here / "releases" / made.id / name, replaced(content, moved), int(mode, 8))
            (here / "current").symlink_to(f"releases/{made.id}")
            write(here / "secret.yaml", f"api-key: {KEY}\n", 0o600)
            lines = (here / "current/environment").read_text().splitlines()
            host.environment = dict(line.split("=", 1) for line in lines)
            programs = host.directory / "programs"
            for name in ("group", "fabric_check"):
                shutil.copytree(REPOSITORY / "vllm_fleet/payload" / name, programs / name)
            config = programs / "group/config.py"
            config.write_text(replaced(config.read_text(), moved))
            self.commands[host.name] = replaced(proof_command(placement, 29577), moved)
            runtime = placement.service.runtime
            assert isinstance(runtime, Venv)
            programs = Path(replaced(venv_directory(runtime), moved)) / "bin"
            write(programs / "python", f'#!/bin/sh\nexec {self.given.python} "$@"\n', 0o755)
            write(programs / "vllm", f'#!/bin/sh\nexec {self.given.vllm} "$@"\n', 0o755)
            model = Path(replaced(paths.model(placement.service.model.directory_name), moved))
            shutil.copytree(self.given.tokenizer, model, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safet*"))
            write(model / "config.json", json.dumps(SHAPE))

    def boot_units(self) -> None:
        for host in self.hosts:
            self.boot_unit(host)

    def boot_unit(self, host: Host) -> None:
        programs = host.directory / "programs"
        group = f"PYTHONPATH={programs}", self.given.python, "-B", "-P", "-m", "group", INSTANCE
        host.boot("unit", ["/usr/bin/env", *group])

    def boot_engines(self) -> None:
        for host in self.hosts:
            host.boot("once", [str(host.directory / "engines" / INSTANCE / "current/start")])

    def end(self) -> None:
        for host in self.hosts:
            host.power_off()
            subprocess.run(["ip", "netns", "del", host.namespace], stderr=subprocess.DEVNULL, check=False)


def placements(work: Path, **service: Any) -> list[Any]:
    """The engines of one service over both hosts."""
    from vllm_fleet.planner.placement import place
    from vllm_fleet.schema import Directory, Fleet, Gateway, Monitoring, Secret, Service, Venv
    from vllm_fleet.schema import Host as Declared

    lock = work / "requirements.lock"
    write(lock, f"vllm==0.26.0 --hash=sha256:{'0' * 64}\n")
    declared = [
        Declared(name=name, address=address, groups=("gpu",), gpus=1, interface=LINK)
        for name, address in ADDRESSES.items()
    ]
    options = {
        "load-format": "dummy",
        "enforce-eager": True,
        # several pairs share the two GPUs
        "kv-cache-memory-bytes": 8 << 30,
    }
    values: dict[str, Any] = {
        "name": INSTANCE,
        "model": Directory(name="tiny", path="/models/tiny", sha256=hashlib.sha256(b"").hexdigest()),
        "runtime": Venv(requirements=str(lock)),
        "hosts": list(ADDRESSES),
        "nodes": 2,
        "api_key": Secret(env="KEY"),
        "served_name": "tiny",
        "port": PORT,
        "gpu_memory_utilization": 0.15,
        "max_model_len": 32768,
        "drain_seconds": 20,
        "start_seconds": 300,
        "options": options,
        "env": {"VLLM_USE_FLASHINFER_SAMPLER": "0", "NCCL_DEBUG": "INFO"},
    }
    fleet = Fleet(
        hosts=[*declared, Declared(name="ops-1", address="10.77.0.9", groups=("gateway", "monitoring"))],
        services=[Service(**{**values, **service})],
        gateway=Gateway(api_keys=[Secret(env="KEY")], clients=["10.77.0.0/24"]),
        monitoring=Monitoring(operators=["10.77.0.0/24"], page_webhook=Secret(env="KEY")),
    )
    return place(fleet)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)


def replaced(text: str, moved: dict[str, str]) -> str:
    for old, new in moved.items():
        text = text.replace(old, new)
    return text


def write(path: Path, content: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


# ---- asking ---------------------------------------------------------------------------------------------------------


class Asker:
    """Asks rank 0, from its own network namespace, in threads of its own."""

    def __init__(self, host: Host) -> None:
        self.namespace = host.namespace
        self.answers: list[tuple[float, float, str]] = []
        """Of the probe: began, ended, `ok` or what went wrong."""
        self._probing = threading.Event()

    def probe(self) -> None:
        """One-token completions, one after the other, until `rest`."""
        self._probing.set()
        self._thread(self._probe)

    def rest(self) -> None:
        self._probing.clear()

    def _probe(self) -> None:
        while self._probing.is_set():
            result: dict[str, Any] = {"began": time.time(), "tokens": 0}
            self._completion(1, 4.0, result)
            self.answers.append((result["began"], result["ended"], result["end"]))
            time.sleep(0.2)  # the probe's own pace

    def ask(self, tokens: int, seconds: float) -> dict[str, Any]:
        """A streamed completion in the background; the dictionary fills: `began`, `tokens`, `last`, `ended`, `end`."""
        result: dict[str, Any] = {"began": time.time(), "tokens": 0}
        self._thread(lambda: self._completion(tokens, seconds, result))
        return result

    def health(self, seconds: float = 3.0) -> str:
        """Status of /health, or the error."""
        heard: list[str] = []

        def get() -> None:
            try:
                connection = http.client.HTTPConnection(ADDRESSES["gpu-1"], PORT, timeout=seconds)
                connection.request("GET", "/health")
                heard.append(str(connection.getresponse().status))
            except OSError as error:
                heard.append(type(error).__name__)

        self._thread(get).join(seconds + 1)
        return heard[0] if heard else "no answer"

    def _thread(self, what: Callable[[], Any]) -> threading.Thread:
        def run() -> None:
            with open(f"/run/netns/{self.namespace}") as namespace:
                os.setns(namespace.fileno(), os.CLONE_NEWNET)  # this thread's alone
            what()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _completion(self, tokens: int, seconds: float, result: dict[str, Any]) -> None:
        body = {"model": "tiny", "prompt": "hello", "max_tokens": tokens, "ignore_eos": True, "stream": True}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        end = "the stream ended early"
        try:
            connection = http.client.HTTPConnection(ADDRESSES["gpu-1"], PORT, timeout=seconds)
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise OSError(f"status {answer.status}: {answer.read(200).decode(errors='replace')}")
            for line in answer:
                if line.startswith(b"data: [DONE]"):
                    end = "ok"
                elif line.startswith(b'data: {"error"'):
                    raise OSError(line.decode(errors="replace")[:200])
                elif line.startswith(b"data: "):
                    result["tokens"] += 1
                    result["last"] = time.time()
                    result.setdefault("first", time.time())
        except (OSError, http.client.HTTPException) as error:
            end = f"{type(error).__name__}: {error}"
        result |= {"ended": time.time(), "end": end}


class Memory:
    """Used MiB of each GPU, every second."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, list[int]]] = []
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            if used := gpu_memory():
                self.samples.append((time.time(), used))
            time.sleep(0.7)  # the sampling's own pace

    def least(self, begin: float, end: float) -> list[int]:
        inside = [used for at, used in self.samples if begin <= at <= end]
        return [min(column) for column in zip(*inside, strict=True)] if inside else []

    def at(self, when: float) -> list[int]:
        return next((used for at, used in reversed(self.samples) if at <= when), [])


def gpu_memory() -> list[int]:
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return [int(line) for line in subprocess.check_output(command, text=True, timeout=10).split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def until(true: Callable[[], Any], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)  # polling, bounded above
    return True


# ---- the steps ------------------------------------------------------------------------------------------------------


def fabric(given: argparse.Namespace, output: dict[str, Any]) -> None:
    """payload/fabric_check between both hosts, as a deploy runs it."""
    pair = given.pair("fabric", pipeline_parallel_size=2)
    for host in pair.hosts:
        host.boot("once", ["/bin/sh", "-c", pair.commands[host.name]])
    until(lambda: all(len(host.events()) > 1 for host in pair.hosts), 150)
    output["commands"] = pair.commands
    for host in pair.hosts:
        output[host.name] = {"events": host.events(), "printed": [text for _, text in host.journal()][-3:]}


def supervised(given: argparse.Namespace, output: dict[str, Any]) -> None:
    """Faults in a group under its supervisors, one after the other; each begins with the group in service."""
    pair = given.pair("watched", pipeline_parallel_size=2)
    memory, asker = Memory(), Asker(pair.hosts[0])
    output["before"] = gpu_memory()
    output["start"] = (pair.hosts[0].directory / "engines/large/current/start").read_text().splitlines()
    output["environment"] = {host.name: host.environment for host in pair.hosts}
    began = time.time()
    pair.boot_units()
    asker.probe()
    if not until(lambda: answered(asker, began), 200):
        output["never answered"] = True
        return
    output["first answer after"] = round(answered(asker, began) - began, 1)
    first, second = pair.hosts
    long = asker.ask(200, 30)
    until(lambda: "end" in long, 30)
    output["tokens a second"] = round(199 / (long["last"] - long["first"]), 1) if long["tokens"] > 1 else long
    output["faults"] = faults = []

    def reboot() -> list[str]:
        gone = list(second.processes().values())
        second.power_off()
        threading.Timer(10, pair.boot_unit, [second]).start()
        return gone

    def cut() -> list[str]:
        pair.cable("down")
        threading.Timer(30, pair.cable, ["up"]).start()
        return ["eth1 down for 30 s"]

    def unplug() -> list[str]:
        pair.cable("down")
        second.power_off()

        def back() -> None:
            pair.cable("up")
            pair.boot_unit(second)

        threading.Timer(40, back).start()
        return ["eth1 down, then all of gpu-2 killed; both back after 40 s"]

    for name, fault in {
        "kill -9 of rank 1's worker": lambda: second.kill("VLLM::Worker"),
        "kill -9 of rank 0's EngineCore": lambda: first.kill("VLLM::EngineCore"),
        "kill -9 of all of gpu-2, started again after 10 s": reboot,
        "the cable out for 30 s": cut,
        "gpu-2 without power for 40 s": unplug,
        "kill -9 of rank 0's worker": lambda: first.kill("VLLM::Worker"),
    }.items():
        if not re.search(given.only, name):
            continue
        if given.left() < 110:
            faults.append({"fault": name, "left out": "no time"})
            continue
        faults.append(measured(pair, asker, memory, name, fault))
        given.save(output)
        if not faults[-1]["next answer"]:
            break
    if given.left() > 40:
        output["stop"] = stopped(pair, asker, memory)
    asker.rest()


def measured(pair: Pair, asker: Asker, memory: Memory, name: str, fault: Callable[[], list[str]]) -> dict[str, Any]:
    """One fault: what it took, in seconds after it."""
    # as after ten steady minutes: the pauses after several failures in a row are not what is measured
    (pair.hosts[0].directory / "run/failures.json").unlink(missing_ok=True)
    running = asker.ask(30000, 240)
    time.sleep(3)  # a request in its midst
    at = time.time()
    hit = fault()
    fine = until(lambda: answered_after_failure(asker, at), 170)
    up = answered_after_failure(asker, at) if fine else None
    time.sleep(1)  # a sample of memory
    down = next((began for began, _, text in asker.answers if began >= at - 4 and text != "ok"), None)
    seconds = lambda when: round(when - at, 1) if when else None  # noqa: E731
    return {
        "fault": name,
        "hit": hit,
        "first failed probe": seconds(down),
        "next answer": seconds(up),
        "request in its midst": {
            "tokens": running["tokens"],
            "last token": seconds(running.get("last")),
            "ended": seconds(running.get("ended")),
            "end": running.get("end", "still open"),
        },
        "memory before": memory.at(at),
        "least memory until then": memory.least(at, up or time.time()),
        "memory after": memory.at(time.time()),
        "health after": asker.health(),
        "processes after": {host.name: list(host.processes().values()) for host in pair.hosts},
        **{host.name: [f"{seconds(when)} {text}" for when, text in said(host, at)] for host in pair.hosts},
    }


def said(host: Host, since: float) -> list[tuple[float, str]]:
    """What its supervisor said, and how its unit ended."""
    lines = [(at, text) for at, text in host.journal() if text.startswith("group:")]
    ends = [
        (event["at"], f"unit: status {event['status']}, left behind {event['left']}")
        for event in host.events()
        if event["event"] == "end"
    ]
    ends += [(event["at"], f"unit: empty after {event['seconds']} s") for event in host.events() if "seconds" in event]
    return sorted(each for each in lines + ends if each[0] >= since)


def answered(asker: Asker, since: float) -> float:
    return next((ended for began, ended, text in asker.answers if began >= since and text == "ok"), 0.0)


def answered_after_failure(asker: Asker, since: float) -> float:
    """When a probe was answered again: the first answer after the first failure after `since`."""
    failed = next((began for began, ended, text in asker.answers if ended >= since and text != "ok"), None)
    return answered(asker, failed) if failed else 0.0


def stopped(pair: Pair, asker: Asker, memory: Memory) -> dict[str, Any]:
    """`systemctl stop` on rank 0."""
    first = pair.hosts[0]
    short = asker.ask(300, 30)
    time.sleep(0.5)  # a request in its midst
    at = time.time()
    write(first.directory / "stop", "")
    for pid, title in first.processes().items():
        if f"group {INSTANCE}" in title:
            os.kill(pid, signal.SIGINT)
    until(lambda: any(event["event"] == "end" and event["at"] > at for event in first.events()), 35)
    time.sleep(3)  # a sample of memory
    return {
        "request in its midst": short,
        "memory after": memory.at(time.time()),
        **{host.name: [f"{when - at:.1f} {text}" for when, text in said(host, at)] for host in pair.hosts},
    }


def alone(given: argparse.Namespace, output: dict[str, Any]) -> None:
    """Engines without supervisors, each pair of hosts with a fault of its own, all at once."""
    names = ("idle", "busy", "head", "cut")
    pairs = {name: given.pair(name, pipeline_parallel_size=2) for name in names}
    pairs["tensor"] = given.pair("tensor", tensor_parallel_size=2)
    askers = {name: Asker(pair.hosts[0]) for name, pair in pairs.items()}
    memory = Memory()
    output["before"] = gpu_memory()
    began = time.time()
    for name, pair in pairs.items():
        pair.boot_engines()
        askers[name].probe()
    until(lambda: all(answered(asker, began) for asker in askers.values()), 200)
    for name, asker in askers.items():
        asker.rest()
        output[name] = {"first answer after": round(answered(asker, began) - began, 1)}
    until(lambda: all(time.time() - asker.answers[-1][1] > 1 for asker in askers.values()), 6)
    cases = {"idle": idle, "busy": busy, "head": headless, "cut": interrupted, "tensor": tensor}
    threads = [
        threading.Thread(target=case, args=(given, pairs[name], askers[name], output[name]), daemon=True)
        for name, case in cases.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(1, given.left() - 20))
    output["during"] = gpu_memory()
    for pair in pairs.values():
        pair.end()
    time.sleep(3)  # a sample of memory
    output["after"] = memory.at(time.time())


def watch(pair: Pair, asker: Asker, at: float, end: float, result: dict[str, Any], what: Callable[[], bool]) -> None:
    """Until `what` or `end`: when /health changed, and when processes went away."""
    seen: dict[str, Any] = {}
    while time.time() < end and not what():
        now = {"health": asker.health(), **{host.name: sorted(host.processes().values()) for host in pair.hosts}}
        if now != seen:
            result.setdefault("seen", []).append({"after": round(time.time() - at, 1), **now})
        seen = now
        time.sleep(1)  # the watch's own pace
    result["ends"] = {
        host.name: [
            {**event, "after": round(event["at"] - at, 1)} for event in host.events() if event["event"] == "end"
        ]
        for host in pair.hosts
    }


def ended(pair: Pair, host: int) -> bool:
    return any(event["event"] == "end" for event in pair.hosts[host].events())


def idle(given: argparse.Namespace, pair: Pair, asker: Asker, result: dict[str, Any]) -> None:
    """Rank 1's processes are killed while nothing is asked; after 90 s a request comes."""
    at = time.time()
    result["killed"] = pair.hosts[1].kill()
    watch(pair, asker, at, at + 90, result, lambda: ended(pair, 0))
    request = asker.ask(5, 200)
    result["asked after"] = round(time.time() - at, 1)
    watch(pair, asker, at, time.time() + min(190, given.left() - 40), result, lambda: ended(pair, 0))
    result["request"] = relative(request, at)


def busy(given: argparse.Namespace, pair: Pair, asker: Asker, result: dict[str, Any]) -> None:
    """Rank 1's processes are killed while a request runs."""
    request = asker.ask(30000, 300)
    time.sleep(3)  # in its midst
    at = time.time()
    result["killed"] = pair.hosts[1].kill()
    watch(pair, asker, at, at + min(240, given.left() - 40), result, lambda: ended(pair, 0))
    result["request"] = relative(request, at)


def headless(given: argparse.Namespace, pair: Pair, asker: Asker, result: dict[str, Any]) -> None:
    """All of rank 0's processes are killed."""
    at = time.time()
    result["killed"] = pair.hosts[0].kill()
    watch(pair, asker, at, at + min(280, given.left() - 40), result, lambda: ended(pair, 1))


def interrupted(given: argparse.Namespace, pair: Pair, asker: Asker, result: dict[str, Any]) -> None:
    """The cable is out for 30 s while a request runs, then for 60 s."""
    for seconds in (30, 60):
        request = asker.ask(30000, 200)
        time.sleep(3)  # in its midst
        at = time.time()
        pair.cable("down")
        time.sleep(seconds)  # the fault itself
        before = request["tokens"]
        pair.cable("up")
        until(lambda request=request, before=before: request["tokens"] > before + 50 or "end" in request, 40)
        result[f"{seconds} s"] = relative(request, at) | {"tokens when it was back": before}
    watch(pair, asker, at, time.time() + 5, result, lambda: False)


def tensor(given: argparse.Namespace, pair: Pair, asker: Asker, result: dict[str, Any]) -> None:
    """A completion of a model whose tensors are split between two hosts, and its pace."""
    request = asker.ask(200, 60)
    until(lambda: "end" in request, 60)
    result["request"] = relative(request, request["began"])
    journal = [text for host in pair.hosts for _, text in host.journal()]
    result["nccl"] = sorted({line for text in journal for line in re.findall(r"via \S+|Using network \S+", text)})
    result["reductions"] = [
        text[-200:] for text in journal if "all-reduce" in text.lower() or "allreduce" in text.lower()
    ]


def relative(request: dict[str, Any], at: float) -> dict[str, Any]:
    times = {key: round(request[key] - at, 2) for key in ("began", "first", "last", "ended") if key in request}
    return {"tokens": request["tokens"], **times, "end": request.get("end", "still open")}


# ---- the whole ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def pairs_of(given: argparse.Namespace) -> Iterator[None]:
    """`given.pair` makes pairs that end here, whatever happens."""
    made: list[Pair] = []

    def pair(name: str, **service: Any) -> Pair:
        made.append(Pair(name, given, **service))
        return made[-1]

    given.pair = pair
    try:
        yield
    finally:
        for each in made:
            each.end()
        with tarfile.open(given.output / f"{given.step}-logs.txz", "w:xz", preset=2) as archive:
            for each in made:
                for host in each.hosts:
                    for name in ("journal", "events"):
                        if (host.directory / name).exists():
                            archive.add(host.directory / name, f"{host.namespace}-{name}")


def main() -> int:
    if sys.argv[1:2] == ["host"]:
        first_process(sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[6:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    steps = {"fabric": fabric, "supervised": supervised, "alone": alone}
    parser.add_argument("step", choices=steps)
    parser.add_argument("output", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a directory with a small tokenizer")
    parser.add_argument("--vllm", required=True, help="the shell command that is vLLM's")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--only", default="", help="the faults of `supervised` to make, by a regular expression")
    parser.add_argument("--seconds", type=float, default=520, help="the most that it may take")
    given = parser.parse_args()
    deadline = time.monotonic() + given.seconds
    given.left = lambda: deadline - time.monotonic()
    given.output.mkdir(parents=True, exist_ok=True)

    def save(output: dict[str, Any]) -> None:
        write(given.output / f"{given.step}.json", json.dumps(output, indent=2) + "\n")

    given.save = save
    output: dict[str, Any] = {"command": shlex.join(sys.argv)}
    began = time.monotonic()
    with pairs_of(given):
        try:
            steps[given.step](given, output)
        finally:
            output["seconds"] = round(time.monotonic() - began, 1)
            save(output)
    print(json.dumps(output, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
