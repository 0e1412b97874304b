"""The images of configuration space: what is constant, what is kept where, who may write it.

A register that software can write, or that the card can set, lies in a *slot* of the function's
row, or, for what only physical functions have, in ``config_pf.PfRegisters``. All else is constant.
"""

# Ref: pcie-5.0, 7.5.1 (Type 0 header), 7.5.2 (Power Management), 7.5.3 (PCI Express Capability)
# Ref: sriov-1.1, 3.4 (Virtual Function Configuration Space), 3.5 (PCI Express Capability of VFs)

from amaranth.lib import data, enum

from ..rtl.octets import pack, size_of
from . import spec_config as spec
from .spec_config import PF_NET, PF_NVME, VF_NET, VF_NVME, CfgType

__all__ = ["Slot", "SLOTS", "FLAG_CLOSED", "FLAG_ABSENT", "PF_REGISTERS", "VIRTIO_PCI_DATA",
           "ConfigMap"]


_WORD = data.StructLayout({"word": 32})


class Slot(enum.IntEnum):
    """DWs of a function's row; ``FLAGS`` is ours."""
    COMMAND        = 0
    PM             = 1
    MSIX           = 2
    DEVICE         = 3
    DEVICE_2       = 4
    UNCORRECTABLE  = 5
    MASK           = 6
    SEVERITY       = 7
    CORRECTABLE    = 8
    CORRECTABLE_MASK = 9
    AER_CONTROL    = 10
    HEADER_LOG     = 11  # and the next three
    VIRTIO_BAR     = 15
    VIRTIO_OFFSET  = 16
    VIRTIO_LENGTH  = 17
    FLAGS          = 18


SLOTS = 19
FLAG_CLOSED, FLAG_ABSENT = 0, 1  # bits of `Slot.FLAGS`

PHYSICAL, VIRTUAL = (PF_NET, PF_NVME), (VF_NET, VF_NVME)
ALL, NET          = PHYSICAL + VIRTUAL, (PF_NET, VF_NET)

VIRTIO_PCI_DATA = spec.VIRTIO_PCI + 16  # `pci_cfg_data`

PF_REGISTERS = (0x0C, 0x10, 0x14, 0x18, 0x1C, spec.PCIE + 0x10, *(
    spec.SRIOV + offset for offset in (0x08, 0x10, 0x14, 0x20, 0x24, 0x28, 0x2C, 0x30)))

_UNCORRECTABLE    = 0x0015_F010  # the bits of ERROR_*, data link protocol and flow control
_UNCORRECTABLE_VF = 0x0011_D000  # [sriov-1.1: 4.2.1.3] what is function-specific
_SEVERITY         = 0x0006_2010  # [pcie-5.0: 7.8.4.4] fatal by default

# (slot, offset, kinds, writable, write-one-to-clear, reset, kept over a function-level reset)
STATE = (
    (Slot.COMMAND,  0x04, PHYSICAL, 0x0546, 0xF900_0000, 0, 0),
    (Slot.COMMAND,  0x04, VIRTUAL,  0x0004, 0xF900_0000, 0, 0),
    (Slot.PM,       spec.PM + 4, ALL, 0x3, 0, 0, 0),
    (Slot.MSIX,     spec.MSIX, ALL, 0xC000_0000, 0, 0, 0),
    # [pcie-5.0: 7.5.3.4] Relaxed Ordering and No Snoop enabled, Max_Read_Request_Size 512.
    # [pcie-5.0: 6.6.2] Max_Payload_Size survives a function-level reset.
    (Slot.DEVICE,   spec.PCIE + 8, PHYSICAL, 0x79FF, 0x000F_0000, 0x2810, 0x00E0),
    # [sriov-1.1: 3.5.4] a VF's errors are told as its PF's bits say.
    (Slot.DEVICE,   spec.PCIE + 8, VIRTUAL,  0x0000, 0x000F_0000, 0, 0),
    (Slot.DEVICE_2, spec.PCIE + 0x28, PHYSICAL, 0x0010, 0, 0, 0),
    (Slot.UNCORRECTABLE, spec.AER + 0x04, PHYSICAL, 0, _UNCORRECTABLE, 0, 0xFFFF_FFFF),
    (Slot.UNCORRECTABLE, spec.AER + 0x04, VIRTUAL, 0, _UNCORRECTABLE_VF, 0, 0xFFFF_FFFF),
    (Slot.MASK,     spec.AER + 0x08, PHYSICAL, _UNCORRECTABLE, 0, 0, 0xFFFF_FFFF),
    (Slot.SEVERITY, spec.AER + 0x0C, PHYSICAL, _UNCORRECTABLE, 0, _SEVERITY, 0xFFFF_FFFF),
    (Slot.CORRECTABLE, spec.AER + 0x10, ALL, 0, 0x2000, 0, 0xFFFF_FFFF),
    (Slot.CORRECTABLE_MASK, spec.AER + 0x14, PHYSICAL, 0x2000, 0, 0x2000, 0xFFFF_FFFF),
    (Slot.AER_CONTROL, spec.AER + 0x18, ALL, 0, 0, 0, 0xFFFF_FFFF),
    *((Slot.HEADER_LOG + n, spec.AER + 0x1C + 4 * n, ALL, 0, 0, 0, 0xFFFF_FFFF)
      for n in range(4)),
    (Slot.VIRTIO_BAR,    spec.VIRTIO_PCI + 4,  NET, 0x0000_00FF, 0, 0, 0),
    (Slot.VIRTIO_OFFSET, spec.VIRTIO_PCI + 8,  NET, 0xFFFF_FFFF, 0, 0, 0),
    (Slot.VIRTIO_LENGTH, spec.VIRTIO_PCI + 12, NET, 0xFFFF_FFFF, 0, 0, 0),
)


