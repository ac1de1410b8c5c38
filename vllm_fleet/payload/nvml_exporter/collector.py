"""Rounds of questions to NVML, and the text of the last one."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass

import pynvml

from .families import FAMILIES
from .faults import LOST, OF_THE_LIBRARY, name_of
from .gpu import Gpu
from .kernel_log import KernelLog
from .text import Sample, exposition, labels

ROUND_SECONDS = 5
SELDOM_ROUNDS = 12
"""What is costly to ask is asked once a minute, one GPU after the other; a lost GPU is looked for as often.
The errors of NVLinks are still costlier: one link of one GPU a round, so eight GPUs take 12 minutes."""


@dataclass(frozen=True)
class Snapshot:
    """What a scrape gets, and when it was made (time.monotonic)."""

    text: str
    taken: float

    def scrape(self) -> bytes:
        """The text with its age, of which an alert hangs: NVML may block for good."""
        age = round(time.monotonic() - self.taken, 3)
        return (exposition(FAMILIES, [("nvml_snapshot_age_seconds", "", age)]) + self.text).encode()


class Collector:
    """Asks NVML in rounds. No fault of NVML's ends it; the library is begun anew after one."""

    def __init__(self, declared: int, log: KernelLog) -> None:
        self.snapshot = Snapshot("", time.monotonic())
        self._declared, self._log = declared, log
        self._round = 0
        self._begun = False
        self._driver = ""
        self._gpus: dict[int, Gpu | None] = {}
        self._labels: dict[int, str] = {}
        self._slots: dict[str, str] = {}
        self._errors: dict[int, Counter[str]] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, name="NVML", daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.snapshot = Snapshot(self.collect(), time.monotonic())
            except Exception:  # whatever it is, the age of the last round tells
                traceback.print_exc()
            time.sleep(max(0.0, began + ROUND_SECONDS - time.monotonic()))  # until the next round

    def collect(self) -> str:
        """One round, as text."""
        began = time.monotonic()
        try:
            samples = self._ask_all()
        except pynvml.NVMLError as error:
            self._end()
            samples = [("nvml_up", "", 0), ("nvml_error_info", labels(error=name_of(error)), 1)]
            samples.append(("nvml_gpus_visible", "", 0))
        samples += [
            ("nvml_gpus_declared", "", self._declared),
            ("nvml_kernel_log_followed", "", int(self._log.followed)),
            *self._xids(),
            ("nvml_collection_seconds", "", round(time.monotonic() - began, 6)),
        ]
        self._round += 1
        return exposition(FAMILIES, samples)

    def _ask_all(self) -> list[Sample]:
        if None in self._gpus.values() and self._round % SELDOM_ROUNDS == 0:
            self._end()  # one that came back is seen only by who begins anew
        if not self._begun:
            self._begin()
        samples: list[Sample] = []
        for index, gpu in self._gpus.items():
            if gpu:
                samples += self._ask(gpu)
            if not self._gpus[index]:
                samples.append(("nvml_gpu_up", self._labels.get(index) or labels(gpu=index, uuid=""), 0))
        visible = sum(gpu is not None for gpu in self._gpus.values())
        return [("nvml_up", "", 1), ("nvml_gpus_visible", "", visible), *samples]

    def _begin(self) -> None:
        pynvml.nvmlInit()
        self._begun = True
        self._driver = pynvml.nvmlSystemGetDriverVersion()
        self._gpus = {index: self._find(index) for index in range(pynvml.nvmlDeviceGetCount())}

    def _find(self, index: int) -> Gpu | None:
        """A GPU, whose labels are kept for when it is lost; None for one that does not answer."""
        try:
            gpu = Gpu(index, self._driver, self._errors.setdefault(index, Counter()))
        except pynvml.NVMLError as error:
            if error.value in OF_THE_LIBRARY:
                raise
            return None
        self._labels[index] = self._slots[gpu.pci] = gpu.labels
        return gpu

    def _ask(self, gpu: Gpu) -> list[Sample]:
        try:
            return gpu.samples(
                seldom=(self._round + gpu.index) % SELDOM_ROUNDS == 0,
                next_link=self._round % len(self._gpus) == gpu.index,
            )
        except pynvml.NVMLError as error:
            if error.value not in LOST:
                raise
            self._gpus[gpu.index] = None
            return []

    def _end(self) -> None:
        try:
            for gpu in filter(None, self._gpus.values()):
                gpu.free()
            if self._begun:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass  # there is nothing left to end
        self._gpus, self._begun = {}, False

    def _xids(self) -> list[Sample]:
        """A GPU that was never seen has no number."""
        samples: list[Sample] = []
        for (slot, number), (count, last) in sorted(self._log.seen().items()):
            marks = f"{self._slots.get(slot) or labels(gpu='', uuid='')},{labels(xid=number)}"
            samples.append(("nvml_xid_errors_total", marks, count))
            samples.append(("nvml_xid_last_timestamp_seconds", marks, last))
        return samples
