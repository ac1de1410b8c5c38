"""How long an engine takes to start, and what each kept cache saves.

    python bench/engine_start.py MODEL_DIRECTORY OUTPUT.json --work DIRECTORY [--runs cold,warm] [options]

Starts `vllm serve` again and again on one model, each time with a chosen set of caches kept and with the page cache as
after a boot or as after a restart, and notes when each phase ends, up to the answer to the first completion. It adds
to an OUTPUT.json that is there. Needs a GPU, vLLM and nvidia-smi, nothing else but Python, and root to drop the page
cache.

The caches are those of an engine of this bundle (`vllm_fleet/engine/environment.py`), below the directory of --work.
They are kept from the first cold run, and put back as they were then before each later run.

docs/measurements/engine-start-h200.json was made with it on 2026-11-21 on one NVIDIA H200, with vLLM 0.26.0 and
torch 2.11.0, on a model of the shape of Llama-3.1-8B in bf16 (16 GB in four safetensors files, random weights), with

    --serve "--max-model-len 8192 --gpu-memory-utilization 0.9" --env VLLM_USE_FLASHINFER_SAMPLER=0

All Python files were compiled before (`python -m compileall`), as pip does when it installs: with part of them not
compiled, and the interpreter told not to write them, the engine's process began after 39 s instead of 20.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHES = {
    "vllm": "VLLM_CACHE_ROOT",
    "triton": "TRITON_CACHE_DIR",
    "inductor": "TORCHINDUCTOR_CACHE_DIR",
    "flashinfer": "FLASHINFER_WORKSPACE_BASE",
    "deep-gemm": "DG_JIT_CACHE_DIR",
}
# where anything lands that heeds none of the above; kept or emptied as one
OTHER = "home"

# phase: what the log says when it begins or ends. The first line that fits counts.
MARKS = {
    "arguments read": r"non-default args",
    "architecture known": r"Resolved architecture",
    "engine process": r"Initializing a V1 LLM engine",
    "load begins": r"Starting to load model|Loading model from scratch",
    "weights loaded": r"Loading weights took",
    "model loaded": r"Model loading took",
    "dynamo done": r"Dynamo bytecode transform time",
    "graph compiled": r"Compiling a graph for compile range .* takes",
    "graph from cache": r"Directly load the compiled graph",
    "aot from cache": r"Directly load AOT compilation",
    "compile done": r"torch\.compile (took|takes)",
    "profiled": r"Initial profiling/warmup run took",
    "kv cache": r"GPU KV cache size",
    "graphs captured": r"Graph capturing finished",
    "kernels warm": r"Kernel JIT monitor activated",
    "engine initialized": r"init engine .* took",
    "startup complete": r"Application startup complete",
}
# what vLLM itself says a phase took, in seconds
REPORTED = {
    "weights": r"Loading weights took ([\d.]+) seconds",
    "model": r"Model loading took .* and ([\d.]+) seconds",
    "dynamo": r"Dynamo bytecode transform time: ([\d.]+) s",
    "inductor": r"Compiling a graph for compile range .* takes ([\d.]+) s",
    "compile": r"torch\.compile (?:took|takes) ([\d.]+) s",
    "profile": r"Initial profiling/warmup run took ([\d.]+) s",
    "graphs": r"Graph capturing finished in ([\d.]+) secs",
    "engine": r"init engine .* took ([\d.]+) s",
}
SHOWN = ("run", "marks", "reported", "caches after, MB", "seconds to stop")


@dataclass(frozen=True)
class Kind:
    """What is there when the engine starts."""

    means: str
    kept: tuple[str, ...] = (*CACHES, OTHER)
    page_cache: bool = True
    options: tuple[str, ...] = ()


KINDS = {
    "cold": Kind("no cache, page cache dropped: first start on a host", (), page_cache=False),
    "cold-compile": Kind("no cache, weights in the page cache", ()),
    "warm": Kind("all caches, weights in the page cache: a restart"),
    "warm-disk": Kind("all caches, page cache dropped: first start after a boot", page_cache=False),
    "vllm-only": Kind("VLLM_CACHE_ROOT alone, weights in the page cache", ("vllm",)),
    "without-vllm": Kind(
        "all but VLLM_CACHE_ROOT, weights in the page cache", tuple(n for n in (*CACHES, OTHER) if n != "vllm")
    ),
    "eager": Kind("all caches, weights in the page cache, --enforce-eager", options=("--enforce-eager",)),
    "eager-cold": Kind("no cache, weights in the page cache, --enforce-eager", (), options=("--enforce-eager",)),
}


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model: Path = options.model.resolve()
        self.work: Path = options.work.resolve()
        self.cache = self.work / "cache"
        self.saved = self.work / "cache.saved"
        self.logs: Path = (options.logs or self.work / "logs").resolve()
        self.logs.mkdir(parents=True, exist_ok=True)
        extra = dict(pair.split("=", 1) for pair in options.env)
        self.variables = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HOME": f"{self.cache}/{OTHER}/huggingface",
            "HOME": f"{self.cache}/{OTHER}",
            "TMPDIR": f"{self.work}/tmp",
            "VLLM_HOST_IP": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            **{variable: f"{self.cache}/{name}" for name, variable in CACHES.items()},
            **extra,
        }
        self.environment = {**os.environ, **self.variables}

    # ---- what the run starts from

    def prepare(self, kind: Kind) -> None:
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.rmtree(self.work / "tmp", ignore_errors=True)
        (self.work / "tmp").mkdir(parents=True)
        for name in (*CACHES, OTHER):
            source = self.saved / name
            if name in kind.kept and source.exists():
                shutil.copytree(source, self.cache / name, symlinks=True)
            else:
                (self.cache / name).mkdir(parents=True)
        if kind.page_cache:
            for file in sorted(self.model.glob("*.safetensors")):
                with file.open("rb", buffering=0) as stream:
                    while stream.read(1 << 24):
                        pass
        else:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3\n")

    def save(self) -> None:
        """The caches as the first cold run left them."""
        if not self.saved.exists():
            shutil.copytree(self.cache, self.saved, symlinks=True)

    def sizes(self) -> dict[str, float]:
        def megabytes(directory: Path) -> float:
            files = (f for f in directory.rglob("*") if f.is_file() and not f.is_symlink())
            return round(sum(f.stat().st_size for f in files) / 1e6, 1)

        return {name: megabytes(self.cache / name) for name in (*CACHES, OTHER)} | {
            "temporary files": megabytes(self.work / "tmp")
        }

    # ---- one run

    def command(self, kind: Kind) -> list[str]:
        options = self.options
        serve = ["--host", "127.0.0.1", "--port", str(options.port), "--served-model-name", "engine"]
        program = [*shlex.split(options.vllm), "serve", str(self.model)]
        return [*program, *serve, *shlex.split(options.serve), *kind.options]

    def run(self, name: str) -> dict[str, Any]:
        kind = KINDS[name]
        before = time.monotonic()
        self.prepare(kind)
        prepared = time.monotonic()
        log = self.logs / f"{time.strftime('%H%M%S')}-{name}.log"
        marks: dict[str, float] = {}
        reported: dict[str, float] = {}
        completion = None
        with self.serving(kind) as process, log.open("w") as out:
            started = time.monotonic()
            limit = threading.Timer(self.options.longest, os.killpg, (process.pid, signal.SIGKILL))
            limit.start()
            assert process.stdout is not None
            for line in process.stdout:
                at = round(time.monotonic() - started, 2)
                out.write(f"{at:8.2f} {line}")
                for mark, pattern in MARKS.items():
                    if mark not in marks and re.search(pattern, line):
                        marks[mark] = at
                for what, pattern in REPORTED.items():
                    if what not in reported and (found := re.search(pattern, line)):
                        reported[what] = float(found[1])
                if "startup complete" in marks:
                    completion = self.complete()
                    marks["first completion"] = round(time.monotonic() - started, 2)
                    break
            limit.cancel()
            ready = time.monotonic()
            stop = self.stop(process)
            out.write(stop)
        if completion is None:
            raise SystemExit(f"{name}: the engine ended before it was ready; see {log}")
        sizes = self.sizes()
        if not kind.kept and "--enforce-eager" not in kind.options:
            self.save()
        return {
            "run": name,
            "means": kind.means,
            "caches kept": list(kind.kept),
            "page cache": "weights read before" if kind.page_cache else "dropped",
            "options": list(kind.options),
            "marks": marks,
            "reported": reported,
            "caches after, MB": sizes,
            "seconds to prepare": round(prepared - before, 1),
            "seconds to stop": round(time.monotonic() - ready, 1),
        }

    @contextlib.contextmanager
    def serving(self, kind: Kind) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command(kind),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def complete(self) -> dict[str, Any]:
        body = {"model": "engine", "prompt": "The quick brown fox", "max_tokens": 1, "temperature": 0}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.options.port}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        # no proxy of the environment may stand between
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            completion: dict[str, Any] = json.load(answer)
        assert completion["usage"]["completion_tokens"] == 1, completion
        return completion

    def stop(self, process: subprocess.Popen[str]) -> str:
        """What the engine said at last. Returns when the GPU is free again."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            said, _ = process.communicate(timeout=45)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        end = time.monotonic() + 60
        while (used := int(nvidia("memory.used").split()[0])) > self.options.idle_mib:
            if time.monotonic() > end:
                raise SystemExit(f"{used} MiB of the GPU are still in use a minute after the engine ended")
            time.sleep(0.5)  # the driver frees a dead process's memory in its own time, and tells nobody
        return said

    # ---- around it

    def about(self) -> dict[str, Any]:
        code = (
            "import importlib.metadata as m, json, torch\n"
            "v = {n: m.version(n) for n in ('vllm', 'torch', 'triton', 'transformers', 'safetensors')}\n"
            "print(json.dumps(v | {'cuda': torch.version.cuda}))"
        )
        # the last line: some packages speak while they are imported
        run = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        )
        name, driver = (part.strip() for part in nvidia("name,driver_version").splitlines()[0].split(","))
        weights = sum(f.stat().st_size for f in self.model.glob("*.safetensors"))
        return {
            "date": time.strftime("%Y-%m-%d"),
            "gpu": name,
            "driver": driver,
            "versions": json.loads(run.stdout.splitlines()[-1]) | {"python": platform.python_version()},
            "cpus": os.cpu_count(),
            "model": {
                "weights, GB": round(weights / 1e9, 2),
                "files": len(list(self.model.glob("*.safetensors"))),
                "config": json.loads((self.model / "config.json").read_text()),
            },
            "command": [self.hide(part) for part in self.command(Kind(""))],
            "environment": {name: self.hide(value) for name, value in self.variables.items()},
            "kinds": {name: kind.means for name, kind in KINDS.items()},
            "units": "marks: seconds since the process was started; reported: seconds that vLLM says the phase took",
        }

    def hide(self, text: str) -> str:
        return text.replace(str(self.model), "MODEL").replace(str(self.work), "WORK")


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {}
    for run in runs:
        seconds.setdefault(run["run"], []).append(run["marks"]["first completion"])
    return {
        name: {"runs": len(each), "median": round(statistics.median(each), 1), "min": min(each), "max": max(each)}
        for name, each in seconds.items()
    }


