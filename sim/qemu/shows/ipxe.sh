# Shows: iPXE's virtio-net ROM gets an address by DHCP, a file by ARP and TFTP through the tunnel.
#: functions = net0
#: boot      = network
#: timeout   = 400
