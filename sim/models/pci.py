"""An untimed PCIe card behind the drivers' bus: config spaces, BARs, MSI-X, SR-IOV and FLR.

It predicts what the card must answer, and lets drivers be tested where there is no RTL. A device
model gets its registers' accesses and does its DMA at once; time passes only in ``sleep``.
"""

from sim.host.bus import Bus, Message
from sim.host.memory import Memory
from sim.host.pci_regs import *

__all__ = ["DmaError", "ModelBus", "ModelFunction", "build_card"]

BAR_SIZE = 0x10000
EXPRESS, MSIX, VENDOR = 0x40, 0x80, 0x90  # where the model puts its capabilities
ARI, SRIOV = 0x100, 0x140


class DmaError(Exception):
    """A request of the device was answered by Unsupported Request, or it may not send one."""


class ModelFunction:
    """One function: 4 KiB of config space with a write mask, two 64 KiB BARs, MSI-X.

    ``device`` answers BAR 0 by ``read(offset, size) -> int``, ``write(offset, size, value)`` and
    ``reset()``.
    """

    def __init__(self, bus, *, ids, class_code, device, vectors, physical=None):
        self.bus, self.device, self.vectors, self.physical = bus, device, vectors, physical
        self.ids, self.class_code = ids, class_code
        self.table = bytearray(16 * vectors)
        self.pending = 0
        self.vfs, self.vf_factory, self.total_vfs = [], None, 0
        self.next_function = 0
        self.initial()
        device.attach(self)

    def initial(self):
        """Everything as after power-up."""
        self.config, self.mask = bytearray(4096), bytearray(4096)
        self.table[:] = (bytes(12) + b"\1\0\0\0") * self.vectors
        self.pending = 0
        vendor, device = (0xFFFF, 0xFFFF) if self.physical else self.ids
        self.put(PCI_VENDOR_ID, 2, vendor)
        self.put(PCI_DEVICE_ID, 2, device)
        self.put(PCI_REVISION_ID, 4, self.class_code << 8 | 1)
        self.put(PCI_COMMAND, 2, 0, 0x0404 if self.physical else 0x0406)
        self.put(PCI_STATUS, 2, PCI_STATUS_CAP_LIST)
        self.put(PCI_CAPABILITY_LIST, 1, EXPRESS)
        if self.physical is None:
            for bar in (0, 2):
                self.put(PCI_BASE_ADDRESS_0 + 4 * bar, 8, PCI_BASE_ADDRESS_MEM_TYPE_64,
                         0xFFFF_FFFF_FFFF_0000)
        self.put(EXPRESS, 2, MSIX << 8 | PCI_CAP_ID_EXP)
        self.put(EXPRESS + PCI_EXP_DEVCAP, 4, PCI_EXP_DEVCAP_FLR | PCI_EXP_DEVCAP_EXT_TAG | 1)
        self.put(EXPRESS + PCI_EXP_DEVCTL, 2, 0x2810, 0x71FF)
        self.put(MSIX, 2, PCI_CAP_ID_MSIX | (VENDOR << 8 if self.device.vendor_bodies else 0))
        self.put(MSIX + PCI_MSIX_FLAGS, 2, self.vectors - 1, 0xC000)
        self.put(MSIX + PCI_MSIX_TABLE, 4, 2)
        self.put(MSIX + PCI_MSIX_PBA, 4, 0x8000 | 2)
        offset = VENDOR
        for n, body in enumerate(self.device.vendor_bodies):
            following = offset + (2 + len(body) + 3) // 4 * 4
            last = n == len(self.device.vendor_bodies) - 1
            head = bytes([PCI_CAP_ID_VNDR, 0 if last else following])
            self.config[offset:offset + 2 + len(body)] = head + body
            offset = following
        self.put(PCI_HEADER_TYPE, 1, PCI_HEADER_TYPE_MFD if self.next_function else 0)
        self.put(ARI + PCI_ARI_CAP, 2, self.next_function << 8)
        self.put(ARI, 4, 1 << 16 | PCI_EXT_CAP_ID_ARI | (SRIOV << 20 if self.total_vfs else 0))
        if self.total_vfs:
            self.put(SRIOV, 4, 1 << 16 | PCI_EXT_CAP_ID_SRIOV)
            self.put(SRIOV + PCI_SRIOV_CTRL, 2, 0, 0x19)
            self.put(SRIOV + PCI_SRIOV_INITIAL_VF, 4, self.total_vfs * 0x10001)
            self.put(SRIOV + PCI_SRIOV_NUM_VF, 2, 0, 0xFFFF)
            self.put(SRIOV + PCI_SRIOV_VF_OFFSET, 4, 1 << 16 | self.vf_offset)
            self.put(SRIOV + PCI_SRIOV_VF_DID, 2, self.ids[1])
            self.put(SRIOV + PCI_SRIOV_SUP_PGSIZE, 4, 0x553)
            self.put(SRIOV + PCI_SRIOV_SYS_PGSIZE, 4, 1, 0x553)
            for bar in (0, 2):
                self.put(SRIOV + PCI_SRIOV_BAR + 4 * bar, 8, PCI_BASE_ADDRESS_MEM_TYPE_64,
                         0xFFFF_FFFF_FFFF_0000)

    def put(self, offset, size, value, mask=0):
        """Set a field and the bits that software may change."""
        self.config[offset:offset + size] = value.to_bytes(size, "little")
        self.mask[offset:offset + size] = mask.to_bytes(size, "little")

    def get(self, offset, size):
        """A field of config space."""
        return int.from_bytes(self.config[offset:offset + size], "little")

    def config_write(self, offset, size, value):
        """Write through the mask; FLR and VF Enable act at once."""
        before = self.get(offset, size)
        mask = int.from_bytes(self.mask[offset:offset + size], "little")
        self.config[offset:offset + size] = (
            before & ~mask | value & mask).to_bytes(size, "little")
        if offset == EXPRESS + PCI_EXP_DEVCTL and value & PCI_EXP_DEVCTL_BCR_FLR:
            self.reset()
        if self.total_vfs and offset == SRIOV + PCI_SRIOV_CTRL:
            on = value & PCI_SRIOV_CTRL_VFE
            if on and not self.vfs:
                count = self.get(SRIOV + PCI_SRIOV_NUM_VF, 2)
                self.vfs = [self.vf_factory(n) for n in range(count)]
            elif not on:
                for vf in self.vfs:
                    vf.reset()
                self.vfs = []

    def reset(self):
        """Function Level Reset; that of a PF ends its VFs."""
        for vf in self.vfs:
            vf.reset()
        self.vfs = []
        self.device.reset()
        self.initial()

    @property
    def master(self):
        """May the function send requests?"""
        return bool(self.get(PCI_COMMAND, 2) & PCI_COMMAND_MASTER)

    def decode(self, address):
        """(BAR, offset) of an address of this function, or None."""
        if self.physical is None:
            on, base, n = self.get(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY, PCI_BASE_ADDRESS_0, 0
            source = self
        else:
            source, base = self.physical, SRIOV + PCI_SRIOV_BAR
            on = source.get(SRIOV + PCI_SRIOV_CTRL, 2) & PCI_SRIOV_CTRL_MSE
            n = source.vfs.index(self)
        for bar in (0, 2):
            start = (source.get(base + 4 * bar, 8) & ~0xF) + n * BAR_SIZE
            if on and start <= address < start + BAR_SIZE:
                return bar, address - start
        return None

    def bar_read(self, bar, offset, length):
        """Octets of a BAR."""
        if bar == 0:
            return self.device.read(offset, length).to_bytes(length, "little")
        space = self.table.ljust(0x8000, b"\0") + self.pending.to_bytes(0x8000, "little")
        return bytes(space[offset:offset + length])

    def bar_write(self, bar, offset, octets):
        """Write a BAR; unmasking a vector sends what is pending."""
        if bar == 0:
            self.device.write(offset, len(octets), int.from_bytes(octets, "little"))
        elif offset + len(octets) <= len(self.table):
            self.table[offset:offset + len(octets)] = octets
            for vector in range(self.vectors):
                if self.pending >> vector & 1:
                    self.interrupt(vector)

    def interrupt(self, vector):
        """Send a vector's message, or note it as pending; a vector out of range is swallowed."""
        flags = self.get(MSIX + PCI_MSIX_FLAGS, 2)
        if vector >= self.vectors or not flags & PCI_MSIX_FLAGS_ENABLE:
            return
        entry = self.table[16 * vector:16 * vector + 16]
        self.pending &= ~(1 << vector)
        if flags & PCI_MSIX_FLAGS_MASKALL or entry[PCI_MSIX_ENTRY_VECTOR_CTRL] & 1:
            self.pending |= 1 << vector
        elif self.master:
            self.bus.arrive(Message(int.from_bytes(entry[:8], "little"),
                                    int.from_bytes(entry[8:12], "little")))

    def dma_read(self, address, length):
        """Octets of the guest's memory."""
        return self._dma(self.bus.memory.read, address, length)

    def dma_write(self, address, octets):
        """Write the guest's memory."""
        self._dma(self.bus.memory.write, address, octets)

    def _dma(self, access, address, what):
        if not self.master:
            raise DmaError("the function must be bus master")
        try:
            return access(address, what)
        except IndexError as error:
            raise DmaError(str(error)) from error


class ModelBus(Bus):
    """A bus with the card on it; ``functions`` maps routing ids to :class:`ModelFunction`."""

    def __init__(self, memory=None):
        self.memory = memory or Memory(bytearray(1 << 22), base=0x1_0000_0000)
        self.physical = {}
        self.time_ns, self.count = 0, {}

    def run(self, coroutine):
        """Run a driver to its end: nothing here ever waits."""
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise RuntimeError("a driver must await the methods of its bus only")

    @property
    def functions(self):
        """All functions that answer now."""
        found = dict(self.physical)
        for rid, function in self.physical.items():
            for n, vf in enumerate(function.vfs):
                found[rid + function.vf_offset + n] = vf
        return found

    def arrive(self, message):
        """A message has reached the interrupt controller."""
        self.count[message] = self.count.get(message, 0) + 1

    async def config_read(self, rid, offset, size):
        function = self.functions.get(rid)
        return (1 << 8 * size) - 1 if function is None else function.get(offset, size)

    async def config_write(self, rid, offset, size, value):
        function = self.functions.get(rid)
        if function is not None:
            function.config_write(offset, size, value)

    def _decode(self, address):
        for function in self.functions.values():
            found = function.decode(address)
            if found is not None:
                return function, *found
        return None, None, None

    async def memory_read(self, address, length):
        function, bar, offset = self._decode(address)
        return b"\xFF" * length if function is None else function.bar_read(bar, offset, length)

    async def memory_write(self, address, octets):
        function, bar, offset = self._decode(address)
        if function is not None:
            function.bar_write(bar, offset, octets)

    def new_message(self):
        message = Message(0xFEE0_0000, len(self.count))
        self.count[message] = 0
        return message

    def messages_seen(self, message):
        return self.count[message]

    async def wait_message(self, message, seen, timeout_ns):
        if self.count[message] <= seen:
            self.time_ns += timeout_ns
        return self.count[message] > seen

    async def sleep(self, ns):
        self.time_ns += ns

    def now_ns(self):
        return self.time_ns


def build_card(bus, *, net, nvme, vfs=2, bus_number=1, vectors=4):
    """PF0 virtio-net and PF1 NVMe with ``vfs`` VFs each; ``net(n)``, ``nvme(n)`` make devices.

    ``n`` is None for the PF. VFs stand where decision 0001 puts them.
    """
    kinds = ((net, (0x1AF4, 0x1041), 0x020000, 2), (nvme, (0x0CA2, 0x0001), 0x010802, 1 + vfs))
    for function_id, (make, ids, class_code, vf_offset) in enumerate(kinds):
        function = ModelFunction(bus, ids=ids, class_code=class_code, device=make(None),
                                 vectors=vectors)
        function.vf_offset, function.total_vfs = vf_offset, vfs

        def vf_factory(n, function=function, make=make, ids=ids, class_code=class_code):
            return ModelFunction(bus, ids=ids, class_code=class_code, device=make(n),
                                 vectors=vectors, physical=function)
        function.vf_factory, function.next_function = vf_factory, 1 - function_id
        function.initial()
        bus.physical[bus_number << 8 | function_id] = function
