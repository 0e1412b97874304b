# Shows: Linux negotiates merged receive buffers and puts frames of 9000 octets together from them, also by TCP.
#: functions = net0 | net1
#: mtu       = 9000
#: timeout   = 900

name=$(network)
equal "VIRTIO_NET_F_MRG_RXBUF" "$(cut -c16 "/sys/class/net/$name/device/features")" 1
equal "MTU" "$(cat "/sys/class/net/$name/mtu")" 9000
if [ "$GUEST" = 0 ]; then
    await ready
    for size in 1 56 1472 1518 3000 8972; do
        ping -q -c 8 -i 0.01 -W 1 -M do -s $size "$(address 1)" | tee "$OUT/ping-$size"
        grep -q ' 0% packet loss' "$OUT/ping-$size" || fail "a ping of $size octets was lost"
    done
    head -c 2M /dev/urandom > /tmp/octets
    send_octets "$(address 1)" /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
    iperf3 -c "$(address 1)" --json --logfile "$OUT/tcp.json" -n 4M
    figure iperf3_tcp_gbps "$(json "$OUT/tcp.json" 'r["end"]["sum_received"]["bits_per_second"] / 1e9')" Gb/s
    tell done
else
    iperf3 -s -D -B "$(address 1)"
    tell ready
    hash=$(receive_octets)
    tell hash "$hash"
    await done
    for counter in rx_errors rx_length_errors tx_errors; do
        equal "$counter" "$(cat "/sys/class/net/$name/statistics/$counter")" 0
    done
fi
