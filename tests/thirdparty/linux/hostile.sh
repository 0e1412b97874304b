# Shows: one guest writes junk all over its functions' config space; the other's drive and network go on.
#: functions = net0 nvme0 | net1 nvme1 | net2
#: hostile   = 0
#: timeout   = 900

if [ "$GUEST" = 0 ]; then
    EXPECTED=.  # this guest's own drivers have every reason to complain
    await started
    for function in $(functions nvme) $(functions virtio-pci); do
        head -c 256 "/sys/bus/pci/devices/$function/config" > "/tmp/$function"
    done
    RANDOM=7
    for round in $(seq 300); do
        for function in $(functions nvme) $(functions virtio-pci); do
            register=$(printf %02x $((4 * (RANDOM % 64))))
            setpci -s "$function" "$register.L=$(printf %04x%04x $RANDOM $RANDOM)" || true
        done
        pause 0.0002
    done
    tell abused
    # As it was, so that the drivers can let go and the guest can halt.
    for saved in /tmp/0000:*; do
        dd if="$saved" of="/sys/bus/pci/devices/${saved##*/}/config" bs=4 status=none
    done
elif [ "$GUEST" = 1 ]; then
    name=$(network)
    disk=$(drive)
    await ready
    ping -q -c 1 -W 1 "$(address 2)"
    tell started
    until [ -e "$OUT/told.abused" ]; do
        fio_job beside --filename="$disk" --rw=randrw --bs=4k --iodepth=8 --size=1m \
            --verify=crc32c --verify_fatal=1 --do_verify=1
        ping -q -c 10 -i 0.001 -W 1 "$(address 2)" | tee "$OUT/beside"
        grep -q ' 0% packet loss' "$OUT/beside" || fail "a ping was lost"
    done
    tell done
else
    name=$(network)
    tell ready
    await done
fi
