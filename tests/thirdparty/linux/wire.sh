# Shows: guests of two virtual networks, joined behind the wire, reach each other by VXLAN.
#: functions = net0 | net1
#: networks  = net0=100 net1=200
#: joined    = 100-200
#: timeout   = 900

network
if [ "$GUEST" = 0 ]; then
    await ready
    for size in 56 1400; do
        ping -q -c 5 -i 0.01 -W 1 -s $size "$(address 1)" | tee "$OUT/ping-$size"
        grep -q ' 0% packet loss' "$OUT/ping-$size" || fail "a ping of $size octets was lost"
    done
    figure ping_wire_rtt_us "$(awk -F/ '/^rtt/ {print $5 * 1000}' "$OUT/ping-56")" us
    head -c 1M /dev/urandom > /tmp/octets
    send_octets "$(address 1)" /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
else
    tell ready
    hash=$(receive_octets)
    tell hash "$hash"
fi
