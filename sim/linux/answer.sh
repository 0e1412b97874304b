# What a guest without the shell does: its network is up, iperf3 listens; until guest 0 ends.
network
iperf3 -s -B "$(address "$GUEST")" > "$OUT/server$GUEST" 2>&1 &
until [ -e "$OUT/exit0" ]; do pause 0.5; done
kill %1
