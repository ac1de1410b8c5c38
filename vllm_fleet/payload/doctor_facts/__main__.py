"""`python3 -m doctor_facts`, as a host runs it."""

import sys

from .gather import main

sys.exit(main())
