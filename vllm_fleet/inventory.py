"""A fleet as an inventory file and its group data declare it, for programs that are not pyinfra."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from vllm_fleet.planner import Placement
from vllm_fleet.schema import ConfigError, Fleet


def load(inventory: str) -> tuple[Fleet, list[Placement]]:
    """The fleet and its placements for `inventories/NAME.py`, from `group_data/NAME.py`.

    Raises ConfigError when there is no such inventory or group data, or either is wrong.
    """
    path = Path(inventory).absolute()  # not resolved: pyinfra follows no links either
    root = path.parent.parent
    data = root / "group_data" / path.name
    if not path.is_file():
        known = ", ".join(sorted(other.name for other in path.parent.glob("*.py"))) or "none"
        raise ConfigError(f"{inventory}: no such inventory; in that folder are: {known}")
    if not data.exists():
        raise ConfigError(
            f"{inventory}: has no {data.relative_to(root)} beside it; declare `fleet` and `placements` there"
        )
    # the two import each other as pyinfra lets them: from the project's directory
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    values = runpy.run_path(str(data))
    try:
        return values["fleet"], values["placements"]
    except KeyError as missing:
        raise ConfigError(f"group_data/{path.name}: does not define {missing}; see group_data/prod.py") from None
