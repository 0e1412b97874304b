# Shows: dd moves octets past the cache, in pieces of 512 octets to 1 MiB, and reads back the same.
#: functions = nvme0
#: timeout   = 600

disk=$(drive)
dd if=/dev/urandom of=/tmp/octets bs=1M count=2 status=none
for size in 512 4096 65536 1048576; do
    count=$((2097152 / size))
    [ $size = 512 ] && count=256
    dd if=/tmp/octets of="$disk" bs=$size count=$count oflag=direct status=none
    dd if="$disk" of=/tmp/back bs=$size count=$count iflag=direct status=none
    cmp -n $((size * count)) /tmp/octets /tmp/back
    echo "$count pieces of $size octets: the same"
done
