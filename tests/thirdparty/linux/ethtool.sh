# Shows: ethtool, MTU, promiscuous mode, other MAC addresses and VLANs are commands the card answers.
#: functions = net0 | net1
#: timeout   = 300

name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    # shows OPTION WORDS: what ethtool says holds these.
    shows() {
        ethtool ${1:+"$1"} "$name" | tee "$OUT/ethtool"
        grep -q "$2" "$OUT/ethtool" || fail "ethtool $1 does not show '$2'"
    }
    shows -i '^driver: virtio_net'
    shows -i '^supports-statistics: yes'
    shows -k '^rx-checksumming: on'
    shows -l 'Combined:.*[1-9]'
    shows -S 'rx_queue_0_packets: [0-9]'
    shows '' 'Link detected: yes'
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
