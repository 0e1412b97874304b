"""What a guest of User-Mode Linux sees otherwise than the card shows it.

Its PCI bus has number 0, no port above it and eight slots, one function each. So a function is an
integrated endpoint there, has no ARI, and its VFs stand eight apart. BARs lie where the guest puts
them; in the card's own address map they stay where the root port put them, and are put back after
a reset. A VF without its PF in the same guest carries ids, BARs and Memory Space Enable of its
own, as any hypervisor gives them. All else is the card's. docs/fidelity.md lists every field.
"""

# Ref: pcie-5.0, 7.5.1.2 (Type 0 Configuration Space Header), 7.5.3.2 (PCI Express Capabilities
#      Register), 9.3.3 (SR-IOV Extended Capability)

from ..host.pci import walk_capabilities, walk_extended
from ..host.pci_regs import *
from .attachment import Port

__all__ = ["Overlay", "VirtualBar"]

SLOT = 8                      # routing ids from one slot to the next
_INTEGRATED = 9               # Root Complex Integrated Endpoint
_PCI_EXP_FLAGS_TYPE = 0x00F0
_FUNC_LINK = 0x12             # of the SR-IOV capability


class VirtualBar:
    """One double word of a BAR: the guest's address in front, the card's behind.

    Parameters
    ----------
    size : int
        Of the whole BAR.
    shift : int
        0 for its low double word, 32 for the high one.
    flags : int
        Its lowest four bits.
    real : int or None
        What the card's register holds while the BAR is placed; None if it has none.
    other : int
        Offset of the BAR's other double word.
    """

    def __init__(self, size, shift, flags, real, other):
        self.other, self.mask = other, ~(size - 1) >> shift & 0xFFFF_FFFF
        self.flags, self.real, self.value = flags if shift == 0 else 0, real, 0

    def placed(self, raw):
        """Does the card hold ``raw`` because the BAR is where it was put?"""
        return self.real is None or not (raw ^ self.real) & ~0xF

    def write(self, value):
        """Keep what the guest writes."""
        self.value = value & self.mask


