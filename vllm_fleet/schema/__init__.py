"""Typed configuration: every default and every validation error of the bundle."""

from .drill import Drill
from .errors import ConfigError, Problem
from .fleet import Fleet
from .gateway import Gateway
from .host import Host, hosts_of
from .monitoring import Grafana, Monitoring
from .secret import Secret
from .service import Container, Service, Venv
from .slo import Slo
from .versions import AptRepository, NvidiaNetwork, Versions
from .weights import Archive, Directory, Hub

__all__ = [
    "AptRepository", "Archive", "ConfigError", "Container", "Directory", "Drill", "Fleet", "Gateway", "Grafana", "Host",
    "Hub",
    "Monitoring", "NvidiaNetwork", "Problem", "Secret", "Service", "Slo", "Venv", "Versions", "hosts_of",
]  # fmt: skip
