#!/usr/bin/python3
"""nvidia-smi of the lab: what NVML's stand-in says of the GPUs, as a table, as a list, or as CSV.

A library apart from its module, no module, or a lost GPU end it as they end the real one: by NVML's own code.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable

FAILURES = {
    9: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n",
    18: "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: {branch}",
}


class Memory(ctypes.Structure):
    """nvmlMemory_v2_t, in bytes."""

    _fields_ = [("version", ctypes.c_uint)] + [
        (name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used")
    ]


class Failure(Exception):
    """An NVML call that failed: its code, and what is printed."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gpu:
    """One GPU, by its index."""

    def __init__(self, library: ctypes.CDLL, index: int) -> None:
        self.library, self.index, self.handle = library, index, ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self.handle))

    def call(self, function: str, *arguments: object) -> None:
        if code := getattr(self.library, function)(*arguments):
            reason = "GPU is lost.  Reboot the system to recover this GPU" if code == 15 else "Unknown Error"
            raise Failure(code, f"Unable to determine the device handle for GPU{self.index}: {reason}")

    def text(self, function: str) -> str:
        buffer = ctypes.create_string_buffer(96)
        self.call(function, self.handle, buffer, ctypes.c_uint(len(buffer)))
        return buffer.value.decode()

    def memory(self) -> Memory:
        memory = Memory(version=ctypes.sizeof(Memory) | 2 << 24)
        self.call("nvmlDeviceGetMemoryInfo_v2", self.handle, ctypes.byref(memory))
        return memory


def driver(library: ctypes.CDLL) -> str:
    buffer = ctypes.create_string_buffer(80)
    library.nvmlSystemGetDriverVersion(buffer, ctypes.c_uint(len(buffer)))
    return buffer.value.decode()


QUERY: dict[str, Callable[[Gpu], str]] = {
    "index": lambda gpu: str(gpu.index),
    "name": lambda gpu: gpu.text("nvmlDeviceGetName"),
    "uuid": lambda gpu: gpu.text("nvmlDeviceGetUUID"),
    "driver_version": lambda gpu: driver(gpu.library),
    "memory.total": lambda gpu: f"{gpu.memory().total >> 20} MiB",
    "memory.used": lambda gpu: f"{gpu.memory().used >> 20} MiB",
}


def listing(gpus: list[Gpu]) -> list[str]:
    return [f"GPU {gpu.index}: {QUERY['name'](gpu)} (UUID: {QUERY['uuid'](gpu)})" for gpu in gpus]


def csv(gpus: list[Gpu], fields: list[str], header: bool) -> list[str]:
    titles = [f"{field} [MiB]" if field.startswith("memory.") else field for field in fields]
    rows = [[QUERY[field](gpu) for field in fields] for gpu in gpus]
    return [", ".join(row) for row in ([titles] if header else []) + rows]


def table(gpus: list[Gpu], library: ctypes.CDLL) -> list[str]:
    cuda = ctypes.c_int()
    library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda))
    version, rule = driver(library), f"+{'-' * 78}+"
    shown = f"{cuda.value // 1000}.{cuda.value % 1000 // 10}"
    head = f"NVIDIA-SMI {version}    Driver Version: {version}    CUDA Version: {shown}"
    rows = [
        f"{gpu.index:>4}  {QUERY['name'](gpu):<40} {gpu.memory().used >> 20:>8}MiB / {gpu.memory().total >> 20}MiB"
        for gpu in gpus
    ]
    return [rule, *(f"| {line:<76} |" for line in [head, "Simulated GPUs of the lab", *rows]), rule]


def start() -> tuple[ctypes.CDLL, list[Gpu]]:
    library = ctypes.CDLL("libnvidia-ml.so.1")
    if code := library.nvmlInit_v2():
        raise Failure(code, FAILURES[code].format(branch=".".join(driver(library).split(".")[:2])))
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return library, [Gpu(library, index) for index in range(count.value)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="nvidia-smi", description="The lab's: simulated GPUs.")
    parser.add_argument("-L", "--list-gpus", action="store_true")
    parser.add_argument("--query-gpu", type=lambda text: text.split(","), metavar=",".join(QUERY))
    parser.add_argument("--format", choices=["csv", "csv,noheader"], default="csv")
    asked = parser.parse_args()
    if unknown := set(asked.query_gpu or ()) - set(QUERY):
        parser.error(f"--query-gpu: {', '.join(sorted(unknown))}: the lab's knows {', '.join(QUERY)}")
    try:
        library, gpus = start()
        if asked.list_gpus:
            lines = listing(gpus)
        elif asked.query_gpu:
            lines = csv(gpus, asked.query_gpu, asked.format == "csv")
        else:
            lines = table(gpus, library)
    except Failure as failure:
        print(failure)
        return failure.code
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
