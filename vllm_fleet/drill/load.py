"""Requests to a model, in the background, until they are stopped."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Self

import httpx

from vllm_fleet.drill.fault import Load

IMPATIENT_SECONDS = 2.0
PAUSE_SECONDS = 1.0
"""After an answer other than 200: a gateway that refuses is not to be flooded."""
ANSWER_SECONDS = 900.0
"""For one answer; also bounds how long a thread outlives `stop`."""


class Traffic:
    """Runs a load: `Load.clients` threads at most."""

    def __init__(self, load: Load, client: httpx.Client) -> None:
        self._load, self._client = load, client
        self._over = threading.Event()
        self._numbers = itertools.count()
        numbers = range(load.clients)
        self._threads = [threading.Thread(target=self._begin, args=(each,), daemon=True) for each in numbers]

    def start(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """No more requests; those under way are left."""
        self._over.set()

    def _begin(self, number: int) -> None:
        late = number - self._load.first_clients + 1
        share = max(0, late) / max(1, self._load.clients - self._load.first_clients)
        self._over.wait(share * self._load.ramp_seconds)
        leaves = self._load.impatient and number % self._load.impatient == 0
        while not self._over.is_set():
            if not self._ask(IMPATIENT_SECONDS if leaves else ANSWER_SECONDS):
                self._over.wait(PAUSE_SECONDS)

    def _ask(self, seconds: float) -> bool:
        """One request, left after `seconds`; whether it was taken."""
        prompt = " ".join(f"{next(self._numbers)}" for _ in range(self._load.words))
        body = {"model": self._load.model, "prompt": prompt, "max_tokens": self._load.max_tokens}
        body |= {"ignore_eos": True, "stream": True}
        end = time.monotonic() + seconds
        try:
            with self._client.stream("POST", "/v1/completions", json=body, timeout=seconds) as answer:
                for _ in answer.iter_raw():
                    if self._over.is_set() or time.monotonic() > end:
                        break
                return answer.status_code == 200
        except httpx.HTTPError:  # an engine that dies or stands still is what the drill wants
            return False
