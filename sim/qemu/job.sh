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

# interrupts NAME: how many came, for lines of /proc/interrupts with NAME, one number a line.
interrupts() {
    awk -v name="$1" '$NF ~ name { n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i; print n }' \
        /proc/interrupts
}

# The PC says these of itself, with or without a card.
MACHINE='TSC|tsc|clocksource|workqueue: drain_vmstat|Spectre|RETBleed|Speculative|MDS|MMIO Stale'
MACHINE="$MACHINE|i8042|RAS:|acpi PNP|ACPI|device-mapper|kvm|TAA|Inter-VM|cpuidle|rcu_tasks|ENERGY"
MACHINE="$MACHINE|module verification failed|loading out-of-tree|mtrr|You have booted|hpet"

# quiet_log: has the kernel said nothing to worry about? Lines that match the script's own
# $EXPECTED (a regular expression) are no worry.
quiet_log() {
    found=$(dmesg -r | grep -E '^<[01234]>|BUG:|WARNING:|Call Trace|hung_task|I/O error|timeout' \
            | grep -Ev "$MACHINE|${EXPECTED:-^$}" || true)
    [ -z "$found" ] || fail "the kernel's log holds:
$found"
}

. "$1"
quiet_log
