# Shows: a hostile driver beside two Linux guests starts devices on junk and rings every bell; fio and pings go on.
#: functions = net0 nvme0 | net1
#: fiend     = net2 nvme1
#: timeout   = 1500

name=$(network)
if [ "$GUEST" = 0 ]; then
    disk=$(drive)
    await ready
    reached() {
        ping -q -c "$1" -i 0.0001 -W 1 "$(address 1)" | tee "$OUT/beside"
        grep -q ' 0% packet loss' "$OUT/beside" || fail "a ping was lost"
    }
    verified() {
        fio_job "$1" --filename="$disk" --rw=randrw --bs=4k --iodepth=8 --size=1m \
            --verify=crc32c --verify_fatal=1 --do_verify=1 "${@:2}"
    }
    reached 1
    echo "attack 600" > "$OUT/order.new"
    # The attack begins when fio has written its first octets, not before.
    written="/sys/block/${disk##*/}/stat" before=$(awk '{print $5}' "/sys/block/${disk##*/}/stat")
    verified beside --rate_iops=200000 &
    until [ "$(awk '{print $5}' "$written")" != "$before" ]; do pause 0.0002; done
    mv "$OUT/order.new" "$OUT/order"
    reached 20
    wait $!
    equal "answer to the order" "$(await carried)" "done"
    echo "beside a hostile driver's $(await abused)"
    verified after
    reached 5
    tell done
else
    tell ready
    await done
fi
