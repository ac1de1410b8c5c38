"""`python3 -m readiness`, as a host runs it (`paths.READY_COMMAND`)."""

import sys

from .ready import main

sys.exit(main())
