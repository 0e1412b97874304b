# Shows: a stock kernel in QEMU binds its nvme driver to the card, writes and reads back.
#: functions = nvme0
#: timeout   = 300

disk=$(drive)
dd if=/dev/urandom of=/tmp/octets bs=4k count=16 2> /dev/null
dd if=/tmp/octets of="$disk" bs=4k oflag=direct 2> /dev/null
dd if="$disk" of=/tmp/back bs=4k count=16 iflag=direct 2> /dev/null
cmp /tmp/octets /tmp/back
sha256sum /tmp/octets /tmp/back
grep nvme /proc/interrupts