def nvidia(query: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="directory of the model, with its weights in *.safetensors")
    parser.add_argument("output", type=Path, help="JSON file to write, or to add to")
    parser.add_argument("--work", type=Path, required=True, help="directory for the caches; emptied as runs need it")
    parser.add_argument("--logs", type=Path, help="directory for the engines' logs (default: below --work)")
    parser.add_argument("--runs", default=",".join(KINDS), help=f"in this order, of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run that may end later than this")
    parser.add_argument("--longest", type=float, default=120, help="seconds that a run may take")
    parser.add_argument("--vllm", default="vllm", help="command that runs vLLM")
    parser.add_argument("--serve", default="--max-model-len 8192", help="options of `vllm serve`")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the engine")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--idle-mib", type=int, default=1000, help="the GPU counts as free below this")
    options = parser.parse_args()
    if unknown := set(options.runs.split(",")) - set(KINDS):
        parser.error(f"unknown runs: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    begun = time.monotonic()
    options = arguments()
    bench = Bench(options)
    result = json.loads(options.output.read_text()) if options.output.exists() else bench.about() | {"runs": []}
    for name in options.runs.split(","):
        if time.monotonic() - begun + options.longest > options.seconds:
            print(f"no time left for {name}")
            continue
        if KINDS[name].kept and not bench.saved.exists():
            print(f"{name} needs the caches of a cold run before it")
            continue
        run = bench.run(name)
        result["runs"].append(run)
        result["seconds to the first completion"] = summary(result["runs"])
        options.output.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps({key: run[key] for key in SHOWN}), flush=True)


if __name__ == "__main__":
    main()
