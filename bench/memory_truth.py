"""What vLLM itself reports of a GPU's memory, for many models, without their weights.

    python bench/memory_truth.py CASES.json OUTPUT.json --work DIRECTORY [--gpus 0,1,2,3] [--only REGEX] [options]

Starts an engine for each case on random weights (`load_format="dummy"`), from nothing but the model's config.json, and
notes what it says of weights, peak activation, non-torch memory, CUDA graphs and the KV cache. Needs GPUs and vLLM.
The figures are the engine's own, in bytes, from its worker (bench/memory_worker.py), and from its log where only the
log has them. `fleet plan` is compared with them in the tests.

CASES.json holds a list of objects with

    name             of the case
    model            the model's name on the hub: its config is vllm_fleet/planner/models/ORG--NAME.json
    config_changes   merged over that (a cut in depth, for a model that would not fit)
    options          of the engine, as keyword arguments of vllm.LLM
    environment      variables for this engine alone
    processor        for a model that also sees, or pools: the files of its processor, its special tokens, and how many
                     tokens it has
    draft_model      hub name of the draft model, if any
    peaks            true: also what is live at the peak of the profile run
    seconds          the most that it may take (default: --longest)

The engines run at once, one a GPU, each in a fresh process that is forked from this one, which has imported vLLM but
not touched a GPU. Those with tensor or pipeline parallelism take several GPUs. Cases start in the order of the file, so
the ones for several GPUs belong to its end. OUTPUT.json is written anew after each case, and a case that is in it
already is not run again. Eager cases end once the KV cache is allocated; the others also capture their CUDA graphs.

docs/measurements/memory-h200.json (vLLM 0.26) and memory-h200-vllm-0.33.json were made with it on 2026-11-21 from
bench/memory_cases.json on four H200s, in 300 s and 600 s. What is live at the peaks is in memory-h200-peaks.json there.
The registry of vLLM looks at a model's class in another process, which takes longer than all else here, and keeps what
it learned below VLLM_CACHE_ROOT/modelinfos: put that directory of an earlier run into WORK/cache/vllm.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).parents[1] / "vllm_fleet" / "planner" / "models"
OPTIONS = {
    "load_format": "dummy",
    "gpu_memory_utilization": 0.9,
    "max_model_len": 8192,
    "enforce_eager": True,
    "disable_log_stats": True,
    "worker_cls": "memory_worker.MeasuredWorker",
}
# imported once, before the engines are forked
PRELOADED = (
    "vllm",
    "vllm.entrypoints.llm",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.layers.fused_moe",
    "memory_worker",
)
SAID = {
    "kv_tokens": r"GPU KV cache size: ([\d,]+) tokens",
    "concurrency": r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x",
    "concurrency_of": r"Maximum concurrency for ([\d,]+) tokens per request",
}
# which kernels it chose
CHOICE = re.compile(r"] (?:\(.*\) )?((?:Using|Selected|Auto-selected) .*(?:backend|kernel|Kernel|runner|Runner).*)")
FAILED = re.compile(
    r"^(?:\(.*?\) )?(?:\S+ \S+ \S+ \[.*?\] )?([\w.]*(?:Error|Exception|Interrupt)\b.*|  Value error, .*)"
)


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    config_changes: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    draft_model: str = ""
    peaks: bool = False
    seconds: float = 0

    @property
    def gpus(self) -> int:
        tensor, pipeline = (int(self.options.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline"))
        return tensor * pipeline

    def write_model(self, directory: Path) -> None:
        write(directory / "config.json", merged(catalogued(self.model), self.config_changes))
        for name, content in self.processor.get("files", {}).items():
            write(directory / name, content)
        if tokens := self.processor.get("tokens"):
            write_tokenizer(directory, tokens, self.processor["vocabulary"])

    def engine_options(self, directory: Path) -> dict[str, Any]:
        options = {**OPTIONS, "skip_tokenizer_init": not self.processor, **self.options, "model": str(directory)}
        if self.draft_model:
            draft = directory / "draft"
            write(draft / "config.json", catalogued(self.draft_model))
            options["speculative_config"] = {**options["speculative_config"], "model": str(draft)}
        return options

    def about(self) -> dict[str, Any]:
        about = {
            "name": self.name,
            "model": self.model,
            "config_changes": self.config_changes,
            "options": self.options,
            "environment": self.environment,
            "draft_model": self.draft_model,
        }
        return {name: value for name, value in about.items() if value or name == "options"}


@dataclass
class Run:
    case: Case
    gpus: list[int]
    directory: Path
    process: BaseProcess
    started: float


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work.resolve()
        self.output: Path = options.output
        self.free: list[int] = [int(gpu) for gpu in options.gpus.split(",")]
        self.begun = time.monotonic()
        self.context = multiprocessing.get_context(options.start)
        before = json.loads(self.output.read_text()) if self.output.exists() else {}
        self.results: list[dict[str, Any]] = before.get("cases", [])
        self.made: dict[str, Any] = before.get("made", {})

    def all(self, cases: list[Case]) -> None:
        os.environ.update(environment(self.work))
        for module in PRELOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        self.made = about()
        print(f"imported after {time.monotonic() - self.begun:.1f} s", flush=True)
        runs: list[Run] = []
        pending = list(cases)
        try:
            while pending or runs:
                while pending and len(self.free) >= pending[0].gpus and self.time_for(pending[0]):
                    runs.append(self.start(pending.pop(0)))
                if pending and not self.time_for(pending[0]):
                    print(f"no time left for {pending.pop(0).name}", flush=True)
                    continue
                time.sleep(0.1)  # engines end when they like, each within its limit
                for run in [run for run in runs if self.ended(run)]:
                    runs.remove(run)
                    self.finish(run)
        finally:
            for run in runs:
                stop(run.process)

    def limit(self, case: Case) -> float:
        return case.seconds or float(self.options.longest)

    def time_for(self, case: Case) -> bool:
        used = time.monotonic() - self.begun
        return bool(used + min(self.limit(case), self.options.usual) <= self.options.seconds)

    def start(self, case: Case) -> Run:
        directory = self.work / re.sub(r"[^\w.-]+", "-", case.name)
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "model").mkdir(parents=True)
        gpus, self.free = self.free[: case.gpus], self.free[case.gpus :]
        process = self.context.Process(target=engine, args=(case, directory, gpus), daemon=False)
        process.start()
        return Run(case, gpus, directory, process, time.monotonic())

    def ended(self, run: Run) -> bool:
        if not run.process.is_alive():
            return True
        over = time.monotonic() - self.begun > self.options.seconds
        return over or time.monotonic() - run.started > self.limit(run.case)

    def finish(self, run: Run) -> None:
        cut = run.process.is_alive()
        stop(run.process)
        self.free = sorted([*self.free, *run.gpus])
        result = run.case.about() | measured(run.directory)
        if cut:
            result["failure"] = f"cut off after {self.limit(run.case):.0f} s; {result.get('failure', '')}".rstrip("; ")
        elif "kv_tokens" in result and "attention" in result and not run.process.exitcode:
            result.pop("failure", None)
        result["seconds"] = round(time.monotonic() - run.started, 1)
        self.results = [*(other for other in self.results if other["name"] != run.case.name), result]
        self.output.write_text(as_text({"made": self.made, "cases": self.results}))
        shown = ("name", "seconds", "weights", "activation", "non_torch", "graphs", "kv_bytes", "kv_tokens", "failure")
        print(json.dumps([result.get(key) for key in shown]), flush=True)


def as_text(content: dict[str, Any]) -> str:
    """The output file: JSON with one case a line, so that two runs can be compared."""
    made = json.dumps(content["made"], indent=1).replace("\n", "\n ")
    cases = ",\n".join(f"  {json.dumps(case)}" for case in content["cases"])
    return f'{{\n "made": {made},\n "cases": [\n{cases}\n ]\n}}\n'


# ---- in the engine's own process


def engine(case: Case, directory: Path, gpus: list[int]) -> None:
    os.setsid()
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ |= {
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "MEMORY_TRUTH": str(directory),
        **({"MEMORY_TRUTH_PEAKS": "1"} if case.peaks else {}),
        **case.environment,
    }
    code = 1
    try:
        from vllm import LLM

        case.write_model(directory / "model")
        LLM(**case.engine_options(directory / "model"))
        code = 0
    except BaseException:  # also what an engine exits with: the log gets it, and the process ends below
        traceback.print_exc()
    finally:
        # its threads and workers need no farewell: the group is killed
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop(process: BaseProcess) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


# ---- what it left


def measured(directory: Path) -> dict[str, Any]:
    ranks = {
        int(file.stem.removeprefix("rank-")): rank_of(file.read_text()) for file in sorted(directory.glob("rank-*"))
    }
    log = (directory / "log").read_text(errors="replace") if (directory / "log").exists() else ""
    result = dict(ranks.get(0, {}))
    for what, pattern in SAID.items():
        if found := re.search(pattern, log):
            number = found[1].replace(",", "")
            result[what] = float(number) if "." in number else int(number)
    result["choices"] = list(dict.fromkeys(found[1] for line in log.splitlines() if (found := CHOICE.search(line))))
    failures = [found[1] for line in log.splitlines() if (found := FAILED.match(line))]
    if failures:
        result["failure"] = failures[-1].strip()
    if len(ranks) > 1:
        result["ranks"] = [{"rank": rank, **values} for rank, values in ranks.items()]
    return result


def rank_of(text: str) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for line in text.splitlines():
        step = json.loads(line)
        if step.pop("step") == "peak":
            record["peak"] = step
        else:
            record |= step
    return record


def about() -> dict[str, Any]:
    import torch
    import vllm

    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpus = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    name, driver = (part.strip() for part in (gpus or ["none,none"])[0].split(","))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": name,
        "gpus": len(gpus),
        "driver": driver,
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "command": "python bench/memory_truth.py bench/memory_cases.json",
        "options": {name: value for name, value in OPTIONS.items() if name != "worker_cls"},
        "environment": ENVIRONMENT,
        "units": "bytes",
    }


ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "DEBUG",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    # a GPU that is touched before the fork is lost to the engines
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def environment(work: Path) -> dict[str, str]:
    own = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = ":".join(filter(None, [own, os.environ.get("PYTHONPATH", "")]))
    caches = {
        "VLLM_CACHE_ROOT": "vllm",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
        "DG_JIT_CACHE_DIR": "deep-gemm",
        "HF_HOME": "huggingface",
    }
    return {**ENVIRONMENT, **{variable: str(work / "cache" / name) for variable, name in caches.items()}}


# ---- models


def catalogued(model: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CATALOGUE / f"{model.replace('/', '--')}.json").read_text())
    return config


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = dict(config)
    for key, value in changes.items():
        before = both.get(key)
        both[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def write_tokenizer(directory: Path, special: dict[str, int], vocabulary: int) -> None:
    """A tokenizer that knows the special tokens of the model, and one word for each other number."""
    names = {number: token for token, number in special.items()}
    words = {names.get(number, f"w{number}"): number for number in range(vocabulary)}
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token, number in sorted(special.items(), key=lambda item: item[1])
    ]
    write(
        directory / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": words, "unk_token": names.get(0, "w0")},
        },
    )


def cases_of(options: argparse.Namespace) -> Iterator[Case]:
    done: set[str] = set()
    if options.output.exists():
        done = {case["name"] for case in json.loads(options.output.read_text())["cases"] if "failure" not in case}
    for each in json.loads(options.cases.read_text()):
        case = Case(**each)
        if re.search(options.only, case.name) and case.name not in done:
            yield case


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("output", type=Path, help="JSON file to write, or to add to")
    parser.add_argument("--work", type=Path, required=True, help="directory for models, logs and caches")
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--start", choices=("fork", "spawn"), default="fork", help="how an engine's process is made")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name it fits")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end then, whatever still runs")
    parser.add_argument("--longest", type=float, default=90, help="seconds that a case may take")
    parser.add_argument("--usual", type=float, default=20, help="start no case with less time than this left")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    gpus = len(options.gpus.split(","))
    cases = list(cases_of(options))
    for case in (case for case in cases if case.gpus > gpus):
        print(f"{case.name} needs {case.gpus} GPUs")
    Bench(options).all([case for case in cases if case.gpus <= gpus])


if __name__ == "__main__":
    main()
