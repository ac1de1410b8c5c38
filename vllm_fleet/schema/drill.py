"""That a fleet may be broken on purpose."""

from __future__ import annotations

from .base import Model


class Drill(Model):
    """Lets `fleet drill` plant faults in this fleet to see its alerts fire: engines stop, a host is cut off, requests
    fail. For a lab, or a fleet that nobody relies on yet; a fleet without it refuses the drill."""

    receipts: str | None = None
    """URL at which the webhooks' receiver tells what reached it, as the lab's does (lab/webhooks.py); without it, the
    drill knows what Alertmanager was told, but not what it passed on."""
