# Shows: guests on two cards, wire to wire by VXLAN: what one card encapsulates, the far card opens for the far kernel.
#: functions = net0 | net1
#: cards     = 0 1
#: timeout   = 1500

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    for size in 56 1400; do
        ping -q -c 5 -i 0.01 -W 1 -s $size "$(address 1)" | tee "$OUT/ping-$size"
        grep -q ' 0% packet loss' "$OUT/ping-$size" || fail "a ping of $size octets was lost"
    done
    figure ping_two_cards_rtt_us "$(awk -F/ '/^rtt/ {print $5 * 1000}' "$OUT/ping-56")" us
    head -c 1M /dev/urandom > /tmp/octets
    send_octets "$(address 1)" /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
    await serving
    speed='r["end"]["sum_received"]["bits_per_second"] / 1e9'
    for way in there back; do
        iperf3 -c "$(address 1)" -n 2M --json --logfile "$OUT/$way.json" \
            $([ $way = there ] || echo --reverse)
        figure "iperf3_two_cards_${way}_gbps" "$(json "$OUT/$way.json" "$speed")" Gb/s
        pause 0.05  # until the server listens again
    done
    tell done
else
    iperf3 -s -B "$(address 1)" > "$OUT/server" 2>&1 &
    tell ready
    hash=$(receive_octets)
    tell hash "$hash"
    tell serving
    await done
    kill %1
fi
for counter in rx_errors rx_dropped tx_errors tx_dropped; do
    equal "$counter" "$(cat "/sys/class/net/$name/statistics/$counter")" 0
done
