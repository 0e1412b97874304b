"""What virtio 1.2 says of a network device over PCI: constants, structures, register maps."""

# Ref: virtio-1.2, 2.1 (Device Status Field), 2.7 (Split Virtqueues), 4.1 (Virtio Over PCI Bus),
#      5.1 (Network Device), 6 (Reserved Feature Bits)

from amaranth.lib import data, enum

from ..rtl.octets import size_of
from ..rtl.regmap import Register, RegisterMap

__all__ = [
    "VIRTIO_CONFIG_S_ACKNOWLEDGE", "VIRTIO_CONFIG_S_DRIVER", "VIRTIO_CONFIG_S_DRIVER_OK",
    "VIRTIO_CONFIG_S_FEATURES_OK", "VIRTIO_CONFIG_S_NEEDS_RESET", "VIRTIO_CONFIG_S_FAILED",
    "VIRTIO_F_VERSION_1", "VIRTIO_F_ACCESS_PLATFORM", "VIRTIO_F_ORDER_PLATFORM",
    "VIRTIO_F_SR_IOV", "VIRTIO_F_RING_RESET", "VIRTIO_F_INDIRECT_DESC", "VIRTIO_F_EVENT_IDX",
    "VIRTIO_NET_F_CSUM", "VIRTIO_NET_F_GUEST_CSUM", "VIRTIO_NET_F_MTU", "VIRTIO_NET_F_MAC",
    "VIRTIO_NET_F_MRG_RXBUF", "VIRTIO_NET_F_STATUS", "VIRTIO_NET_F_CTRL_VQ",
    "VIRTIO_NET_F_CTRL_RX", "VIRTIO_NET_F_CTRL_VLAN",
    "VIRTIO_NET_F_MQ", "VIRTIO_NET_F_CTRL_MAC_ADDR",
    "FEATURES", "FEATURES_PF", "VIRTIO_MSI_NO_VECTOR", "VIRTIO_NET_S_LINK_UP",
    "VIRTIO_PCI_CAP_COMMON_CFG", "VIRTIO_PCI_CAP_NOTIFY_CFG", "VIRTIO_PCI_CAP_ISR_CFG",
    "VIRTIO_PCI_CAP_DEVICE_CFG", "VIRTIO_PCI_CAP_PCI_CFG",
    "VIRTQ_DESC_F_NEXT", "VIRTQ_DESC_F_WRITE", "VIRTQ_DESC_F_INDIRECT",
    "VIRTQ_AVAIL_F_NO_INTERRUPT", "VIRTQ_USED_F_NO_NOTIFY", "VIRTIO_ISR_QUEUE",
    "VIRTIO_ISR_CONFIG", "COMMON_CFG_OFFSET", "ISR_CFG_OFFSET", "DEVICE_CFG_OFFSET",
    "NOTIFY_CFG_OFFSET", "NOTIFY_OFF_MULTIPLIER", "VirtqDesc", "VirtqAvailHeader",
    "VirtqUsedHeader", "VirtqUsedElem", "VirtioNetHdr", "NET_HDR_OCTETS",
    "VIRTIO_NET_HDR_F_NEEDS_CSUM", "VIRTIO_NET_HDR_F_DATA_VALID", "COMMON_CFG", "ISR_CFG",
    "DEVICE_CFG", "MTU_DEFAULT", "MTU_MIN", "FRAME_OVERHEAD", "FRAME_MIN", "Command", "MANAGEMENT",
]

# --- the whole device ---------------------------------------------------------------------------

# [virtio-1.2: 2.1] device status
VIRTIO_CONFIG_S_ACKNOWLEDGE = 0x01
VIRTIO_CONFIG_S_DRIVER      = 0x02
VIRTIO_CONFIG_S_DRIVER_OK   = 0x04
VIRTIO_CONFIG_S_FEATURES_OK = 0x08
VIRTIO_CONFIG_S_NEEDS_RESET = 0x40
VIRTIO_CONFIG_S_FAILED      = 0x80

