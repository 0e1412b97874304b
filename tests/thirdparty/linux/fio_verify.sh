# Shows: fio writes at random and verifies, at depths 1 to 64 and sizes 512 octets to 1 MiB.
#: functions = nvme0
#: timeout   = 900

disk=$(drive)
while read -r size depth octets; do
    fio_job "verify-$size-$depth" --filename="$disk" --rw=randrw --bs=$size --iodepth=$depth \
        --size=$octets --verify=crc32c --verify_fatal=1 --do_verify=1
    echo "$size at depth $depth: $octets octets verified"
done <<'END'
512  1  64k
512  64 256k
4k   1  256k
4k   16 1m
4k   64 2m
64k  1  1m
64k  64 4m
1m   4  8m
1m   64 16m
END
