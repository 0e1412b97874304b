# Shows: the TLPs of one echo, for docs/walks/linux_timeline.md.
#: functions = net0 | net1
#: timeline  = yes
#: timeout   = 300

network
if [ "$GUEST" = 0 ]; then
    await ready
    ping -q -c 3 -i 0.01 -W 1 "$(address 1)"
    tell done
else
    tell ready
    await done
fi
