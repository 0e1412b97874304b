# Shows: a hundred MB sent by TCP from guest to guest arrive with the same hash.
#: functions = net0 | net1
#: memory    = 512M
#: timeout   = 7200

megabytes=100
network
if [ "$GUEST" = 0 ]; then
    head -c ${megabytes}MB /dev/urandom > /tmp/octets
    send_octets "$(address 1)" /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
    echo "$megabytes MB: the same hash"
else
    hash=$(receive_octets)
    tell hash "$hash"
fi
