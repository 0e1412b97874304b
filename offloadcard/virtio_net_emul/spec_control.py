"""What virtio 1.2 says of a network device's control queue: classes, commands, answers."""

# Ref: virtio-1.2, 5.1.6.5 (Control Virtqueue)

__all__ = [
    "VIRTIO_NET_OK", "VIRTIO_NET_ERR", "VIRTIO_NET_CTRL_RX", "VIRTIO_NET_CTRL_RX_PROMISC",
    "VIRTIO_NET_CTRL_RX_ALLMULTI", "VIRTIO_NET_CTRL_MAC",
    "VIRTIO_NET_CTRL_MAC_TABLE_SET", "VIRTIO_NET_CTRL_MAC_ADDR_SET", "VIRTIO_NET_CTRL_VLAN",
    "VIRTIO_NET_CTRL_VLAN_ADD", "VIRTIO_NET_CTRL_VLAN_DEL", "VIRTIO_NET_CTRL_MQ",
    "VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET",
]

VIRTIO_NET_OK  = 0
VIRTIO_NET_ERR = 1

# [virtio-1.2: 5.1.6.5.1] packet receive filtering; commands 2 to 5 need CTRL_RX_EXTRA
VIRTIO_NET_CTRL_RX          = 0
VIRTIO_NET_CTRL_RX_PROMISC  = 0
VIRTIO_NET_CTRL_RX_ALLMULTI = 1

# [virtio-1.2: 5.1.6.5.2] MAC address filtering
VIRTIO_NET_CTRL_MAC           = 1
VIRTIO_NET_CTRL_MAC_TABLE_SET = 0
VIRTIO_NET_CTRL_MAC_ADDR_SET  = 1

# [virtio-1.2: 5.1.6.5.3] VLAN filtering
VIRTIO_NET_CTRL_VLAN     = 2
VIRTIO_NET_CTRL_VLAN_ADD = 0
VIRTIO_NET_CTRL_VLAN_DEL = 1

# [virtio-1.2: 5.1.6.5.5] automatic receive steering in multiqueue mode
VIRTIO_NET_CTRL_MQ              = 4
VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0
