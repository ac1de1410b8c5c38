"""Settings of every fleet here, whichever inventory runs: pyinfra's own, as data of the group `all`."""

# a host whose key changed is refused; a new one is noted on first contact
ssh_strict_host_key_checking = "accept-new"
