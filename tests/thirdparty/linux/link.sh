# Shows: the controller takes a guest's link down and up: Linux sees the carrier go and come, the pings go on.
#: functions = net0 | net1
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    reached() { ping -q -c 3 -i 0.01 -W 1 "$(address 1)" | grep -q ' 0% packet loss'; }
    # shown WORDS: until `ip link` says so; the kernel's own news of a link takes it up to a second.
    shown() {
        local turn
        for ((turn = 0; turn < 300; turn++)); do
            if ip link show "$name" | grep "$1"; then return; fi
            pause 0.01
        done
        fail "ip link does not show '$1' three seconds after the order"
    }
    reached || fail "the other guest is out of reach"
    changes=$(cat "/sys/class/net/$name/carrier_changes")
    for round in 1 2 3; do
        order link net0 down
        shown NO-CARRIER
        ethtool "$name" | grep 'Link detected: no'
        order link net0 up
        shown LOWER_UP
        ethtool "$name" | grep 'Link detected: yes'
        reached || fail "out of reach after link up, round $round"
    done
    equal "changes of the carrier" "$(cat "/sys/class/net/$name/carrier_changes")" $((changes + 6))
    tell done
else
    tell ready
    await done
    equal "carrier of the other guest" "$(cat "/sys/class/net/$name/carrier")" 1
fi
