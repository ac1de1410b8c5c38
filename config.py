"""pyinfra's settings for every deploy of this directory, and the look at the configuration before it connects."""

import sys

from pyinfra import config

from vllm_fleet.inventory import load

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
config.SUDO = True
# one host that fails stops the deploy before the next step: half a change on the others is worse than none
config.FAIL_PERCENT = 0

# pyinfra runs this file before it connects; deploy.py comes after
match [argument for argument in sys.argv[1:] if argument.endswith(".py")]:
    case [inventory, "deploy.py"]:
        load(inventory)[0].check_deployable()
