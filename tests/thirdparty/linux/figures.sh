# Shows: what a guest's own tools measure of the drive, in virtual time.
#: functions = nvme0
#: timeout   = 600

disk=$(drive)
fio_job fill --filename="$disk" --rw=write --bs=64k --size=2m --iodepth=4
for depth in 1 32; do
    fio_job "randread-$depth" --filename="$disk" --rw=randread --bs=4k --size=2m --iodepth=$depth
    report="$OUT/randread-$depth.json"
    figure fio_4k_randread_iops_$depth "$(json "$report" 'r["jobs"][0]["read"]["iops"]')" 1/s
    figure fio_4k_randread_latency_us_$depth \
        "$(json "$report" 'r["jobs"][0]["read"]["clat_ns"]["mean"] / 1000')" us
done
