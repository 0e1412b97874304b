# Shows: blocks are deallocated and zeroed by command, and the drive takes writes before and after.
#: functions = nvme0
#: timeout   = 300

disk=$(drive)
written() {
    dd if=/dev/urandom of=/tmp/octets bs=48k count=2 status=none
    timeout 5 dd if=/tmp/octets of="$disk" bs=48k oflag=direct status=none || fail "a write $1"
    dd if="$disk" of=/tmp/back bs=48k count=2 iflag=direct status=none
    cmp /tmp/octets /tmp/back
}
zeros() { cmp -n 98304 "$disk" /dev/zero || fail "$1 left octets"; }

written "before"
if [ "$(cat /sys/block/nvme0n1/queue/discard_max_bytes)" != 0 ]; then
    blkdiscard -o 0 -l 1M "$disk"
    written "behind a deallocation"
fi
blkdiscard -z -o 0 -l 1M "$disk"
zeros "Write Zeroes"
written "behind Write Zeroes"
