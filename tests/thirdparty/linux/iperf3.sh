# Shows: iperf3 moves TCP and UDP both ways between two guests.
#: functions = net0 | net1
#: timeout   = 1200

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    call() {
        iperf3 -c "$(address 1)" --json --logfile "$OUT/$1.json" "${@:2}"
        await next >/dev/null; rm "$OUT/told.next"
    }
    speed='r["end"]["sum_received"]["bits_per_second"] / 1e9'
    call tcp -n 4M
    figure iperf3_tcp_gbps "$(json "$OUT/tcp.json" "$speed")" Gb/s
    call tcp-back -n 4M --reverse
    figure iperf3_tcp_back_gbps "$(json "$OUT/tcp-back.json" "$speed")" Gb/s
    for way in "" --reverse; do
        call "udp$way" -u -b 500M -n 1M -l 1400 $way
        lost=$(json "$OUT/udp$way.json" 'r["end"]["sum"]["lost_percent"]')
        figure "iperf3_udp${way:+_back}_lost" "$lost" %
        equal "lost at 500 Mb/s" "$lost" 0
    done
    tell done
else
    iperf3 -s -B "$(address 1)" > "$OUT/server" 2>&1 &
    server=$!
    pause 0.1
    tell ready
    until [ -e "$OUT/told.done" ]; do [ -e "$OUT/told.next" ] || tell next; pause 0.01; done
    kill $server
fi
