# Shows: two guests boot; the drive is written and read back; they ping each other.
#: functions = net0 nvme0 | net1
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    disk=$(drive)
    dd if=/dev/urandom of=/tmp/octets bs=4k count=16 status=none
    dd if=/tmp/octets of="$disk" bs=4k oflag=direct status=none
    dd if="$disk" of=/tmp/back bs=4k count=16 iflag=direct status=none
    cmp /tmp/octets /tmp/back
    await ready
    ping -c 4 -i 0.01 -W 1 "$(address 1)"
    tell done
else
    tell ready
    await done
fi
