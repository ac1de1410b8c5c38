"""Pure planning: which engine runs where, on which GPUs, with which rank and port."""

from .placement import Placement, heads, on_host, place

__all__ = ["Placement", "heads", "on_host", "place"]
