# Shows: the TLPs of one read, for docs/walks/linux_timeline.md.
#: functions = nvme0
#: timeline  = yes
#: timeout   = 300

disk=$(drive)
pause 0.01
dd if="$disk" of=/dev/null bs=4k count=1 skip=64 iflag=direct status=none
pause 0.01
