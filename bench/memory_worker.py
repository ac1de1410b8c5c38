"""The worker that bench/memory_truth.py puts in the place of vLLM's: the same one, but it writes down what it measures.

Each rank appends a JSON object for each step of its start to rank-N.jsonl in the directory of MEMORY_TRUTH, so that an
engine that fails later has left what was known by then. All sizes are in bytes.

This module imports vLLM, and is imported by the engine's processes alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import vllm
import vllm.v1.worker.gpu_worker as gpu_worker
from vllm.v1.worker.worker_base import CompilationTimes

# what is live at the peak is told one by one from this size on
LARGE = 16 << 20
FRAMES = 4
PACKAGE = Path(vllm.__file__).parent


# vLLM is there on the GPU machine, not where this is checked
class MeasuredWorker(gpu_worker.Worker):  # type: ignore[misc, unused-ignore]
    def load_model(self, *arguments: Any, **named: Any) -> None:
        begin = self.init_snapshot
        self.note("started", total=begin.total_memory, free=begin.free_memory, requested=int(self.requested_memory))
        super().load_model(*arguments, **named)
        scheduler = self.vllm_config.scheduler_config
        self.note(
            "loaded",
            weights=int(self.model_runner.model_memory_usage),
            parameters=tensor_bytes(self.model_runner.get_model()),
            runner="V2" if self.use_v2_model_runner else "V1",
            max_num_seqs=scheduler.max_num_seqs,
            max_num_batched_tokens=scheduler.max_num_batched_tokens,
            max_model_len=self.model_config.max_model_len,
            quantization=self.model_config.quantization,
            dtype=str(self.model_config.dtype).removeprefix("torch."),
        )

    @torch.inference_mode()
    def determine_available_memory(self) -> int:
        with self.profile_noted(), self.peak_noted():
            available: int = super().determine_available_memory()
        self.note(
            "profiled",
            activation=self.peak_activation_memory,
            # newer versions report what was consumed instead
            non_torch=getattr(self, "non_torch_memory", None),
            graphs_estimated=self.cudagraph_memory_estimate,
            kv_bytes=available,
        )
        return available

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        groups = [
            {
                "kind": type(group.kv_cache_spec).__name__,
                "layers": len(group.layer_names),
                "block_size": group.kv_cache_spec.block_size,
                "page_bytes": group.kv_cache_spec.page_size_bytes,
                "sliding_window": getattr(group.kv_cache_spec, "sliding_window", None),
            }
            for group in kv_cache_config.kv_cache_groups
        ]
        tensors = kv_cache_config.kv_cache_tensors
        self.note(
            "planned",
            kv_blocks=kv_cache_config.num_blocks,
            kv_groups=groups,
            kv_tensors=len(tensors),
            kv_allocated=sum(tensor.size for tensor in tensors),
        )
        super().initialize_from_config(kv_cache_config)
        backends = {group.backend.get_name() for groups in self.model_runner.attn_groups for group in groups}
        self.note("allocated", attention=sorted(backends), free_after=torch.accelerator.get_memory_info(self.device)[0])

    def compile_or_warm_up_model(self) -> Any:
        if self.model_config.enforce_eager:
            # nothing of what is asked is settled here, and it takes long
            return CompilationTimes(language_model=0.0, encoder=0.0)
        capture = self.model_runner.capture_model

        def captured(*arguments: Any, **named: Any) -> Any:
            graphs = capture(*arguments, **named)
            self.note("captured", graphs=int(graphs))
            return graphs

        self.model_runner.capture_model = captured
        times = super().compile_or_warm_up_model()
        sizes = self.vllm_config.compilation_config.cudagraph_capture_sizes
        self.note(
            "ready",
            graph_sizes=len(sizes or ()),
            largest_graph=max(sizes or (0,)),
            graph_mode=self.vllm_config.compilation_config.cudagraph_mode.name,
            free_ready=torch.accelerator.get_memory_info(self.device)[0],
        )
        return times

    def note(self, step: str, **values: Any) -> None:
        record = {"step": step, **values}
        with (Path(os.environ["MEMORY_TRUTH"]) / f"rank-{self.rank}.jsonl").open("a") as out:
            out.write(json.dumps(record, default=str) + "\n")

    @contextlib.contextmanager
    def profile_noted(self) -> Iterator[None]:
        """Note the snapshots that the profile is computed from.

        Newer vLLM takes from the memory requested what the engine consumed in all, and the headroom of the peak over
        what stays. Both are noted, whichever this version uses.
        """
        original = gpu_worker.memory_profiling

        @contextlib.contextmanager
        def noted(*arguments: Any, **named: Any) -> Iterator[Any]:
            with original(*arguments, **named) as result:
                yield result
                peak = torch.accelerator.memory_stats(self.device)["allocated_bytes.all.peak"]
            stays = torch.accelerator.memory_stats(self.device)["allocated_bytes.all.current"]
            self.note(
                "snapshots",
                consumed=result.before_create.free_memory - result.after_profile.free_memory,
                headroom=peak - stays,
                torch_before=result.before_profile.torch_peak,
                torch_peak=peak,
                torch_after=stays,
                reserved_after=result.after_profile.torch_memory,
                non_torch_start=result.before_create.non_torch_memory,
                non_torch_before=result.before_profile.non_torch_memory,
                non_torch_after=result.after_profile.non_torch_memory,
            )

        gpu_worker.memory_profiling = noted
        try:
            yield
        finally:
            gpu_worker.memory_profiling = original

    @contextlib.contextmanager
    def peak_noted(self) -> Iterator[None]:
        """Note what is live at the peak of the profile run, if this case asks for it."""
        if not os.environ.get("MEMORY_TRUTH_PEAKS"):
            yield
            return
        run = self.model_runner.profile_run

        def recorded(*arguments: Any, **named: Any) -> None:
            memory = torch.cuda.memory
            memory._record_memory_history(enabled="all", context="alloc", stacks="python", max_entries=4_000_000)
            run(*arguments, **named)
            events = memory._snapshot()["device_traces"][torch.cuda.current_device()]
            memory._record_memory_history(enabled=None)
            self.note("peak", **dataclasses.asdict(at_peak(events)))

        self.model_runner.profile_run = recorded
        try:
            yield
        finally:
            self.model_runner.profile_run = run


@dataclasses.dataclass
class Peak:
    """What the profile run had allocated, and not freed, when that was most."""

    total: int
    large: list[dict[str, Any]]
    small_count: int
    small_bytes: int
    stays_after: int


def at_peak(events: list[dict[str, Any]]) -> Peak:
    live: dict[int, dict[str, Any]] = {}
    held = most = 0
    at: list[dict[str, Any]] = []
    for event in events:
        match event["action"]:
            case "alloc":
                live[event["addr"]] = event
                held += event["size"]
                if held > most:
                    most, at = held, []
            case "free_requested" if event["addr"] in live:
                if held == most and not at:
                    at = list(live.values())
                held -= live.pop(event["addr"])["size"]
    at = at or list(live.values())
    large = sorted((event for event in at if event["size"] >= LARGE), key=lambda event: -event["size"])
    small = [event["size"] for event in at if event["size"] < LARGE]
    shown = [{"bytes": event["size"], "from": source(event["frames"])} for event in large]
    return Peak(most, shown, len(small), sum(small), held)


def source(frames: list[dict[str, Any]]) -> list[str]:
    """The innermost lines of vLLM that led to an allocation, and before them the innermost of all if not vLLM's."""

    def own(frame: dict[str, Any]) -> bool:
        return str(frame["filename"]).startswith(f"{PACKAGE}/")

    def line(frame: dict[str, Any]) -> str:
        file = Path(frame["filename"])
        if "inductor_cache" in file.parts:
            return f"compiled graph: {frame['name']}"
        name = f"vllm/{file.relative_to(PACKAGE)}" if own(frame) else "/".join(file.parts[-3:])
        return f"{name}:{frame['line']} {frame['name']}"

    inner = [line(frame) for frame in frames if own(frame)]
    outer = [] if not frames or own(frames[0]) else [line(frames[0])]
    return outer + inner[:FRAMES]


def tensor_bytes(model: torch.nn.Module) -> int:
    """Parameters and buffers, each storage once."""
    storages = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_cuda:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
