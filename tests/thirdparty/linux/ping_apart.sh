# Shows: guests of two virtual networks with like addresses never reach each other.
#: functions = net0 | net1
#: networks  = net0=100 net1=200
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    if ping -c 5 -i 0.05 -W 1 "$(address 1)"; then fail "the other network answered"; fi
    ip neighbour replace "$(address 1)" lladdr "$(cat "$OUT/told.ready")" dev "$name"
    if ping -c 5 -i 0.05 -W 1 "$(address 1)"; then fail "the other network answered"; fi
    tell done
else
    tell ready "$(cat "/sys/class/net/$name/address")"
    before=$(cat "/sys/class/net/$name/statistics/rx_packets")
    await done
    equal "packets received" "$(cat "/sys/class/net/$name/statistics/rx_packets")" "$before"
fi
