# Shows: ext4 is made, mounted, filled, mounted again; every file's hash is what it was; e2fsck agrees.
#: functions = nvme0
#: timeout   = 600

disk=$(drive)
mkfs.ext4 -q -b 4096 "$disk" 8192
mount -t ext4 "$disk" /mnt/drive
cp -r "$REPO/offloadcard" /mnt/drive/tree
(cd "$REPO/offloadcard" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > /tmp/before
umount /mnt/drive
echo 3 > /proc/sys/vm/drop_caches
mount -t ext4 "$disk" /mnt/drive
(cd /mnt/drive/tree && find . -type f -print0 | sort -z | xargs -0 sha256sum) > /tmp/after
cmp /tmp/before /tmp/after
echo "$(wc -l < /tmp/after) files, $(du -sk /mnt/drive/tree | cut -f1) KiB, the same hashes"
umount /mnt/drive
e2fsck -f -n "$disk"
