"""What is wrong with a host: the facts it gave (`payload/doctor_facts`) against what the inventory declares. Pure.

diagnose(fleet, placements, host, facts, releases)    the findings, each one line: `path: what; mend`
unfit(fleet, host, facts)                             of these, what keeps GPUs from serving after a reboot
"""

from .diagnosis import diagnose, unfit
from .finding import Finding

__all__ = ["Finding", "diagnose", "unfit"]