# [virtio-1.2: 5.1.3, 6] feature bits, by number
VIRTIO_NET_F_CSUM          = 0
VIRTIO_NET_F_GUEST_CSUM    = 1
VIRTIO_NET_F_MTU           = 3
VIRTIO_NET_F_MAC           = 5
VIRTIO_NET_F_MRG_RXBUF     = 15
VIRTIO_NET_F_STATUS        = 16
VIRTIO_NET_F_CTRL_VQ       = 17
VIRTIO_NET_F_CTRL_RX       = 18
VIRTIO_NET_F_CTRL_VLAN     = 19
VIRTIO_NET_F_MQ            = 22
VIRTIO_NET_F_CTRL_MAC_ADDR = 23
VIRTIO_F_INDIRECT_DESC     = 28  # Linux: VIRTIO_RING_F_INDIRECT_DESC
VIRTIO_F_EVENT_IDX         = 29  # Linux: VIRTIO_RING_F_EVENT_IDX
VIRTIO_F_VERSION_1         = 32
VIRTIO_F_ACCESS_PLATFORM   = 33
VIRTIO_F_ORDER_PLATFORM    = 36
VIRTIO_F_SR_IOV            = 37
VIRTIO_F_RING_RESET        = 40

# What a virtual function offers, and what PF0 offers.
FEATURES = sum(1 << bit for bit in (
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_MTU, VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_MAC_ADDR,
    VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM,
    VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_RING_RESET))
FEATURES_PF = FEATURES | 1 << VIRTIO_F_SR_IOV

# [virtio-1.2: 5.1.6] flags of the header
VIRTIO_NET_HDR_F_NEEDS_CSUM = 1
VIRTIO_NET_HDR_F_DATA_VALID = 2

VIRTIO_MSI_NO_VECTOR = 0xFFFF  # [virtio-1.2: 4.1.5.1.2]
VIRTIO_NET_S_LINK_UP = 1       # [virtio-1.2: 5.1.4]

# [virtio-1.2: 4.1.4] types of the vendor capability
VIRTIO_PCI_CAP_COMMON_CFG = 1
VIRTIO_PCI_CAP_NOTIFY_CFG = 2
VIRTIO_PCI_CAP_ISR_CFG    = 3
VIRTIO_PCI_CAP_DEVICE_CFG = 4
VIRTIO_PCI_CAP_PCI_CFG    = 5

# Where they stand in BAR 0; queue n is notified at NOTIFY_CFG_OFFSET + NOTIFY_OFF_MULTIPLIER * n.
COMMON_CFG_OFFSET     = 0x0000
ISR_CFG_OFFSET        = 0x0100
DEVICE_CFG_OFFSET     = 0x0200
NOTIFY_CFG_OFFSET     = 0x1000
NOTIFY_OFF_MULTIPLIER = 4

# [virtio-1.2: 4.1.4.5] ISR status
VIRTIO_ISR_QUEUE  = 1
VIRTIO_ISR_CONFIG = 2

# --- split virtqueue ----------------------------------------------------------------------------

VIRTQ_DESC_F_NEXT     = 1
VIRTQ_DESC_F_WRITE    = 2
VIRTQ_DESC_F_INDIRECT = 4
VIRTQ_AVAIL_F_NO_INTERRUPT = 1
VIRTQ_USED_F_NO_NOTIFY     = 1


class VirtqDesc(data.Struct):
    """[virtio-1.2: 2.7.5] an entry of the descriptor table; 16 octets."""
    addr:  64
    len:   32
    flags: 16
    next:  16


class VirtqAvailHeader(data.Struct):
    """[virtio-1.2: 2.7.6] what stands before the available ring; 4 octets."""
    flags: 16
    idx:   16


class VirtqUsedHeader(data.Struct):
    """[virtio-1.2: 2.7.8] what stands before the used ring; 4 octets."""
    flags: 16
    idx:   16


class VirtqUsedElem(data.Struct):
    """[virtio-1.2: 2.7.8] an element of the used ring; 8 octets."""
    id:  32
    len: 32


class VirtioNetHdr(data.Struct):
    """[virtio-1.2: 5.1.6] ``virtio_net_hdr`` of VERSION_1; 12 octets before every frame."""
    flags:       8
    gso_type:    8
    hdr_len:     16
    gso_size:    16
    csum_start:  16
    csum_offset: 16
    num_buffers: 16


NET_HDR_OCTETS = 12

assert size_of(VirtqDesc) == 16
assert size_of(VirtqUsedElem) == 8
assert size_of(VirtioNetHdr) == NET_HDR_OCTETS

# --- registers of the guest ---------------------------------------------------------------------

