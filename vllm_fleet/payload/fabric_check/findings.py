"""What is wrong, and its mend."""

from __future__ import annotations

MIB = 1 << 20

ALLOW = "allow all TCP among the hosts of the service (the bundle's firewall does), and none from elsewhere"

Finding = dict[str, str]


def finding(what: str, mend: str) -> Finding:
    return {"what": what, "mend": mend}


class Trouble(Exception):
    """What stops the check, and its mend."""

    def __init__(self, what: str, mend: str) -> None:
        self.finding: Finding = {"what": what, "mend": mend}
        super().__init__(what)
