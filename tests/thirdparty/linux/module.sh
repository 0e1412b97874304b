# Shows: a hostile kernel module abuses every register of its functions; another guest's iperf3 and fio go on beside it.
#: functions = net0 nvme0 | net1 nvme1 | net2
#: hostile   = 0
#: timeout   = 1500

if [ "$GUEST" = 0 ]; then
    list=
    for driver in nvme virtio-pci; do
        for function in $(functions $driver); do
            echo "$function" > "/sys/bus/pci/drivers/$driver/unbind"
            list+=",$function"
        done
    done
    insmod "$OUT/hostile.ko" "functions=${list#,}"
    until [ -e "$OUT/told.begin" ]; do pause 0.0001; done
    tell started
    echo 1000 > /sys/module/hostile/parameters/attack
    tell abused
    exit 0
fi
name=$(network)
if [ "$GUEST" = 1 ]; then
    disk=$(drive)
    await serving
    ping -q -c 1 -W 1 "$(address 2)"
    # look: how many blocks were written, and frames sent; without a process of its own.
    look() {
        read -r _ _ _ _ written _ < "/sys/block/${disk##*/}/stat"
        read -r sent < "/sys/class/net/$name/statistics/tx_packets"
    }
    # work NAME: iperf3 and fio at once, and what they showed; `busy` is told when both are at it.
    work() {
        local fio before
        look
        before=$written
        fio_job "$1" --filename="$disk" --rw=randrw --bs=4k --iodepth=8 --size=2m \
            --rate_iops=100000 --verify=crc32c --verify_fatal=1 --do_verify=1 &
        fio=$!
        until [ "$written" != "$before" ]; do pause 0.0001; look; done
        before=$sent
        iperf3 -c "$(address 2)" --json --logfile "$OUT/iperf3-$1.json" -n 4M &
        until [ "$sent" -ge $((before + 20)) ]; do pause 0.0001; look; done
        "${@:2}"
        wait $fio
        wait $!
        figure "iperf3_${1}_gbps" "$(json "$OUT/iperf3-$1.json" \
            'r["end"]["sum_received"]["bits_per_second"] / 1e9')" Gb/s
        for way in read write; do
            figure "fio_${1}_${way}_latency_us" "$(json "$OUT/$1.json" \
                "r['jobs'][0]['$way']['clat_ns']['mean'] / 1e3")" us
        done
        pause 0.05  # until the server listens again
    }
    # watch: what this guest did while the other was abusing the card.
    watch() {
        local wrote went
        : > "$OUT/told.begin"
        until [ -e "$OUT/told.started" ]; do pause 0.0001; done
        look
        wrote=$written went=$sent
        until [ -e "$OUT/told.abused" ]; do pause 0.0001; done
        look
        wrote=$((written - wrote)) went=$((sent - went))
        echo "beside 1000 deeds of a hostile module: $wrote writes, $went frames"
        [ $wrote -ge 50 ] && [ $went -ge 50 ] || fail "the deeds were beside too little"
    }
    work alone :
    work beside watch
    work after :
    tell over
else
    iperf3 -s -B "$(address 2)" > "$OUT/server" 2>&1 &
    pause 0.05
    tell serving
    await over
    kill %1
fi
