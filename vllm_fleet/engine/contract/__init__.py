"""The contract with vLLM: what each version takes, and what is wrong with a configuration of it.

check_fleet(fleet, placements, used_metrics)    what vLLM would refuse or ignore of a fleet
check_deploy(fleet, placements, used_metrics)   and what certainly does not fit
check_text(snapshot, text, name)                the vLLM commands of a script
find_snapshot("0.33")                           what a version takes
"""

from .commands import check_text
from .fleet import check_deploy, check_fleet
from .snapshot import NEWEST, SUPPORTED, Snapshot
from .snapshot import find as find_snapshot

__all__ = ["NEWEST", "SUPPORTED", "Snapshot", "check_deploy", "check_fleet", "check_text", "find_snapshot"]
