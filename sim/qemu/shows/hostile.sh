# Shows: one guest writes junk into the BARs beneath its own drivers; the other's I/O goes on.
#: functions = net0 nvme0 | net1 nvme1 | net2
#: hostile   = 0
#: timeout   = 900

# bar FUNCTION: the address of its first BAR.
bar() { head -n 1 "/sys/bus/pci/devices/$1/resource" | cut -d' ' -f1; }

# uptime_s: of this guest; all are started at the same time.
uptime_s() { cut -d. -f1 /proc/uptime; }
UNTIL=60

# on DRIVER: the PCI address bound to it.
on() { basename /sys/bus/pci/drivers/"$1"/0000:*; }

if [ "$GUEST" = 0 ]; then
    EXPECTED=.  # this guest's own drivers have every reason to complain
    drive
    network
    registers="$(bar "$(on nvme)") $(bar "$(on virtio-pci)")"
    seed=7
    round=0
    until [ "$(uptime_s)" -ge $UNTIL ]; do
        round=$((round + 1))
        # Queues of the drive far outside of memory, then CC.EN off and on.
        for pair in "40 0xdead0000" "44 0x7f" "48 0xdeae0000" "20 0" "20 0x460001"; do
            devmem $((${registers%% *} + ${pair% *})) 32 "${pair#* }" 2> /dev/null || true
        done
        for base in $registers; do
            # A register, a doorbell, and a word anywhere in the 64 KiB.
            for window in "0 64" "4096 64" "0 16384"; do
                seed=$(((seed * 1103515245 + 12345) % 2147483648))
                place=$((${window% *} + 4 * (seed / 65536 % ${window#* })))
                devmem $((base + place)) 32 $seed 2> /dev/null || true
                [ $((round % 8)) = 0 ] && devmem $((base + place)) 32 > /dev/null || true
            done
        done
    done
    echo "$round rounds of junk until $(uptime_s) s"
    exit 0
fi
name=$(network)
if [ "$GUEST" = 1 ]; then
    disk=$(drive)
    reach "$(address 2)"
    for round in $(seq 8); do
        dd if=/dev/urandom of=/tmp/octets bs=4k count=8 2> /dev/null
        dd if=/tmp/octets of="$disk" bs=4k seek=$((8 * round)) oflag=direct 2> /dev/null
        dd if="$disk" of=/tmp/back bs=4k skip=$((8 * round)) count=8 iflag=direct 2> /dev/null
        cmp /tmp/octets /tmp/back
        ping -q -c 2 "$(address 2)" > /tmp/ping
        grep -q ' 0% packet loss' /tmp/ping || fail "a ping was lost"
        echo "round $round at $(uptime_s) s"
        [ "$round" = 5 ] && [ "$(uptime_s)" -ge $UNTIL ] && fail "the abuse was over before"
    done
    echo stop | nc "$(address 2)" 7000
else
    nc -l -p 7000 < /dev/null
fi
