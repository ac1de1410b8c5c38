"""The lab: three throw-away hosts with real systemd and SSH on one Linux machine. Knows nothing of roles."""
