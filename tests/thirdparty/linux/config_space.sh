# Shows: lspci -vvv finds every capability of every kind of function well formed.
#: functions = pf0 pf1 net0 nvme0
#: timeout   = 300

for kind in net nvme; do
    echo 1 > "/sys/bus/pci/devices/$(physical $kind)/sriov_numvfs"
done
lspci -vvv > "$OUT/lspci"
cat "$OUT/lspci"
equal "functions" "$(grep -c '^[0-9a-f]' "$OUT/lspci")" 4
if grep -nE '\?\?\?|!!!|<bad|<chain|<unreadable|<access|Unknown|wrong|alformed' "$OUT/lspci"; then
    fail "lspci doubts what it reads"
fi
equal "MSI-X capabilities" "$(grep -c 'MSI-X: Enable' "$OUT/lspci")" 4
equal "PCI Express capabilities" "$(grep -c 'Express (v2)' "$OUT/lspci")" 4
equal "SR-IOV capabilities" "$(grep -c 'Single Root I/O Virtualization' "$OUT/lspci")" 2
equal "functions with FLR" "$(grep -c 'FLReset+' "$OUT/lspci")" 4
[ "$(grep -c 'Kernel driver in use: nvme' "$OUT/lspci")" -ge 1 ] || fail "nvme is bound to nothing"
[ "$(grep -c 'Kernel driver in use: virtio-pci' "$OUT/lspci")" -ge 1 ] \
    || fail "virtio-pci is bound to nothing"
