"""Who reaches what: the gateway's backends and the firewall's rules, from the same fleet. Pure."""
