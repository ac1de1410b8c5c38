"""The NVIDIA driver of a host: what is declared, what stands there, and the shell that closes the gap. Pure.

Driver(versions, host)    what is declared; `needs(found)` is what a host lacks of it
"""

from .declared import Driver, Needs
from .found import Found

__all__ = ["Driver", "Found", "Needs"]
