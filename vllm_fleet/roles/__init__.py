"""One module a role: what must be true on a host. Roles place and restart; what to place is decided below them."""
