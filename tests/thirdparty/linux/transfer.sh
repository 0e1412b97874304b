# Shows: octets sent by TCP from guest to guest arrive with the same hash.
#: functions = net0 | net1
#: timeout   = 1500

megabytes=16
network
if [ "$GUEST" = 0 ]; then
    head -c ${megabytes}M /dev/urandom > /tmp/octets
    send_octets "$(address 1)" /tmp/octets
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
    echo "$megabytes MiB: the same hash"
else
    hash=$(receive_octets)
    tell hash "$hash"
fi
