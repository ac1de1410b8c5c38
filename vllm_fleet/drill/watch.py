"""What Prometheus, Alertmanager and the webhooks' receiver say of alerts, looked at again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

LOOK_SECONDS = 2.0
"""So a measured time is up to this too long."""

Labels = Mapping[str, str]


@dataclass
class Seen:
    """One alert (a name with its labels) over the drill; times in seconds since the epoch."""

    labels: Labels
    firing: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it was seen firing, each time anew."""
    silenced_by: set[str] = field(default_factory=set)


class Watch:
    """A thread that looks until it is stopped."""

    def __init__(self, prometheus: str, alertmanager: str, receipts: str | None) -> None:
        self._prometheus, self._alertmanager, self._receipts = prometheus, alertmanager, receipts
        self._seen: dict[frozenset[tuple[str, str]], Seen] = {}
        self._received: list[dict[str, Any]] = []
        self._client = httpx.Client(timeout=10)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._last = 0.0

    def start(self) -> None:
        """Raises httpx.HTTPError when Prometheus does not answer."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def alerts(self, name: str | None = None, labels: Labels | None = None) -> list[Seen]:
        """Those of a name that carry the labels; all without."""
        return [each for each in list(self._seen.values()) if _matches(each.labels, name, labels or {})]

    def received(self, name: str, labels: Labels, since: float) -> float | None:
        """When the receiver was first told of such an alert."""
        return next(
            (
                each["at"]
                for each in self._received
                if each["status"] == "firing" and each["at"] >= since and _matches(each["labels"], name, labels)
            ),
            None,
        )

    def is_firing(self, seen: Seen) -> bool:
        """Whether it was so at the last look."""
        return bool(seen.firing) and seen.firing[-1][1] == self._last

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query's result. Raises httpx.HTTPError."""
        answer = self._client.get(f"{self._prometheus}/api/v1/query", params={"query": expression})
        result: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return result

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(httpx.HTTPError):  # a drill may cut it off for a while; the next look tells again
                self.look()

    def look(self) -> None:
        """Asks all three once. Raises httpx.HTTPError."""
        alerts = self._client.get(f"{self._prometheus}/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        now, before = time.time(), self._last
        for alert in alerts:
            if alert["state"] == "firing":
                seen = self._of(alert["labels"])
                if seen.firing and seen.firing[-1][1] == before:
                    seen.firing[-1] = (seen.firing[-1][0], now)
                else:
                    seen.firing.append((now, now))
        self._last = now
        if self._receipts:
            self._received = self._client.get(self._receipts).raise_for_status().json()
        # the last, for a drill may stop it
        held = self._client.get(f"{self._alertmanager}/api/v2/alerts").raise_for_status().json()
        names = {alert["fingerprint"]: alert["labels"]["alertname"] for alert in held}
        for alert in held:
            by = {names[one] for one in alert["status"]["inhibitedBy"] if one in names}
            self._of(alert["labels"]).silenced_by |= by

    def _of(self, labels: Labels) -> Seen:
        return self._seen.setdefault(frozenset(labels.items()), Seen(dict(labels)))


def _matches(carried: Labels, name: str | None, labels: Labels) -> bool:
    wanted = {**labels, **({"alertname": name} if name else {})}
    return wanted.items() <= carried.items()
