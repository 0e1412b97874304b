"""Configuration space: what the standards say of each register, and where ours stand.

Every function has the same plan; a *kind* (physical or virtual, virtio-net or NVMe) decides which
capabilities are there. ``pcie.config_map`` turns the declarations into images and masks.
"""

# Ref: pcie-5.0, 7.5 (PCI and PCIe Capabilities Required by the Base Spec)
# Ref: pcie-5.0, 7.8.4 (Advanced Error Reporting Extended Capability)
# Ref: pcie-5.0, 7.8.8 (ARI Extended Capability), 7.7.8 (Access Control Services)
# Ref: sriov-1.1, 3.3 (SR-IOV Extended Capability)
# Ref: virtio-1.2, 4.1.4 (Virtio Structure PCI Capabilities)

from amaranth.lib import data, enum

from ..rtl.octets import size_of
from ..rtl.regmap import Register, RegisterMap

# --- who we are ---------------------------------------------------------------------------------

VENDOR_VIRTIO      = 0x1AF4
DEVICE_VIRTIO_NET  = 0x1041  # [virtio-1.2: 4.1.2] 0x1040 + device id 1
VENDOR_OFFLOADCARD = 0x0FCD  # ours: not assigned by the PCI-SIG to anyone; drivers bind by class
DEVICE_NVME        = 0x4E56
DEVICE_NVME_VF     = 0x4E57
REVISION           = 1       # [virtio-1.2: 4.1.2.1] 1 or higher: no transitional device
CLASS_NETWORK      = 0x020000
CLASS_NVME         = 0x010802

PF_NET, PF_NVME, VF_NET, VF_NVME = range(4)  # kinds of function
KINDS = 4


# --- structures ---------------------------------------------------------------------------------

class Type0Header(data.Struct):
    """Type 0 configuration space header; 64 octets."""
    vendor_id:            16
    device_id:            16
    command:              16
    status:               16
    revision_id:          8
    class_code:           24
    cache_line_size:      8
    latency_timer:        8
    header_type:          8
    bist:                 8
    bars:                 data.ArrayLayout(32, 6)
    cardbus_cis_pointer:  32
    subsystem_vendor_id:  16
    subsystem_id:         16
    expansion_rom:        32
    capabilities_pointer: 8
    _rsvd35:              56
    interrupt_line:       8
    interrupt_pin:        8
    min_gnt:              8
    max_lat:              8


class PmCapability(data.Struct):
    """Power Management capability; 8 octets."""
    capability_id: 8
    next_pointer:  8
    pmc:           16
    pmcsr:         16
    pmcsr_bse:     8
    data:          8


class MsixCapability(data.Struct):
    """MSI-X capability; 12 octets."""
    capability_id:   8
    next_pointer:    8
    message_control: 16
    table:           32  # BAR in bits 2:0, offset above
    pba:             32


class PcieCapability(data.Struct):
    """PCI Express capability, version 2; 60 octets."""
    capability_id:         8
    next_pointer:          8
    pcie_capabilities:     16
    device_capabilities:   32
    device_control:        16
    device_status:         16
    link_capabilities:     32
    link_control:          16
    link_status:           16
    slot_capabilities:     32
    slot_control:          16
    slot_status:           16
    root_control:          16
    root_capabilities:     16
    root_status:           32
    device_capabilities_2: 32
    device_control_2:      16
    device_status_2:       16
    link_capabilities_2:   32
    link_control_2:        16
    link_status_2:         16
    slot_capabilities_2:   32
    slot_control_2:        16
    slot_status_2:         16


class VirtioPciCap(data.Struct):
    """``virtio_pci_cap``; 16 octets, or 20 with the word that two of the types append."""
    cap_vndr: 8
    cap_next: 8
    cap_len:  8
    cfg_type: 8
    bar:      8
    id:       8
    _padding: 16
    offset:   32
    length:   32


class ExtendedHeader(data.Struct):
    """Head of a capability of the extended list; 4 octets."""
    capability_id: 16
    version:       4
    next_offset:   12


class AerCapability(data.Struct):
    """Advanced Error Reporting, endpoint part; 44 octets."""
    header:                     ExtendedHeader
    uncorrectable_error_status: 32
    uncorrectable_error_mask:   32
    uncorrectable_severity:     32
    correctable_error_status:   32
    correctable_error_mask:     32
    capabilities_and_control:   32
    header_log:                 data.ArrayLayout(32, 4)


class AriCapability(data.Struct):
    """Alternative Routing-ID Interpretation; 8 octets."""
    header:         ExtendedHeader
    ari_capability: 16
    ari_control:    16


class AcsCapability(data.Struct):
    """Access Control Services; 8 octets. No bit set: nothing to redirect, since functions of the
    card never reach one another over PCIe."""
    header:         ExtendedHeader
    acs_capability: 16
    acs_control:    16


class SriovCapability(data.Struct):
    """SR-IOV extended capability; 64 octets."""
    header:                   ExtendedHeader
    sriov_capabilities:       32
    sriov_control:            16
    sriov_status:             16
    initial_vfs:              16
    total_vfs:                16
    num_vfs:                  16
    function_dependency_link: 8
    _rsvd13:                  8
    first_vf_offset:          16
    vf_stride:                16
    _rsvd18:                  16
    vf_device_id:             16
    supported_page_sizes:     32
    system_page_size:         32
    vf_bars:                  data.ArrayLayout(32, 6)
    vf_migration_state_array: 32


