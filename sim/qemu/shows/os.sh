# Shows: SeaBIOS, GRUB and a Linux start from the card's drive, which holds its root; it reaches another guest.
#: functions = net0 nvme0 | net1
#: boot      = os
#: timeout   = 600

name=$(network)
if [ "$GUEST" = 0 ]; then
    equal "its root" "$(awk '$2 == "/" && $1 != "rootfs" {print $1, $3}' /proc/mounts)" \
        "/dev/nvme0n1p1 ext4"
    grep ' / ' /proc/mounts
    cat /proc/cmdline
    reach "$(address 1)"
    ping -q -c 5 "$(address 1)" | tee /tmp/ping
    grep -q ' 0% packet loss' /tmp/ping || fail "a ping was lost"
    sha256sum < /proof | cut -d' ' -f1 > /answer
    echo "proof $(cat /answer)"
    echo stop | nc "$(address 1)" 7000
else
    nc -l -p 7000 < /dev/null
fi
