# Shows: FLR by sysfs and unbind and bind, again and again: I/O and interrupts are there afterwards.
#: functions = net0 nvme0
#: timeout   = 600

EXPECTED='nvme nvme0: |nvme.*shutdown timeout'  # the driver says that it was reset
disk=$(drive)
network

# works: the drive by interrupts, the network's queues.
works() {
    wait_for "$disk"
    before=$(interrupts 'nvme0q1')
    dd if=/dev/urandom of=/tmp/octets bs=4k count=2 2> /dev/null
    dd if=/tmp/octets of="$disk" bs=4k oflag=direct 2> /dev/null
    dd if="$disk" of=/tmp/back bs=4k count=2 iflag=direct 2> /dev/null
    cmp /tmp/octets /tmp/back
    [ "$(interrupts 'nvme0q1')" -ge $((before + 2)) ] || fail "no interrupt came"
}

works
function=$(basename /sys/bus/pci/drivers/nvme/0000:*)
for round in 1 2 3; do
    echo 1 > "/sys/bus/pci/devices/$function/reset"
    works
    echo "reset $round"
done
for driver in nvme virtio-pci; do
    function=$(basename /sys/bus/pci/drivers/$driver/0000:*)
    for round in 1 2; do
        echo "$function" > /sys/bus/pci/drivers/$driver/unbind
        echo 1 > "/sys/bus/pci/devices/$function/reset"
        echo "$function" > /sys/bus/pci/drivers/$driver/bind
        if [ $driver = nvme ]; then works; else wait_for /sys/class/net/eth0; fi
        echo "$driver bound again, $round"
    done
done
