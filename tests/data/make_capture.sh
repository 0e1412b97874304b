#!/bin/sh
# Make capture.pcap: real programs talk through two network namespaces; one end is captured.
#
#   sudo sh tests/data/make_capture.sh [FILE]
#
# Needs root, iproute2, tcpdump, dnsmasq, curl, ethtool, iputils-ping, python3. The client (10.1.0.2,
# fd00:1::2) asks the server (10.1.0.3, fd00:1::3) for names by DNS, for pages by HTTP over IPv4
# and IPv6, and pings it; ARP and neighbour discovery come by themselves. Offloads are off, so that
# frames are as on a wire, checksums included.
set -eu

OUT=$(realpath -m "${1:-tests/data/capture.pcap}")
A=oc_client_$$ B=oc_server_$$
WORK=$(mktemp -d)

finish() {
    for pid in ${PIDS:-}; do kill "$pid" 2>/dev/null || true; done
    ip netns del "$A" 2>/dev/null || true
    ip netns del "$B" 2>/dev/null || true
    rm -rf "$WORK" "/etc/netns/$A"
}
trap finish EXIT

ip netns add "$A"
ip netns add "$B"
ip link add eth0 netns "$A" address 02:00:0a:01:00:02 type veth \
    peer name eth0 netns "$B" address 02:00:0a:01:00:03
for side in "$A 2" "$B 3"; do
    set -- $side
    ip netns exec "$1" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
    ip -n "$1" link set lo up
    ip -n "$1" addr add "10.1.0.$2/24" dev eth0
    ip -n "$1" addr add "fd00:1::$2/64" dev eth0 nodad
    # Segments and checksums as on a wire: no offload is left to a device that is not there.
    ip netns exec "$1" ethtool -K eth0 tx off tso off gso off gro off >/dev/null
    ip -n "$1" link set eth0 mtu 1500 up
done

mkdir -p "/etc/netns/$A"
echo "nameserver 10.1.0.3" >"/etc/netns/$A/resolv.conf"
printf '<html><body>%s</body></html>\n' "Hello from the server." >"$WORK/index.html"
head -c 20000 /dev/zero | tr '\0' 'x' >"$WORK/page.txt"

ip netns exec "$B" dnsmasq --no-daemon --no-resolv --no-hosts --user=root --pid-file="$WORK/pid" \
    --address=/server.tenant.example/10.1.0.3 --address=/server.tenant.example/fd00:1::3 \
    >"$WORK/dns.log" 2>&1 &
PIDS="$!"
(cd "$WORK" && exec ip netns exec "$B" python3 -m http.server --bind :: 8080 >http.log 2>&1) &
PIDS="$PIDS $!"
ip netns exec "$A" tcpdump -q -i eth0 -s 0 -U -w "$OUT" 2>"$WORK/tcpdump.log" &
DUMP=$!
PIDS="$PIDS $DUMP"
sleep 2

NAME=server.tenant.example
ip netns exec "$A" ping -q -c 3 -i 0.2 10.1.0.3
ip netns exec "$A" ping -q -6 -c 3 -i 0.2 fd00:1::3
ip netns exec "$A" curl -4 -sS "http://$NAME:8080/index.html"
ip netns exec "$A" curl -6 -sS "http://$NAME:8080/index.html"
ip netns exec "$A" curl -4 -sS -o "$WORK/got" "http://$NAME:8080/page.txt"
cmp "$WORK/got" "$WORK/page.txt"
ip netns exec "$A" curl -4 -s "http://$NAME:8081/refused" || true
sleep 1
kill -INT $DUMP
wait $DUMP || true
echo "$(tcpdump -r "$OUT" 2>/dev/null | wc -l) frames in $OUT"
