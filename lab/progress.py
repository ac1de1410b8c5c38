"""Showing long work: live lines on a terminal (what, how far, how long), plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Reporter:
    """Steps may run at the same time, each from its own thread."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.live: Progress | None = None
        if self.console.is_terminal:
            self.live = Progress(
                SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), BarColumn(bar_width=20),
                TextColumn("{task.fields[note]}"), TimeElapsedColumn(), console=self.console,
            )  # fmt: skip

    def __enter__(self) -> Reporter:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    @contextmanager
    def step(self, title: str, measure: Callable[[], float] | None = None) -> Iterator[None]:
        """Show one step while it runs; `measure` says how far it is, from 0 to 1, and is asked once a second."""
        began = time.monotonic()
        if self.live is None:
            self.console.print(f"{title} ...")
            yield
            self.console.print(f"{title}: {time.monotonic() - began:.0f} s")
            return
        task = self.live.add_task(title, total=1.0 if measure else None, note="")
        over = threading.Event()
        if measure:
            threading.Thread(target=self._watch, args=(task, measure, over), daemon=True).start()
        try:
            yield
        except BaseException:  # Ctrl-C too leaves a step unfinished; it goes on upwards
            self.live.update(task, note="[red]failed")
            self.live.stop_task(task)
            raise
        finally:
            over.set()
        self.live.update(task, total=1, completed=1, note="")

    def _watch(self, task: TaskID, measure: Callable[[], float], over: threading.Event) -> None:
        while self.live and not over.wait(1):
            done = measure()
            self.live.update(task, completed=done, note=f"{100 * done:.0f} %")
