# Shows: ethtool, MTU, promiscuous mode, other MAC addresses and VLANs are commands the card answers.
#: functions = net0 | net1
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    ethtool -i "$name"
    ethtool -k "$name"
    ethtool -l "$name"
    ethtool -S "$name"
    ethtool "$name"
    reached() { ping -q -c 3 -i 0.01 -W 1 "$@" "$(address 1)" | grep -q ' 0% packet loss'; }
    reached || fail "the other guest is out of reach"
    for mtu in 1000 1280 1500; do
        ip link set "$name" mtu $mtu
        reached -M do -s $((mtu - 28)) || fail "no packet as long as the MTU of $mtu"
        if ping -q -c 1 -W 1 -M do -s $((mtu - 27)) "$(address 1)"; then
            fail "a packet longer than the MTU of $mtu was sent"
        fi
    done
    for state in on off; do
        ip link set "$name" promisc $state
        ip link set "$name" allmulticast $state
        reached || fail "out of reach with promiscuous mode $state"
    done
    ip link add link "$name" name lane5 type vlan id 5
    ip link set lane5 up
    reached || fail "out of reach with a VLAN"
    ip link del lane5
    for command in down up; do ip link set "$name" $command; done
    wait_for "/sys/class/net/$name/carrier"
    reached || fail "out of reach after down and up"
    tell done
else
    tell ready
    await done
fi
