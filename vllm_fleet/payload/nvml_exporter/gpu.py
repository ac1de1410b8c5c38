"""One GPU: what it is, and what it says in each round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, cycle
from typing import Any

import pynvml

from . import mig, readings
from .activity import Activity
from .faults import LOST, NOT_THERE, OF_THE_LIBRARY, name_of
from .pci import pci_slot
from .processes import memory_by_unit
from .readings import Number
from .text import Sample, labels


class Gpu:
    """A GPU that answers. What it does not support has no series; other failures are counted."""

    def __init__(self, index: int, driver: str, errors: Counter[str]) -> None:
        """Raises NVMLError for one that does not answer."""
        self.index, self.errors = index, errors
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.labels = labels(gpu=index, uuid=pynvml.nvmlDeviceGetUUID(self.handle))
        self.pci = pci_slot(pynvml.nvmlDeviceGetPciInfo(self.handle).busId)
        self._info = labels(
            name=pynvml.nvmlDeviceGetName(self.handle),
            pci=self.pci,
            serial=self._ask(pynvml.nvmlDeviceGetSerial) or "",
            vbios=self._ask(pynvml.nvmlDeviceGetVbiosVersion) or "",
            driver=driver,
        )
        every = range(pynvml.NVML_NVLINK_MAX_LINKS)
        links = [link for link in every if self._ask(pynvml.nvmlDeviceGetNvLinkState, link) is not None]
        self._often = (*readings.OFTEN, *readings.states_of(links))
        self._fields = (*readings.FIELDS, *readings.bytes_of(links))
        self._link_errors = {link: self._errors_of(link) for link in links}
        self._turns = cycle(links)
        self._activity: Activity | None = self._ask(Activity)
        self._divided: list[Any] = []
        self._kept: list[Sample] | None = None

    def samples(self, *, seldom: bool, next_link: bool) -> list[Sample]:
        """What it says now, and what it said last of what is asked `seldom` and of the errors of its NVLinks, of which
        the next is asked where that is wanted. Raises NVMLError when it is lost, or the library fails.
        """
        if seldom or self._kept is None:
            self._kept = [*self._rarely()]
        if next_link and self._link_errors:
            link = next(self._turns)
            self._link_errors[link] = self._errors_of(link)
        said = [*self._now(), *self._kept, *chain.from_iterable(self._link_errors.values())]
        said += [("nvml_errors_total", labels(error=name), count) for name, count in self.errors.items()]
        return readings.of_gpu(self.labels, [("nvml_gpu_up", "", 1), *said])

    def free(self) -> None:
        """Before the library is left."""
        if self._activity:
            self._activity.free()

    def _now(self) -> Iterator[Sample]:
        for look in (readings.memory, readings.utilization, readings.remapped_rows):
            yield from self._ask(look) or []
        yield from self._numbers(self._often)
        yield from self._ask(readings.fields, self._fields) or []
        yield from self._ask(self._processes) or []
        if self._activity:
            activity = self._activity
            yield from self._ask(lambda _handle: activity.read()) or []

    def _rarely(self) -> Iterator[Sample]:
        yield "nvml_gpu_info", self._info, 1
        for look in (readings.ecc_mode, readings.fabric):
            yield from self._ask(look) or []
        yield from self._numbers(readings.SELDOM)
        yield from self._ask(self._mig) or []

    def _mig(self, handle: Any) -> list[Sample]:
        self._divided = mig.devices(handle)
        return mig.samples(self._divided)

    def _processes(self, handle: Any) -> list[Sample]:
        """A divided GPU's processes are those of its parts."""
        running = [
            process
            for device in (self._divided or [handle])
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(device)
        ]
        held = memory_by_unit(running)
        return [("nvml_process_memory_bytes", labels(unit=unit), size) for unit, size in sorted(held.items())]

    def _errors_of(self, link: int) -> list[Sample]:
        return [*self._numbers(readings.errors_of(link))]

    def _numbers(self, numbers: tuple[Number, ...]) -> Iterator[Sample]:
        for each in numbers:
            value = self._ask(each.call, *each.arguments)
            if value is not None:
                yield each.family, each.labels, readings.scaled(value, each.times, each.per)

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(self.handle, *arguments)
        except pynvml.NVMLError as error:
            if error.value in LOST or error.value in OF_THE_LIBRARY:
                raise
            if error.value not in NOT_THERE:
                self.errors[name_of(error)] += 1
            return None
