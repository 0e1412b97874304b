#!/bin/bash
# Process 1 of a guest. Its root is the host's own, read-only; what is written lies in memory,
# except below $OUT, a folder of the host that all guests of the run share. The kernel hands us
# REPO, OUT, SCRIPT, GUEST and GUESTS from its command line.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp TERM=${TERM:-dumb} LC_ALL=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t devtmpfs devtmpfs /dev 2>/dev/null  # the kernel may have done so
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
for pair in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    ln -sfn "/proc/self/${pair#*:}" "/dev/${pair%%:*}"
done

# What the host has below these is hidden; its own folders come back under other names.
for folder in /mnt /run /tmp /var/tmp; do mount -t tmpfs tmpfs $folder; done
mkdir -p /mnt/repo /mnt/out /mnt/drive /run/lock
mount -t hostfs -o "$REPO" repo /mnt/repo
mount -t hostfs -o "$OUT" out /mnt/out
export REPO=/mnt/repo OUT=/mnt/out GUEST GUESTS

ip link set lo up
hostname "guest$GUEST" 2>/dev/null
cd /tmp

if [ -n "$SCRIPT" ]; then
    bash "$REPO/sim/linux/job.sh" "$OUT/$SCRIPT" </dev/null
    code=$?
elif [ "$GUEST" = 0 ]; then
    [ "$GUESTS" = 1 ] ||
        bash "$REPO/sim/linux/job.sh" "$REPO/sim/linux/join.sh" </dev/null >/dev/null
    # Nothing but the guest's own timers moves virtual time: without them nobody looks at the keys.
    (exec {never}<> <(:); while :; do read -rt 0.02 -u $never; done) &
    echo "Linux $(uname -r) on the card. Leave with exit or Ctrl-D."
    setsid -c bash --norc -i
    code=$?
else
    # The others answer the one with the shell, until it ends.
    bash "$REPO/sim/linux/job.sh" "$REPO/sim/linux/answer.sh" </dev/null
    code=$?
fi
dmesg > "$OUT/dmesg$GUEST"
echo $code > "$OUT/exit$GUEST"

# User-Mode Linux 6.1 does not halt while a function is bound: take them away first.
umount /mnt/drive 2>/dev/null
for function in /sys/bus/pci/devices/*; do
    [ -e "$function/remove" ] && echo 1 > "$function/remove"
done
sync
# reboot(2) with LINUX_REBOOT_CMD_POWER_OFF; not every machine has a poweroff(8).
exec perl -e 'syscall 169, 0xfee1dead, 672274793, 0x4321fedc, 0'
