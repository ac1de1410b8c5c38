"""The all-reduce itself: one process a GPU."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import signal
import statistics
import time
from typing import Any

from .findings import MIB

COLLECTIVE_SECONDS = 90
"""After this long torch gives a collective up: a member's process is gone, or its packets are."""
SIZES = {"cpu": [1, 8, 64, 256], "cuda": [1, 8, 64, 256, 1024]}
"""MiB of each all-reduce."""
REPEATS = {"cpu": (1, 5), "cuda": (5, 20)}
"""All-reduces of each size: to warm up, and timed."""
SMALL_BYTES, SMALL_REPEATS = 8192, 100
"""One token's activations of an 8B model in bf16: what a decode step of one stream sends."""
TOO_FEW = "torch sees"
RESULT = "fabric-check-result "
"""Begins the one line of a worker's output that is its result; NCCL may log to the same place."""


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


def bus_gigabytes_per_second(processes: int, size: int, seconds: float) -> float:
    """What each wire carries, whatever the number of processes: nccl-tests' bus bandwidth (its PERFORMANCE.md)."""
    return 2 * (processes - 1) / processes * size / seconds / 1e9


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
