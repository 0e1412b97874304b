# Words for scripts that run in a guest of QEMU, and the run of one: `job SCRIPT`, by busybox.
set -eu -o pipefail

fail() { echo "FAILED $*"; exit 1; }

# equal WHAT FOUND WANTED
equal() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }

# wait_for PATH: until it exists, 60 s.
wait_for() {
    turn=0
    until [ -e "$1" ]; do
        turn=$((turn + 1))
        [ $turn -lt 600 ] || fail "$1 did not appear"
        usleep 100000
    done
}

# drive: the first NVMe namespace, once it is there.
drive() { wait_for /dev/nvme0n1; echo /dev/nvme0n1; }

# address N: guest N's address.
address() { echo "10.0.0.$((10 + $1))"; }

# network: the card's first interface gets its address and comes up; its name.
network() {
    wait_for /sys/class/net/eth0
    ip address add "$(address "$GUEST")/24" dev eth0
    ip link set eth0 up
    echo eth0
}

# reach ADDRESS: until it answers a ping; 120 s of this guest's clock.
reach() {
    turn=0
    until ping -q -c 1 -W 2 "$1" > /tmp/reach; do
        turn=$((turn + 1))
        [ $turn -lt 60 ] || fail "$1 does not answer"
    done
}

# give PORT FILE, take PORT: a file by TCP from guest 1 to guest 0, whose output it becomes.
take() { nc -l -p "$1" < /dev/null; }
give() {
    turn=0
    until nc "$(address 0)" "$1" < "$2"; do
        turn=$((turn + 1))
        [ $turn -lt 120 ] || fail "nobody takes $2"
        sleep 1
    done
}

# together PORT: both guests go on when both have come here.
together() { if [ "$GUEST" = 0 ]; then take "$1"; else give "$1" /dev/null; fi }

# interrupts NAME: how many came, for lines of /proc/interrupts with NAME, one number a line.
interrupts() {
    awk -v name="$1" '$NF ~ name { n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i; print n }' \
        /proc/interrupts
}

# The PC's clocks say these of themselves on a busy host, with or without a card.
MACHINE='clocksource|tracing clock|local clock|trace_clock|on the kernel command line'
MACHINE="$MACHINE|hrtimer: int|TSC|workqueue: "

# quiet_log: has the kernel said nothing to worry about, of PCI while it booted and of anything
# since? Lines that match the script's own $EXPECTED (a regular expression) are no worry.
quiet_log() {
    found=$({ grep -i pci /tmp/early || true; dmesg -r; } \
            | grep -E '^<[01234]>|BUG:|WARNING:|Call Trace|hung_task|I/O error|timeout' \
            | grep -Ev "$MACHINE|${EXPECTED:-^$}" || true)
    [ -z "$found" ] || fail "the kernel's log holds:
$found"
}

. "$1"
quiet_log