class ConfigMap:
    """The images of one card, per kind of function.

    Members
    -------
    constants : list of list of int
        Per kind, the constant part of each DW.
    state : list of dict
        Per kind, DW number → (slot, writable, write-one-to-clear).
    reset, keep : list of list of int
        Per kind and slot, the value after a reset and the bits that outlive it.
    """

    def __init__(self, config):
        self.config = config
        self.constants, self.state, self.reset, self.keep = [], [], [], []
        for kind in ALL:
            image = self._image(kind)
            words = [int.from_bytes(image[n:n + 4], "little") for n in range(0, len(image), 4)]
            self.constants.append(words)
            mine = [row for row in STATE if kind in row[2]]
            self.state.append({offset // 4: (int(slot), writable, clear)
                               for slot, offset, _, writable, clear, _, _ in mine})
            self.reset.append([0] * SLOTS)
            self.keep.append([0] * SLOTS)
            for slot, _, _, _, _, reset, keep in mine:
                self.reset[kind][slot] = reset
                self.keep[kind][slot] = keep
            self.keep[kind][Slot.FLAGS] = 1 << FLAG_ABSENT

    ROM = data.StructLayout({"constant": 32, "writable": 32, "clear": 32, "slot": 5, "in_row": 1,
                             "in_pf": 1})

    def rom(self):
        """Rows of shape ``ROM``, by kind and DW."""
        rows = []
        for kind in ALL:
            for dw in range(spec.SPACE_DW):
                slot, writable, clear = self.state[kind].get(dw, (0, 0, 0))
                rows.append({
                    "constant": self.constants[kind][dw], "writable": writable, "clear": clear,
                    "slot": slot, "in_row": dw in self.state[kind],
                    "in_pf": kind in PHYSICAL and 4 * dw in PF_REGISTERS})
        return rows

    def vectors(self, kind):
        """MSI-X vectors of a function."""
        if kind in NET:
            return spec.virtio_vectors(queue_pairs=self.config.virtio_queue_pairs)
        return spec.nvme_vectors(io_queues=self.config.nvme_io_queues)

    def _image(self, kind):
        image = bytearray(4 * spec.SPACE_DW)

        def put(place, shape, /, **fields):
            image[place:place + size_of(shape)] = pack(shape, fields)

        physical, net = kind in PHYSICAL, kind in NET
        vendor = spec.VENDOR_VIRTIO if net else spec.VENDOR_OFFLOADCARD
        device = spec.DEVICE_VIRTIO_NET if net else spec.DEVICE_NVME
        put(0x00, spec.Type0Header,
            # [sriov-1.1: 3.4.1.1] a VF reads FFFF; its ids stand in the PF's capability
            vendor_id=vendor if physical else 0xFFFF, device_id=device if physical else 0xFFFF,
            status=0x0010,  # Capabilities List
            revision_id=spec.REVISION, class_code=spec.CLASS_NETWORK if net else spec.CLASS_NVME,
            header_type=0x80 if physical else 0x00,  # multi-function: never on a VF
            bars=[spec.BAR_64, 0, spec.BAR_64, 0, 0, 0] if physical else [0] * 6,
            subsystem_vendor_id=vendor, subsystem_id=device,
            capabilities_pointer=spec.PM)
        put(spec.PM, spec.PmCapability, capability_id=spec.Capability.PM, next_pointer=spec.MSIX,
            pmc=0x0003,     # version 1.2, D0 and D3hot, no PME
            pmcsr=0x0008)   # No_Soft_Reset
        put(spec.MSIX, spec.MsixCapability, capability_id=spec.Capability.MSIX,
            next_pointer=spec.PCIE, message_control=self.vectors(kind) - 1,
            table=spec.MSIX_TABLE | spec.BAR_MSIX, pba=spec.MSIX_PBA | spec.BAR_MSIX)
        put(spec.PCIE, spec.PcieCapability, capability_id=spec.Capability.PCIE,
            next_pointer=spec.VIRTIO_COMMON if net else 0,
            pcie_capabilities=0x0002,         # version 2, PCI Express Endpoint
            # Max_Payload 512, extended tags, role-based error reporting, FLR
            device_capabilities=0x1000_8022,
            link_capabilities=0x0000_0103,    # 8 GT/s, x16, no ASPM
            link_status=0x1103 if physical else 0,
            device_capabilities_2=0x0010,     # Completion Timeout Disable
            link_capabilities_2=0x000E,       # 2.5, 5 and 8 GT/s
            link_control_2=0x0003 if physical else 0)
        if net:
            self._virtio(put)
        put(spec.AER, spec.AerCapability, header={
            "capability_id": spec.ExtendedCapability.AER, "version": 2, "next_offset": spec.ARI})
        put(spec.ARI, spec.AriCapability,
            header={"capability_id": spec.ExtendedCapability.ARI, "version": 1,
                    "next_offset": spec.ACS},
            ari_capability=0x0100 if kind == PF_NET else 0)  # Next Function Number
        put(spec.ACS, spec.AcsCapability, header={
            "capability_id": spec.ExtendedCapability.ACS, "version": 1,
            "next_offset": spec.SRIOV if physical else 0})
        if physical:
            self._sriov(kind, put)
        return image

    def _virtio(self, put):
        structures = (
            (spec.VIRTIO_COMMON, CfgType.COMMON, spec.VIRTIO_ISR, 16, spec.COMMON_CFG),
            (spec.VIRTIO_ISR, CfgType.ISR, spec.VIRTIO_DEVICE, 16, spec.ISR_CFG),
            (spec.VIRTIO_DEVICE, CfgType.DEVICE, spec.VIRTIO_NOTIFY, 16, spec.DEVICE_CFG),
            (spec.VIRTIO_NOTIFY, CfgType.NOTIFY, spec.VIRTIO_PCI, 20, spec.NOTIFY_CFG),
            (spec.VIRTIO_PCI, CfgType.PCI, 0, 20, (0, 0)),
        )
        for place, cfg_type, following, octets, (offset, length) in structures:
            put(place, spec.VirtioPciCap, cap_vndr=spec.Capability.VENDOR, cap_next=following,
                cap_len=octets, cfg_type=cfg_type, bar=spec.BAR_REGISTERS, offset=offset,
                length=length)
        put(spec.VIRTIO_NOTIFY + 16, _WORD, word=spec.NOTIFY_MULTIPLIER)

    def _sriov(self, kind, put):
        config = self.config
        net    = kind == PF_NET
        vfs    = config.virtio_net_vfs if net else config.nvme_vfs
        put(spec.SRIOV, spec.SriovCapability,
            header={"capability_id": spec.ExtendedCapability.SRIOV, "version": 1},
            sriov_capabilities=0x2 if net else 0,  # ARI Capable Hierarchy Preserved: PF0 only
            initial_vfs=vfs, total_vfs=vfs, function_dependency_link=kind,
            vf_stride=1,  # First VF Offset depends on ARI: `config_pf` adds it
            vf_device_id=spec.DEVICE_VIRTIO_NET if net else spec.DEVICE_NVME_VF,
            supported_page_sizes=spec.SUPPORTED_PAGE_SIZES,
            vf_bars=[spec.BAR_64, 0, spec.BAR_64, 0, 0, 0])
