"""`python3 -m group`, as the unit runs it."""

import sys

from .member import main

sys.exit(main(sys.argv[1:]))
