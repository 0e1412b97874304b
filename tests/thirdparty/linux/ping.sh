# Shows: two guests of one virtual network reach each other through the flow table.
#: functions = net0 | net1
#: networks  = net0=100 net1=100
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    ping -c 2 -i 0.01 -W 1 "$(address 1)"
    for size in 56 512 1472; do
        ping -q -c 20 -i 0.001 -W 1 -s $size "$(address 1)" | tee "$OUT/ping-$size"
        grep -q ' 0% packet loss' "$OUT/ping-$size" || fail "a ping of $size octets was lost"
    done
    average=$(awk -F/ '/^rtt/ {print $5 * 1000}' "$OUT/ping-56")
    figure ping_rtt_us "$average" us
    tell done
else
    tell ready
    await done
    [ "$(cat "/sys/class/net/$name/statistics/rx_packets")" -ge 60 ] || fail "too few packets"
fi
