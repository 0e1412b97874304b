"""Structures of virtio in the octets that strangers' headers give them.

Origin: Linux 6.1 user headers (Debian's linux-libc-dev), ``linux/virtio_pci.h``,
``linux/virtio_net.h`` and ``linux/virtio_ring.h``: offsets as the macros there state them, octets
as gcc lays the structures out on a little-endian machine; ``tests/virtio_net_emul/test_spec.py``
reads the macros again where the headers are installed.
"""

__all__ = ["COMMON_OFFSETS", "CONTROL_VALUES", "FEATURE_BITS", "NET_VALUES", "RING_BITS",
           "STRUCTURES"]

# Macro of linux/virtio_pci.h: (register of ours, offset).
COMMON_OFFSETS = {
    "VIRTIO_PCI_COMMON_DFSELECT":      ("device_feature_select", 0),
    "VIRTIO_PCI_COMMON_DF":            ("device_feature", 4),
    "VIRTIO_PCI_COMMON_GFSELECT":      ("driver_feature_select", 8),
    "VIRTIO_PCI_COMMON_GF":            ("driver_feature", 12),
    "VIRTIO_PCI_COMMON_MSIX":          ("config_msix_vector", 16),
    "VIRTIO_PCI_COMMON_NUMQ":          ("num_queues", 18),
    "VIRTIO_PCI_COMMON_STATUS":        ("device_status", 20),
    "VIRTIO_PCI_COMMON_CFGGENERATION": ("config_generation", 21),
    "VIRTIO_PCI_COMMON_Q_SELECT":      ("queue_select", 22),
    "VIRTIO_PCI_COMMON_Q_SIZE":        ("queue_size", 24),
    "VIRTIO_PCI_COMMON_Q_MSIX":        ("queue_msix_vector", 26),
    "VIRTIO_PCI_COMMON_Q_ENABLE":      ("queue_enable", 28),
    "VIRTIO_PCI_COMMON_Q_NOFF":        ("queue_notify_off", 30),
    "VIRTIO_PCI_COMMON_Q_DESCLO":      ("queue_desc", 32),
    "VIRTIO_PCI_COMMON_Q_AVAILLO":     ("queue_driver", 40),
    "VIRTIO_PCI_COMMON_Q_USEDLO":      ("queue_device", 48),
    "VIRTIO_PCI_COMMON_Q_NDATA":       ("queue_notify_data", 56),
    "VIRTIO_PCI_COMMON_Q_RESET":       ("queue_reset", 58),
}

# Macro of linux/virtio_net.h and linux/virtio_config.h: bit.
FEATURE_BITS = {
    "VIRTIO_NET_F_CSUM": 0, "VIRTIO_NET_F_GUEST_CSUM": 1,
    "VIRTIO_NET_F_MTU": 3, "VIRTIO_NET_F_MAC": 5, "VIRTIO_NET_F_MRG_RXBUF": 15,
    "VIRTIO_NET_F_STATUS": 16, "VIRTIO_NET_F_CTRL_VQ": 17, "VIRTIO_NET_F_CTRL_RX": 18,
    "VIRTIO_NET_F_CTRL_VLAN": 19, "VIRTIO_NET_F_MQ": 22, "VIRTIO_NET_F_CTRL_MAC_ADDR": 23,
    "VIRTIO_F_VERSION_1": 32, "VIRTIO_F_ACCESS_PLATFORM": 33, "VIRTIO_F_ORDER_PLATFORM": 36,
    "VIRTIO_F_SR_IOV": 37, "VIRTIO_F_RING_RESET": 40,
}

# Linux names these two of linux/virtio_ring.h otherwise: (ours, theirs, bit).
RING_BITS = (("VIRTIO_F_INDIRECT_DESC", "VIRTIO_RING_F_INDIRECT_DESC", 28),
             ("VIRTIO_F_EVENT_IDX", "VIRTIO_RING_F_EVENT_IDX", 29))

# Macro of linux/virtio_net.h: value.
NET_VALUES = {"VIRTIO_NET_HDR_F_NEEDS_CSUM": 1, "VIRTIO_NET_HDR_F_DATA_VALID": 2}
CONTROL_VALUES = {
    "VIRTIO_NET_OK": 0, "VIRTIO_NET_ERR": 1,
    "VIRTIO_NET_CTRL_RX": 0, "VIRTIO_NET_CTRL_RX_PROMISC": 0, "VIRTIO_NET_CTRL_RX_ALLMULTI": 1,
    "VIRTIO_NET_CTRL_MAC": 1, "VIRTIO_NET_CTRL_MAC_TABLE_SET": 0,
    "VIRTIO_NET_CTRL_MAC_ADDR_SET": 1, "VIRTIO_NET_CTRL_VLAN": 2, "VIRTIO_NET_CTRL_VLAN_ADD": 0,
    "VIRTIO_NET_CTRL_VLAN_DEL": 1, "VIRTIO_NET_CTRL_MQ": 4, "VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET": 0,
}

# Structure of ours: (fields, octets of struct vring_desc, vring_used_elem, virtio_net_hdr_v1).
STRUCTURES = {
    "VirtqDesc": ({"addr": 0x1122_3344_5566_7788, "len": 0x99AA_BBCC, "flags": 3, "next": 0x1234},
                  "8877665544332211ccbbaa9903003412"),
    "VirtqUsedElem": ({"id": 0x1FF, "len": 0x5F6}, "ff010000f6050000"),
    "VirtioNetHdr": ({"flags": 1, "gso_type": 3, "hdr_len": 0x36, "gso_size": 0x5B4,
                      "csum_start": 0x22, "csum_offset": 0x10, "num_buffers": 1},
                     "01033600b405220010000100"),
}
