# Shows: two guests with four processors: a drive queue for each, two queue pairs; ping, TCP, hashes.
#: functions = net0 nvme0 | net1 nvme1
#: cpus      = 4
#: timeout   = 900

name=$(network)
disk=$(drive)
other=$(address $((1 - GUEST)))
reach "$other"
ping -q -c 4 "$other" | tee /tmp/ping
grep -q ' 0% packet loss' /tmp/ping || fail "a ping was lost"

# Every processor writes to a place of its own and reads it back.
cpus=$(nproc)
for cpu in $(seq 0 $((cpus - 1))); do
    (
        dd if=/dev/urandom of=/tmp/octets$cpu bs=4k count=8 2> /dev/null
        taskset -c $cpu dd if=/tmp/octets$cpu of="$disk" bs=4k seek=$((64 * cpu)) oflag=direct \
            2> /dev/null
    ) &
done
wait
for cpu in $(seq 0 $((cpus - 1))); do
    taskset -c $cpu dd if="$disk" of=/tmp/back bs=4k skip=$((64 * cpu)) count=8 iflag=direct \
        2> /dev/null
    equal "what processor $cpu reads" "$(sha256sum < /tmp/back)" "$(sha256sum < /tmp/octets$cpu)"
done
queues=$(ls /sys/block/nvme0n1/mq | wc -l)
equal "the drive's queues" "$queues" "$cpus"
used=$(interrupts 'nvme0q[1-9]' | awk '$1 > 0' | wc -l)
equal "the drive's queues with interrupts" "$used" "$cpus"

# Both queue pairs of the network carry frames: each processor sends by its own.
equal "queue pairs" "$(ethtool -l "$name" | awk '/Combined/ { n = $2 } END { print n }')" 2
if [ "$GUEST" = 0 ]; then
    take 7000 > /tmp/came
    take 7001 > /tmp/hash
    equal "the file" "$(sha256sum < /tmp/came)" "$(cat /tmp/hash)"
else
    dd if=/dev/urandom of=/tmp/file bs=1k count=64 2> /dev/null
    sha256sum < /tmp/file > /tmp/hash
    give 7000 /tmp/file
    give 7001 /tmp/hash
fi
for cpu in 0 1; do taskset -c $cpu ping -q -c 3 "$other"; done
used=$(interrupts 'virtio0-output' | awk '$1 > 0' | wc -l)
grep -E 'virtio0|nvme0' /proc/interrupts
ethtool -S "$name" | grep -E '[rt]x_queue_[01]_packets' | tee /tmp/packets
for queue in 0 1; do
    awk -v name="tx_queue_${queue}_packets:" '$1 == name && $2 > 0 { n = 1 } END { exit !n }' \
        /tmp/packets || fail "transmit queue $queue is not used"
done
together 7002
