# Shows: VFs of both PFs come and go; a VF is unbound, reset by FLR and bound again 100 times.
#: functions = pf0 pf1 net0 net1 nvme0 nvme1
#: timeout   = 1500

rounds=100
virtual() { find "/sys/bus/pci/devices/$1/" -maxdepth 1 -name 'virtfn*'; }

net=$(physical net) nvme=$(physical nvme)
for round in 1 2 3; do
    for function in $net $nvme; do
        echo 2 > "/sys/bus/pci/devices/$function/sriov_numvfs"
        equal "VFs of $function" "$(virtual "$function" | wc -l)" 2
    done
    pause 0.2
    equal "functions of virtio-pci" "$(functions virtio-pci | wc -l)" 3
    equal "functions of nvme" "$(functions nvme | wc -l)" 3
    [ $round = 3 ] && break
    for function in $net $nvme; do
        echo 0 > "/sys/bus/pci/devices/$function/sriov_numvfs"
        equal "VFs of $function" "$(virtual "$function" | wc -l)" 0
    done
done

# A driver's probe goes on behind the write to bind: nvme's ends when its controller is live.
ready() {
    local turn state
    for ((turn = 0; turn < 500; turn++)); do
        [ "$2" = nvme ] || return 0
        state=$(cat /sys/bus/pci/devices/"$1"/nvme/nvme*/state)
        if [ "$state" = live ]; then return; fi
        pause 0.01
    done
    fail "$1 is $state"
}

again() {
    local function=$1 driver=$2 round
    grep -q flr "/sys/bus/pci/devices/$function/reset_method" || fail "$function has no FLR"
    for round in $(seq $rounds); do
        echo "$function" > "/sys/bus/pci/drivers/$driver/unbind"
        echo 1 > "/sys/bus/pci/devices/$function/reset"
        echo "$function" > "/sys/bus/pci/drivers/$driver/bind"
        [ -e "/sys/bus/pci/drivers/$driver/$function" ] || fail "round $round: $function unbound"
        ready "$function" "$driver"
    done
    echo "$function: unbound, reset, bound $rounds times"
}

vf() { basename "$(readlink "/sys/bus/pci/devices/$1/virtfn0")"; }

again "$(vf "$net")" virtio-pci
again "$(vf "$nvme")" nvme
for function in $net $nvme; do echo 0 > "/sys/bus/pci/devices/$function/sriov_numvfs"; done
