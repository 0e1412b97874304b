# Shows: what a guest's own tools measure of the drive, in virtual time.
#: functions = nvme0
#: timeout   = 600

disk=$(drive)
fio_job fill --filename="$disk" --rw=write --bs=64k --size=1m --iodepth=4
for depth in 1 32; do
    fio_job "randread-$depth" --filename="$disk" --rw=randread --bs=4k --size=1m --iodepth=$depth
    report="$OUT/randread-$depth.json"
    latency=$(json "$report" 'r["jobs"][0]["read"]["lat_ns"]["mean"] / 1000')
    figure fio_4k_randread_latency_us_$depth "$latency" us
    # fio's own rate has milliseconds of resolution; Little's law has not.
    figure fio_4k_randread_iops_$depth "$(awk "BEGIN {print $depth * 1e6 / $latency}")" 1/s
done
