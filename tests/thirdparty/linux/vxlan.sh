# Shows: Linux's own VXLAN, at the far end of the wire, opens what the card encapsulates, and the card what it does.
#: functions = net0 | net1
#: networks  = net0=100 net1=999
#: far       = net1
#: timeout   = 900

if [ "$GUEST" = 0 ]; then
    name=$(network)
    ip link set "$name" mtu 1450
    far=10.0.0.111
    await ready
    for size in 56 1422; do
        ping -q -c 5 -i 0.01 -W 1 -M do -s $size $far | tee "$OUT/ping-$size"
        grep -q ' 0% packet loss' "$OUT/ping-$size" || fail "a ping of $size octets was lost"
    done
    figure ping_vxlan_rtt_us "$(awk -F/ '/^rtt/ {print $5 * 1000}' "$OUT/ping-56")" us
    head -c 1M /dev/urandom > /tmp/octets
    send_octets $far /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
    tell done
else
    # The card's tunnel end point is 192.0.2.1, this guest's own 192.0.2.9; MACs as the provider said.
    name=$(interface)
    ip address add 192.0.2.9/24 dev "$name"
    ip link set "$name" up
    ip link add vxlan0 address 02:00:00:00:0f:0b type vxlan id 100 local 192.0.2.9 \
        remote 192.0.2.1 dstport 4789 noudpcsum
    ip address add 10.0.0.111/24 dev vxlan0
    ip link set vxlan0 mtu 1450 up
    ip neighbour replace 10.0.0.10 lladdr 02:00:00:00:00:0a dev vxlan0 nud permanent
    wait_for "/sys/class/net/$name/carrier"
    tell ready
    hash=$(receive_octets)
    tell hash "$hash"
    await done
    ip -s link show vxlan0
    [ "$(cat /sys/class/net/vxlan0/statistics/rx_packets)" -ge 100 ] || fail "the tunnel saw too few"
    for counter in rx_errors rx_dropped tx_errors; do
        equal "$counter of the tunnel" "$(cat /sys/class/net/vxlan0/statistics/$counter)" 0
    done
fi
