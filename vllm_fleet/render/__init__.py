"""Objects to text: the only writer of units and configuration files."""
