"""A PCI function as an operating system handles it: capabilities, BARs, MSI-X, FLR."""

from .bus import Timeout, poll
from .pci_regs import *

__all__ = ["BarWindow", "PciFunction", "walk_capabilities", "walk_extended"]

CONFIG_POLL_NS = 2_000


class BarWindow:
    """Addresses that the host gives to BARs, ascending."""

    def __init__(self, base, size):
        self.base, self.next, self.stop = base, base, base + size

    def take(self, size):
        """An aperture of ``size`` octets (a power of two times a count), aligned to its BAR."""
        align = size & -size
        address = (self.next + align - 1) // align * align
        if address + size > self.stop:
            raise ValueError(f"the window must hold {size:#x} octets more")
        self.next = address + size
        return address


async def walk_capabilities(read):
    """``[(id, offset)]`` of the standard list; ``read(offset, size)`` reads config space.

    ``ValueError`` where the list loops or leaves the first 256 octets.
    """
    found = []
    if not await read(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST:
        return found
    offset = await read(PCI_CAPABILITY_LIST, 1) & ~3
    while offset:
        if offset < 0x40 or offset in (seen for _, seen in found):
            raise ValueError(f"the capability list must not go to {offset:#x}")
        found.append((await read(offset, 1), offset))
        offset = await read(offset + 1, 1) & ~3
    return found


async def walk_extended(read):
    """``[(id, offset)]`` of the extended list, which begins at 0x100."""
    found, offset = [], PCI_CFG_SPACE_SIZE
    while offset:
        if offset < PCI_CFG_SPACE_SIZE or offset in (seen for _, seen in found):
            raise ValueError(f"the extended capability list must not go to {offset:#x}")
        header = await read(offset, 4)
        if header in (0, PCI_ERROR_RESPONSE):
            break
        found.append((header & 0xFFFF, offset))
        offset = header >> 20 & 0xFFC
    return found


class PciFunction:
    """One function, physical or virtual, by its routing id.

    Attributes
    ----------
    bars : dict
        BAR number -> (address, size), as assigned.
    capabilities, extended : list of (id, offset)
        In the order of the lists.
    physical : PciFunction or None
        The PF, for a VF.
    memory : sim.host.memory.Memory
        Of the guest that owns the function; the bus's until it is assigned.
    """

    def __init__(self, bus, rid, *, physical=None):
        self.bus, self.rid, self.physical = bus, rid, physical
        self.memory = bus.memory
        self.bars, self.capabilities, self.extended = {}, [], []
        self.vendor_id = self.device_id = None
        self.messages = []

    def __repr__(self):
        return f"{self.rid >> 8:02x}:{self.rid >> 3 & 31:02x}.{self.rid & 7}"

    async def read(self, offset, size):
        """Read config space."""
        return await self.bus.config_read(self.rid, offset, size)

    async def write(self, offset, size, value):
        """Write config space."""
        await self.bus.config_write(self.rid, offset, size, value)

    async def update(self, offset, size, *, clear=0, set=0):
        """Read, change and write back a register of config space; its new value."""
        value = await self.read(offset, size) & ~clear | set
        await self.write(offset, size, value)
        return value

    def capability(self, wanted):
        """Offset of the first capability ``wanted``, or None."""
        return next((offset for kind, offset in self.capabilities if kind == wanted), None)

    def extended_capability(self, wanted):
        """Offset of an extended capability, or None."""
        return next((offset for kind, offset in self.extended if kind == wanted), None)

    async def identify(self):
        """Read ids and both capability lists. A VF's ids come from its PF."""
        if self.physical is None:
            self.vendor_id = await self.read(PCI_VENDOR_ID, 2)
            self.device_id = await self.read(PCI_DEVICE_ID, 2)
        else:
            sriov = self.physical.extended_capability(PCI_EXT_CAP_ID_SRIOV)
            self.vendor_id = self.physical.vendor_id
            self.device_id = await self.physical.read(sriov + PCI_SRIOV_VF_DID, 2)
        self.capabilities = await walk_capabilities(self.read)
        self.extended = await walk_extended(self.read)

    async def size_bars(self, first=PCI_BASE_ADDRESS_0):
        """``{BAR: size}`` by writing ones; decoding is off meanwhile, the BARs end as before."""
        sizes, number = {}, 0
        standard = first == PCI_BASE_ADDRESS_0
        if standard:
            command = await self.read(PCI_COMMAND, 2)
            await self.write(PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY)
        while number < PCI_STD_NUM_BARS:
            offset = first + 4 * number
            low, mask = await self._probe(offset)
            wide = low & PCI_BASE_ADDRESS_MEM_TYPE_MASK == PCI_BASE_ADDRESS_MEM_TYPE_64
            if low & PCI_BASE_ADDRESS_SPACE_IO:
                raise ValueError(f"BAR {number} of {self} must be a memory BAR")
            if wide and mask:
                _, high = await self._probe(offset + 4)
                mask |= high << 32
            elif mask:
                mask |= 0xFFFF_FFFF << 32
            mask &= ~0xF
            if mask:
                sizes[number] = (-mask) & 0xFFFF_FFFF_FFFF_FFFF
            number += 2 if wide else 1
        if standard:
            await self.write(PCI_COMMAND, 2, command)
        return sizes

    async def _probe(self, offset):
        before = await self.read(offset, 4)
        await self.write(offset, 4, 0xFFFF_FFFF)
        mask = await self.read(offset, 4)
        await self.write(offset, 4, before)
        return mask, mask

    async def place_bars(self, window, first=PCI_BASE_ADDRESS_0, count=1):
        """Give every BAR an address; ``{BAR: (address, size of one)}``. Memory is not yet on."""
        placed = {}
        for number, size in (await self.size_bars(first)).items():
            address = window.take(size * count)
            low = await self.read(first + 4 * number, 4)
            await self.write(first + 4 * number, 4, address & 0xFFFF_FFFF)
            if low & PCI_BASE_ADDRESS_MEM_TYPE_MASK == PCI_BASE_ADDRESS_MEM_TYPE_64:
                await self.write(first + 4 * number + 4, 4, address >> 32)
            placed[number] = (address, size)
        return placed

    async def enable(self, *, memory=True, master=True):
        """Memory space and bus master on; INTx off, as drivers do that use MSI-X."""
        wanted = PCI_COMMAND_INTX_DISABLE
        wanted |= PCI_COMMAND_MEMORY if memory else 0
        wanted |= PCI_COMMAND_MASTER if master else 0
        await self.update(PCI_COMMAND, 2, set=wanted)

    async def set_master(self, on):
        """Bus master on or off."""
        await self.update(PCI_COMMAND, 2, clear=0 if on else PCI_COMMAND_MASTER,
                          set=PCI_COMMAND_MASTER if on else 0)

    async def msix_enable(self, count):
        """Enable MSI-X with ``count`` vectors (fewer if the table is smaller); the messages.

        As Linux does: enabled with all masked, entries written and unmasked, then the mask lifted.
        """
        capability = self.capability(PCI_CAP_ID_MSIX)
        flags = await self.read(capability + PCI_MSIX_FLAGS, 2)
        count = min(count, (flags & PCI_MSIX_FLAGS_QSIZE) + 1)
        flags |= PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL
        await self.write(capability + PCI_MSIX_FLAGS, 2, flags)
        self.messages = [self.bus.new_message() for _ in range(count)]
        for vector in range(count):
            await self.msix_program(vector, self.messages[vector])
        await self.write(capability + PCI_MSIX_FLAGS, 2, flags & ~PCI_MSIX_FLAGS_MASKALL)
        return self.messages

    async def msix_entry(self, vector):
        """Address of a vector's entry in the table."""
        table = await self.read(self.capability(PCI_CAP_ID_MSIX) + PCI_MSIX_TABLE, 4)
        base, _ = self.bars[table & PCI_MSIX_TABLE_BIR]
        return base + (table & PCI_MSIX_TABLE_OFFSET) + vector * PCI_MSIX_ENTRY_SIZE

    async def msix_program(self, vector, message, *, masked=False):
        """Write one entry of the table."""
        entry = await self.msix_entry(vector)
        await self.bus.write(entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4, message.address & 0xFFFF_FFFF)
        await self.bus.write(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, message.address >> 32)
        await self.bus.write(entry + PCI_MSIX_ENTRY_DATA, 4, message.data)
        await self.msix_mask(vector, masked)

    async def msix_mask(self, vector, masked):
        """Mask or unmask one vector."""
        entry = await self.msix_entry(vector)
        await self.bus.write(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
                             PCI_MSIX_ENTRY_CTRL_MASKBIT if masked else 0)

    async def msix_pending(self):
        """The pending bit array, as a number."""
        capability = self.capability(PCI_CAP_ID_MSIX)
        pba = await self.read(capability + PCI_MSIX_PBA, 4)
        count = (await self.read(capability + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1
        base, _ = self.bars[pba & PCI_MSIX_TABLE_BIR]
        return int.from_bytes(await self.bus.memory_read(
            base + (pba & PCI_MSIX_TABLE_OFFSET), (count + 63) // 64 * 8), "little")

    async def answers(self):
        """Is the function out of reset? Vendor 0001h is a retry; VFs show FFFFh there."""
        vendor = await self.read(PCI_VENDOR_ID, 4) & 0xFFFF
        if self.physical is not None and vendor == 0xFFFF:
            return await self.read(PCI_HEADER_TYPE, 1) != 0xFF
        return vendor not in (PCI_VENDOR_ID_CRS, 0xFFFF)

    async def pending(self):
        """Transactions Pending of Device Status."""
        express = self.capability(PCI_CAP_ID_EXP)
        return bool(await self.read(express + PCI_EXP_DEVSTA, 2) & PCI_EXP_DEVSTA_TRPND)

    async def flr(self, *, quiesce=False, timeout_ns=1_000_000):
        """Function Level Reset; returns when the function answers again, all state gone.

        ``quiesce`` waits for Transactions Pending first, as a careful driver does; without it the
        function is reset under load.
        """
        express = self.capability(PCI_CAP_ID_EXP)
        if not await self.read(express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR:
            raise ValueError(f"{self} must offer FLR")
        if quiesce:
            async def idle():
                return not await self.pending()
            await poll(self.bus, idle, f"end of transactions of {self}", timeout_ns=timeout_ns)
        await self.update(express + PCI_EXP_DEVCTL, 2, set=PCI_EXP_DEVCTL_BCR_FLR)
        await poll(self.bus, self.answers, f"{self} after FLR", timeout_ns=timeout_ns,
                   every_ns=CONFIG_POLL_NS)
        if await self.read(PCI_COMMAND, 2) & (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY):
            raise Timeout(f"{self} must lose its command register by FLR")

    async def restore(self):
        """After FLR: BARs of a PF, memory and bus master; MSI-X stays to the driver."""
        if self.physical is None:
            for number, (address, _) in self.bars.items():
                await self.write(PCI_BASE_ADDRESS_0 + 4 * number, 4, address & 0xFFFF_FFFF)
                await self.write(PCI_BASE_ADDRESS_0 + 4 * number + 4, 4, address >> 32)
        await self.enable()