class Overlay(Port):
    """A card's function in a slot of the guest's bus.

    Parameters
    ----------
    port : sim.bridge.root_port.CardPort
        What stands behind.
    slot : int
    vf_slots : list of int
        Where the VFs of a PF stand in the same guest; none: SR-IOV is hidden.
    physical_here : bool
        A VF's PF belongs to the same guest.
    ids : tuple
        (vendor, device) of a VF whose PF does not.
    """

    def __init__(self, port, slot, *, vf_slots=(), physical_here=False, ids=None):
        self.port, self.name, self.slot = port, port.name, slot
        self.vf_slots, self.alone = list(vf_slots), ids is not None and not physical_here
        self.ids, self.memory_enable = ids, 0
        self.fixed, self.bars, self.always = {}, {}, {}
        self._known = False

    # --- preparation, at the first access that is answered ---

    async def _prepare(self):
        if not self._known and await self.port.config_read(PCI_COMMAND, 2) != 0xFFFF:
            await self._learn()
            self._known = True

    async def _learn(self):
        read = self.port.config_read
        capabilities = dict(await walk_capabilities(read))
        extended = await walk_extended(read)
        self._fix(capabilities[PCI_CAP_ID_EXP] + 2, _PCI_EXP_FLAGS_TYPE, _INTEGRATED << 4, 2)
        self._fix(PCI_HEADER_TYPE, PCI_HEADER_TYPE_MFD, 0, 1)
        hidden = [PCI_EXT_CAP_ID_ARI] + ([] if self.vf_slots else [PCI_EXT_CAP_ID_SRIOV])
        shown = [offset for kind, offset in extended if kind not in hidden]
        for here, following in zip(shown, [*shown[1:], 0]):
            self._fix(here, 0xFFF0_0000, following << 20, 4)
        if self.port.physical is None:
            await self._place(PCI_BASE_ADDRESS_0, self.port.bars)
        if self.vf_slots:
            await self._learn_sriov(dict(extended)[PCI_EXT_CAP_ID_SRIOV])
        if self.alone:
            self._fix(PCI_VENDOR_ID, 0xFFFF_FFFF, self.ids[0] | self.ids[1] << 16, 4)
            for bar, (_, size) in self.port.bars.items():
                self._bar(PCI_BASE_ADDRESS_0 + 4 * bar, size, PCI_BASE_ADDRESS_MEM_TYPE_64, None)

    async def _learn_sriov(self, base):
        count, vf_slots = len(self.vf_slots), self.vf_slots
        stride = vf_slots[1] - vf_slots[0] if count > 1 else 1
        if vf_slots != list(range(vf_slots[0], vf_slots[0] + stride * count, stride)):
            raise ValueError(f"the VFs of {self.name} must stand at equal distances, not in slots "
                             f"{vf_slots}")
        self._fix(base + PCI_SRIOV_INITIAL_VF, 0xFFFF_FFFF, count | count << 16, 4)
        self._fix(base + PCI_SRIOV_VF_OFFSET, 0xFFFF_FFFF,
                  SLOT * (vf_slots[0] - self.slot) | SLOT * stride << 16, 4)
        self._fix(base + _FUNC_LINK, 0xFF, 0, 1)
        self._fix(base + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_ARI, 0, 2)
        self._fix(base + PCI_SRIOV_CAP, 0x2, 0, 4)  # ARI Capable Hierarchy Preserved
        # The real bus has ARI: without it the VFs would move to the next bus.
        self.always[base + PCI_SRIOV_CTRL] = PCI_SRIOV_CTRL_ARI
        physical = self.port.root.sriov_bars(self.name)
        await self._place(base + PCI_SRIOV_BAR, physical)

    async def _place(self, first, bars):
        for bar, (address, size) in bars.items():
            flags = await self.port.config_read(first + 4 * bar, 4) & 0xF
            self._bar(first + 4 * bar, size, flags, address)

    def _bar(self, offset, size, flags, address):
        for shift in (0, 32):
            real = None if address is None else address >> shift & 0xFFFF_FFFF
            other = offset + (4 if shift == 0 else 0)
            self.bars[offset + shift // 8] = VirtualBar(size, shift, flags, real, other)

    def _fix(self, offset, mask, value, size):
        """These bits read as ``value``; ``size`` octets from ``offset``."""
        shift = 8 * (offset & 3)
        if offset % 4 + size > 4:
            raise ValueError(f"`offset` must leave {size} octets in its double word")
        known, held = self.fixed.get(offset & ~3, (0, 0))
        mask, value = mask << shift, value << shift
        self.fixed[offset & ~3] = known | mask, held & ~mask | value

    # --- accesses ---

    async def config_read(self, offset, size):
        await self._prepare()
        value = done = 0
        while done < size:
            at = offset + done
            here = min(size - done, 4 - at % 4)
            value |= await self._read(at, here) << 8 * done
            done += here
        return value

    async def _read(self, offset, size):
        word, shift = offset & ~3, 8 * (offset & 3)
        if not self._known or not (word in self.fixed or word in self.bars
                                   or self.alone and word == PCI_COMMAND):
            return await self.port.config_read(offset, size)
        raw = await self.port.config_read(word, 4)
        if raw == PCI_ERROR_RESPONSE and not (self.alone and word in (0, *self.bars)):
            return (1 << 8 * size) - 1
        if word in self.bars:
            bar = self.bars[word]
            half = self.bars[bar.other]
            if not (bar.placed(raw) and half.placed(await self.port.config_read(bar.other, 4))):
                bar.value = half.value = 0  # a reset shows
            raw = bar.value | bar.flags
        if self.alone and word == PCI_COMMAND:
            raw |= self.memory_enable
        mask, value = self.fixed.get(word, (0, 0))
        return (raw & ~mask | value) >> shift & (1 << 8 * size) - 1

    async def config_write(self, offset, size, value):
        await self._prepare()
        done = 0
        while done < size:
            at = offset + done
            here = min(size - done, 4 - at % 4)
            await self._write(at, here, value >> 8 * done & (1 << 8 * here) - 1)
            done += here

    async def _write(self, offset, size, value):
        bar = self.bars.get(offset)
        if bar is not None and size == 4:
            bar.write(value)
            # Both halves: a guest that puts back what a reset took writes only what differs.
            for half in (offset, bar.other):
                if bar.real is not None:
                    await self.port.config_write(half, 4, self.bars[half].real)
            return
        if self.alone and offset == PCI_COMMAND:
            self.memory_enable = value & PCI_COMMAND_MEMORY
        await self.port.config_write(offset, size, value | self.always.get(offset, 0))

    async def bar_read(self, bar, offset, size):
        if self.alone and not self.memory_enable:
            return b"\xff" * size
        return await self.port.bar_read(bar, offset, size)

    async def bar_write(self, bar, offset, octets):
        if not self.alone or self.memory_enable:
            await self.port.bar_write(bar, offset, octets)
