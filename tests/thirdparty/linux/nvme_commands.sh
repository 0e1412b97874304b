# Shows: nvme-cli reads what the controller says of itself, and is answered in the standard's words.
#: functions = nvme0
#: timeout   = 300

disk=$(drive) control=/dev/nvme0
nvme id-ctrl $control
nvme id-ns "$disk"
nvme list
nvme smart-log $control
nvme error-log $control --log-entries=4
nvme fw-log $control
for feature in 1 2 4 5 6 7 8 9 0xa 0xb; do nvme get-feature $control --feature-id=$feature; done
nvme list-ns $control
nvme flush "$disk"
if nvme get-feature $control --feature-id=0x7f; then fail "a feature that is not there was read"; fi
if nvme admin-passthru $control --opcode=0x7f; then fail "an opcode that is not there was taken"; fi
if nvme read "$disk" --start-block="$(cat /sys/block/nvme0n1/size)" --block-count=0 \
        --data-size=512 > /dev/null; then
    fail "a block behind the end was read"
fi
head -c 8192 /dev/urandom > /tmp/same
cp /tmp/same /tmp/other
printf '\377' | dd of=/tmp/other bs=1 seek=8191 conv=notrunc status=none
cmp -s /tmp/same /tmp/other && printf '\0' | dd of=/tmp/other bs=1 seek=8191 conv=notrunc status=none
blocks=$((8192 / $(cat /sys/block/nvme0n1/queue/logical_block_size) - 1))
nvme write "$disk" --start-block=8 --block-count=$blocks --data-size=8192 --data=/tmp/same
nvme compare "$disk" --start-block=8 --block-count=$blocks --data-size=8192 --data=/tmp/same
if nvme compare "$disk" --start-block=8 --block-count=$blocks --data-size=8192 --data=/tmp/other
then
    fail "octets that differ compare equal"
fi
nvme error-log $control --log-entries=4 | grep -E 'error_count|status_field' | head -4
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct status=none