_COMMON = "virtio-1.2, 4.1.4.3"
COMMON_CFG = RegisterMap("virtio_pci_common_cfg", (
    Register("device_feature_select", 0x00, 32, "rw", _COMMON),
    Register("device_feature",        0x04, 32, "ro", _COMMON),
    Register("driver_feature_select", 0x08, 32, "rw", _COMMON),
    Register("driver_feature",        0x0C, 32, "rw", _COMMON),
    Register("config_msix_vector",    0x10, 16, "rw", _COMMON, reset=VIRTIO_MSI_NO_VECTOR),
    Register("num_queues",            0x12, 16, "ro", _COMMON),
    Register("device_status",         0x14, 8,  "rw", _COMMON),
    Register("config_generation",     0x15, 8,  "ro", _COMMON),
    Register("queue_select",          0x16, 16, "rw", _COMMON),
    Register("queue_size",            0x18, 16, "rw", _COMMON),
    Register("queue_msix_vector",     0x1A, 16, "rw", _COMMON, reset=VIRTIO_MSI_NO_VECTOR),
    Register("queue_enable",          0x1C, 16, "rw", _COMMON),
    Register("queue_notify_off",      0x1E, 16, "ro", _COMMON),
    Register("queue_desc",            0x20, 64, "rw", _COMMON),
    Register("queue_driver",          0x28, 64, "rw", _COMMON),
    Register("queue_device",          0x30, 64, "rw", _COMMON),
    Register("queue_notify_data",     0x38, 16, "ro", _COMMON),
    Register("queue_reset",           0x3A, 16, "rw", _COMMON),
), size=0x3C)

ISR_CFG = RegisterMap("virtio_isr", (
    Register("isr_status", 0x00, 8, "ro", "virtio-1.2, 4.1.4.5", doc="reading clears it"),
))

_NET = "virtio-1.2, 5.1.4"
DEVICE_CFG = RegisterMap("virtio_net_config", (
    Register("mac",                 0x00, 48, "ro", _NET),
    Register("status",              0x06, 16, "ro", _NET),
    Register("max_virtqueue_pairs", 0x08, 16, "ro", _NET),
    Register("mtu",                 0x0A, 16, "ro", _NET),
), size=0x40)

# --- registers of the provider ------------------------------------------------------------------

MTU_MIN        = 68    # [virtio-1.2: 5.1.4.1]
MTU_DEFAULT    = 1500
FRAME_OVERHEAD = 18    # Ethernet header and one VLAN tag, above the MTU
FRAME_MIN      = 14    # a frame shorter than its own header is none


class Command(enum.IntEnum):
    """Values of ``COMMAND``."""
    STORE = 1  # MAC, MTU, LINK, FEATURES become those of function FUNCTION


_OURS = "ours"
MANAGEMENT = RegisterMap("virtio_net_management", (
    Register("FUNCTION",   0x00, 16, "rw", _OURS, doc="function that the others speak of"),
    Register("MAC",        0x08, 48, "rw", _OURS, doc="octet 0 in bits 7:0; for COMMAND"),
    Register("MTU",        0x10, 16, "rw", _OURS, reset=MTU_DEFAULT, doc="for COMMAND"),
    Register("LINK",       0x18, 1,  "rw", _OURS, doc="1 up; for COMMAND"),
    Register("FEATURES",   0x20, 64, "rw", _OURS, reset=FEATURES_PF,
             doc="mask over what the card can offer; for COMMAND"),
    Register("COMMAND",    0x28, 8,  "wo", _OURS, doc="1 stores; see Command"),
    Register("STATUS",     0x30, 8,  "ro", _OURS, doc="device_status of the function"),
    Register("MAC_NOW",    0x38, 48, "ro", _OURS, doc="what the function has"),
    Register("MTU_NOW",    0x40, 16, "ro", _OURS, doc="what the function has"),
    Register("LINK_NOW",   0x42, 1,  "ro", _OURS, doc="what the function has"),
    Register("TX_PACKETS", 0x48, 48, "ro", _OURS, doc="frames that left the guest"),
    Register("TX_OCTETS",  0x50, 48, "ro", _OURS, doc="their octets"),
    Register("RX_PACKETS", 0x58, 48, "ro", _OURS, doc="frames written to the guest"),
    Register("RX_OCTETS",  0x60, 48, "ro", _OURS, doc="their octets"),
    Register("RX_DROPS",   0x68, 48, "ro", _OURS, doc="frames for which there was no room"),
    Register("ERRORS",     0x70, 48, "ro", _OURS, doc="times that the function NEEDS_RESET"),
), size=0x80)
