# Shows: fio writes and verifies while the controller is reset under it; no octet is lost.
#: functions = nvme0
#: timeout   = 900
EXPECTED='resetting controller'

disk=$(drive)
fio_job reset --filename="$disk" --rw=randrw --bs=4k --iodepth=8 --size=4m --verify=crc32c \
    --verify_fatal=1 --do_verify=1 --rate_iops=20000 &
for round in 1 2 3 4 5; do
    pause 0.02
    echo 1 > /sys/class/nvme/nvme0/reset_controller
done
wait $!
equal "state" "$(cat /sys/class/nvme/nvme0/state)" live
