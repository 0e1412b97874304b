#!/bin/busybox sh
# Process 1 of a guest of QEMU: everything lies in memory. GUEST and GUESTS come from the kernel's
# command line; the script's exit code goes out by the console.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp GUEST GUESTS
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 1
dmesg -r -c > /tmp/early
while read -r module; do insmod "/lib/card/$module" || echo "no module $module"; done \
    < /lib/card/order
ip link set lo up
cd /tmp
if grep -q '[^#[:space:]]' /script; then
    sh /job /script < /dev/null
    echo "EXIT $?"
else
    if [ -e /sys/class/net/eth0 ]; then
        ip address add "10.0.0.$((10 + GUEST))/24" dev eth0
        ip link set eth0 up
    fi
    echo "Linux $(uname -r) on the card. Leave with exit or Ctrl-D."
    setsid -c sh -i
    echo "EXIT 0"
fi
# The devices are let go of, so that QEMU does not end beneath them.
drivers="nvme virtio-pci"
if [ -e /boot/vmlinuz ]; then  # but not of the one that holds our root
    drivers=virtio-pci
    sync
    mount -o remount,ro /
fi
for driver in $drivers; do
    for function in /sys/bus/pci/drivers/$driver/0000:*; do
        [ -e "$function" ] && echo "${function##*/}" > /sys/bus/pci/drivers/$driver/unbind
    done
done
poweroff -f
