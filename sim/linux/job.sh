# Words for scripts that run in a guest, and the run of one: `job.sh SCRIPT`.
# A script ends at its first failed command, with that command named; what it printed is kept.
set -Eeu -o pipefail
trap 'echo "FAILED line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND" >&2' ERR

# figure NAME VALUE UNIT: a measured number, in virtual time, for the run's results.
figure() {
    [ -n "$2" ] || fail "$1 was not measured"
    echo "FIGURE $1 $2 $3"
    echo "$1 $2 $3" >> "$OUT/figures$GUEST"
}

# fail WORDS: the end.
fail() { echo "FAILED $*" >&2; exit 1; }

# equal WHAT FOUND WANTED
equal() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }

# tell NAME [WORDS]: to the other guests, who wait for it by `await NAME`.
tell() { echo "${*:2}" > "$OUT/told.$1.new"; mv "$OUT/told.$1.new" "$OUT/told.$1"; }

# order WORDS: the provider does it; so far `order link NAME up|down`.
order() {
    echo "$*" > "$OUT/order.new"; mv "$OUT/order.new" "$OUT/order"
    equal "answer to 'order $*'" "$(await carried)" "done"
    rm "$OUT/told.carried"
}

# pause SECONDS: without a process of its own, which would cost more wall time than it waits.
exec {never}<> <(:)
pause() { read -rt "$1" -u $never || true; }

# await NAME: until a guest told it; its words go to the output. 60 s of virtual time.
await() {
    local turn
    for ((turn = 0; turn < 3000; turn++)); do
        if [ -e "$OUT/told.$1" ]; then cat "$OUT/told.$1"; return; fi
        pause 0.02
    done
    fail "nobody told $1"
}

# seconds: of virtual time since the boot.
seconds() { cut -d' ' -f1 /proc/uptime; }

# address N: guest N's address on the first network.
address() { echo "10.0.0.$((10 + $1))"; }

# network: the card's first interface gets its address and comes up; its name.
network() {
    local name
    name=$(interface)
    ip address add "$(address "$GUEST")/24" dev "$name"
    ip link set "$name" up
    wait_for "/sys/class/net/$name/carrier"
    echo "$name"
}

# json FILE EXPRESSION: of a program's report `r`.
json() { python3 -c "import json, sys; r = json.load(open(sys.argv[1])); print($2)" "$1"; }

# fio_job NAME OPTIONS: runs fio; its report is $OUT/NAME.json. The guest's clock is virtual, so fio
# must ask the kernel for the time and not the processor.
fio_job() {
    fio --name="$1" --output="$OUT/$1.json" --output-format=json --clocksource=clock_gettime \
        --direct=1 --ioengine=libaio --thread=1 --randseed=7 --group_reporting "${@:2}"
    equal "errors of $1" "$(json "$OUT/$1.json" 'sum(j["error"] for j in r["jobs"])')" 0
}

# send_octets ADDRESS FILE and receive_octets: one file by TCP; the receiver, once it listens, tells
# `listening`, and prints the hash of what came.
send_octets() {
    await listening
    python3 - "$1" "$2" <<'END'
import socket, sys
with socket.create_connection((sys.argv[1], 7000)) as connection, open(sys.argv[2], "rb") as file:
    connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
END
}
receive_octets() {
    python3 - "$OUT/told.listening" <<'END'
import hashlib, socket, sys
with socket.create_server(("", 7000)) as server:
    open(sys.argv[1], "w").close()
    connection, _ = server.accept()
    total = hashlib.sha256()
    while octets := connection.recv(1 << 16):
        total.update(octets)
    print(total.hexdigest(), " -")
END
}

# functions DRIVER: PCI addresses bound to a driver, in order.
functions() {
    for link in /sys/bus/pci/drivers/"$1"/0000:*; do [ -e "$link" ] && basename "$link"; done
    return 0
}

# physical KIND: PCI address of the card's physical function that owns the virtual functions of a
# KIND: net (class 0x0200) or nvme (class 0x0108).
physical() {
    local class=0x020000
    [ "$1" = nvme ] && class=0x010802
    for function in /sys/bus/pci/devices/*; do
        if [ -e "$function/sriov_totalvfs" ] && [ "$(cat "$function/class")" = $class ]; then
            basename "$function"
            return
        fi
    done
    fail "no physical function of kind $1"
}

# drive: the first NVMe namespace, once it is there.
drive() { wait_for /dev/nvme0n1; echo /dev/nvme0n1; }

# wait_for PATH: until it exists, 10 s of virtual time.
wait_for() {
    local turn
    for ((turn = 0; turn < 1000; turn++)); do
        if [ -e "$1" ]; then return; fi
        pause 0.01
    done
    fail "$1 did not appear"
}

# interface: the first network interface of the card.
interface() {
    for name in /sys/class/net/*; do
        [ -e "$name/device" ] && { basename "$name"; return; }
    done
    fail "no network interface"
}

# User-Mode Linux says these of itself, with or without a card.
MACHINE='BogoMIPS|epollctl add err|does not have kernel memory protection|uninitialized urandom read'

# quiet_log: has the kernel said nothing to worry about? Lines that match the script's own
# $EXPECTED (a regular expression) are no worry.
quiet_log() {
    local found
    found=$(dmesg -x -l emerg,alert,crit,err,warn | grep -Ev "$MACHINE|${EXPECTED:-^$}" || true)
    found+=$(dmesg | grep -E 'BUG:|WARNING:|Call Trace|hung_task|I/O error' \
             | grep -Ev "$MACHINE|${EXPECTED:-^$}" || true)
    [ -z "$found" ] || fail "the kernel's log holds:
$found"
}

source "$1"
quiet_log