for _shape, _size in ((Type0Header, 64), (PmCapability, 8), (MsixCapability, 12),
                      (PcieCapability, 60), (VirtioPciCap, 16), (AerCapability, 44),
                      (AriCapability, 8), (AcsCapability, 8), (SriovCapability, 64)):
    assert size_of(_shape) == _size, _shape


# --- where they stand ---------------------------------------------------------------------------

class Capability(enum.IntEnum):
    """Capability ids of the standard list."""
    PM     = 0x01
    VENDOR = 0x09
    PCIE   = 0x10
    MSIX   = 0x11


class ExtendedCapability(enum.IntEnum):
    """Capability ids of the extended list."""
    AER   = 0x0001
    ACS   = 0x000D
    ARI   = 0x000E
    SRIOV = 0x0010


PM, MSIX, PCIE = 0x40, 0x50, 0x60
VIRTIO_COMMON, VIRTIO_ISR, VIRTIO_DEVICE, VIRTIO_NOTIFY, VIRTIO_PCI = 0xA0, 0xB0, 0xC0, 0xD0, 0xE4
AER, ARI, ACS, SRIOV = 0x100, 0x150, 0x160, 0x170  # the extended list begins at 0x100
SPACE_DW = 128  # DWs with an image; all above read zero


class CfgType(enum.IntEnum):
    """[virtio-1.2: 4.1.4] types of ``virtio_pci_cap``."""
    COMMON = 1
    NOTIFY = 2
    ISR    = 3
    DEVICE = 4
    PCI    = 5


# Windows of BAR 0 of a virtio-net function: (offset, length).
BAR_REGISTERS, BAR_MSIX = 0, 2
BAR_OCTETS           = 0x10000
BAR_64               = 0x4  # memory, 64 bits, not prefetchable: the ISR register clears on read
COMMON_CFG           = (0x0000, 0x3C)
ISR_CFG              = (0x0100, 0x01)
DEVICE_CFG           = (0x0200, 0x40)
NOTIFY_CFG           = (0x1000, 0x1000)  # queue n at 0x1000 + 4 * n
NOTIFY_MULTIPLIER    = 4
# BAR 0 of an NVMe function: properties at 0, doorbells at 0x1000, stride 4 [nvme-base-1.4c: 3.1].
MSIX_TABLE, MSIX_PBA = 0x0000, 0x8000    # in BAR 2


def virtio_vectors(*, queue_pairs):
    """MSI-X vectors of a virtio-net function: one a queue and one for its configuration."""
    return 2 * queue_pairs + 1


def nvme_vectors(*, io_queues):
    """MSI-X vectors of an NVMe function: one an I/O queue and one for the admin queue."""
    return io_queues + 1


class MsixEntry(data.Struct):
    """[pcie-5.0: 7.7.2.3] an entry of the MSI-X table; 16 octets."""
    message_address: 64
    message_data:    32
    vector_control:  32  # bit 0 masks


assert size_of(MsixEntry) == 16

# [pcie-5.0: 6.2.7] bits of the AER uncorrectable error status that the card can set
ERROR_POISONED, ERROR_TIMEOUT, ERROR_ABORT, ERROR_UNEXPECTED = 12, 14, 15, 16
ERROR_MALFORMED, ERROR_UNSUPPORTED = 18, 20

# [sriov-1.1: 3.3.12] 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB
SUPPORTED_PAGE_SIZES = 0x553

# Receive buffers of the front, advertised at link up: requests in headers, data in 16 octets. Data
# of requests is never kept beyond 8 octets, so any limit serves.
POSTED_CREDITS, POSTED_DATA_CREDITS       = 64, 512
NONPOSTED_CREDITS, NONPOSTED_DATA_CREDITS = 32, 32

# --- the provider's own registers ---------------------------------------------------------------

class FunctionState(data.Struct):
    """A row of the function table as the provider sees it."""
    closed:      1  # being reset, or not begun
    absent:      1
    bus_master:  1
    memory:      1
    msix_enable: 1
    msix_mask:   1


class FunctionControl(data.Struct):
    """What the provider may do to a function."""
    present: 1  # 0 stops the function; then its configuration requests are unsupported
    reset:   1  # 1 resets it, as FLR does


MANAGEMENT = RegisterMap("pcie.functions", (
    Register("ID", 0x00, 64, "ro", "ours", reset=0x4346_4E4F_4349_4550, doc="ASCII: PEICONFC"),
    Register("FUNCTION", 0x08, 12, "rw", "ours", doc="function_id that the next two speak of"),
    Register("FUNCTION_STATE", 0x10, FunctionState, "ro", "ours", doc="its row"),
    Register("FUNCTION_CONTROL", 0x18, FunctionControl, "wo", "ours", doc="virtual ones only"),
    Register("LINK", 0x20, 64, "ro", "ours",
             doc="bit 0 link up, 1 ARI, 15:8 bus, 31:16 and 47:32 VFs enabled of PF0 and PF1"),
    Register("UNSUPPORTED", 0x28, 32, "ro", "ours", doc="requests answered UR, or dropped"),
    Register("ABORTED", 0x30, 32, "ro", "ours", doc="requests answered CA"),
    Register("MALFORMED", 0x38, 32, "ro", "ours", doc="TLPs that no request can look like"),
    Register("POISONED", 0x40, 32, "ro", "ours", doc="requests with EP set"),
    Register("DROPPED_WRITES", 0x48, 32, "ro", "ours", doc="writes of a bad length or place"),
), size=0x8000)
