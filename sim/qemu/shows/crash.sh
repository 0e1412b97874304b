# Shows: one guest's machine dies with commands under way; the other's octets and pings go on.
#: functions = net0 nvme0 | net1 nvme1 | net2
#: hostile   = 0
#: timeout   = 600

if [ "$GUEST" = 0 ]; then
    disk=$(drive)
    for writer in 1 2 3; do
        dd if=/dev/zero of="$disk" bs=64k seek=$((100 * writer)) count=100 oflag=direct \
            2> /dev/null &
    done
    sleep 4
    kill -0 $! || fail "the writers had ended before"
    echo "EXIT 0"
    sleep 1
    echo c > /proc/sysrq-trigger
fi
network
if [ "$GUEST" = 1 ]; then
    disk=$(drive)
    reach "$(address 2)"
    for round in $(seq 10); do
        dd if=/dev/urandom of=/tmp/octets bs=4k count=4 2> /dev/null
        dd if=/tmp/octets of="$disk" bs=4k oflag=direct 2> /dev/null
        dd if="$disk" of=/tmp/back bs=4k count=4 iflag=direct 2> /dev/null
        cmp /tmp/octets /tmp/back
        ping -q -c 2 "$(address 2)" > /tmp/ping
        grep -q ' 0% packet loss' /tmp/ping || fail "a ping was lost"
        echo "round $round at $(cut -d' ' -f1 /proc/uptime) s"
    done
    echo stop | nc "$(address 2)" 7000
else
    nc -l -p 7000 < /dev/null
fi
