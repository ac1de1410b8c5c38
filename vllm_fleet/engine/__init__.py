"""Pure: from a placement to the command line, environment and release of one engine."""
