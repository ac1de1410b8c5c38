"""pyinfra's settings for every deploy of this directory."""

from pyinfra import config

config.REQUIRE_PYINFRA_VERSION = "~=3.10"
config.SUDO = True
# one host that fails stops the deploy before the next step: half a change on the others is worse than none
config.FAIL_PERCENT = 0
