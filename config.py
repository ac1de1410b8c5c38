"""pyinfra's settings for every deploy of this directory, and the look at the configuration before it connects."""

import sys

from pyinfra import config

from vllm_fleet.engine.contract import check_deploy
from vllm_fleet.inventory import load
from vllm_fleet.observe.used_metrics import used_metrics
from vllm_fleet.schema import ConfigError

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
config.SUDO = True
# one host that fails stops the deploy before the next step: half a change on the others is worse than none
config.FAIL_PERCENT = 0

# pyinfra runs this file before it connects; deploy.py comes after
match [argument for argument in sys.argv[1:] if argument.endswith(".py")]:
    case [inventory, "deploy.py"]:
        fleet, placements = load(inventory)
        if problems := check_deploy(fleet, placements, used_metrics()):
            raise ConfigError(*map(str, problems))
        fleet.check_deployable()
