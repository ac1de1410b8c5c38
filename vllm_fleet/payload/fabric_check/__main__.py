"""`python3 -m fabric_check`, as a member runs it."""

import sys

from .check import main

sys.exit(main(sys.argv[1:]))
