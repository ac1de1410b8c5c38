"""Our own pyinfra operations: packages, whole trees of files, weights, engines, drivers. How they work: `converge`."""

from .commands import all_hosts_here, require, run_unless
from .engines import await_engines, remove_engines
from .fabric import prove_fabric
from .maintenance import install_driver, upgrade_driver
from .trees import tree
from .weights import copy_weights, fetch_weights

__all__ = [
    "all_hosts_here",
    "await_engines",
    "copy_weights",
    "fetch_weights",
    "install_driver",
    "prove_fabric",
    "remove_engines",
    "require",
    "run_unless",
    "tree",
    "upgrade_driver",
]
