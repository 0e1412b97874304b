# What the guest with the shell does first where there are others: its network is up.
network
