"""Virtio over PCI, driver side: find the structures, negotiate, enable queues, reset."""

# Ref: virtio-1.2, 3.1 (Device Initialization)
# Ref: virtio-1.2, 4.1 (Virtio Over PCI Bus)

from offloadcard.pcie.spec_config import VirtioPciCap
from offloadcard.virtio_net_emul import spec

from .bus import poll
from .pci_regs import PCI_CAP_ID_VNDR
from .structure import Structure
from .virtqueue import Virtqueue

__all__ = ["FeaturesRefused", "VirtioPci"]

CAP = Structure(VirtioPciCap)
RESET_TIMEOUT_NS = 10_000_000


class FeaturesRefused(RuntimeError):
    """The device offers too little, or cleared FEATURES_OK."""


class VirtioPci:
    """A virtio device behind a PCI function.

    Attributes
    ----------
    structures : dict
        ``cfg_type`` -> (address, length), of the first capability of each type.
    features : int
        What was negotiated.
    queues : dict
        Index -> Virtqueue.
    """

    def __init__(self, function):
        self.function, self.bus = function, function.bus
        self.structures, self.queues, self.notify_at, self.sizes = {}, {}, {}, {}
        self.multiplier = self.features = self.offered = self.status = 0

    async def find_structures(self):
        """Read the vendor capabilities; the first of each type is the one to use."""
        for kind, offset in self.function.capabilities:
            if kind != PCI_CAP_ID_VNDR:
                continue
            octets = b"".join([(await self.function.read(offset + n, 4)).to_bytes(4, "little")
                               for n in range(0, CAP.size, 4)])
            found = CAP.unpack(octets)
            if found["cfg_type"] in self.structures:
                continue
            base = self.function.bars.get(found["bar"], (None,))[0]
            if base is None:
                continue
            self.structures[found["cfg_type"]] = (base + found["offset"], found["length"])
            if found["cfg_type"] == spec.VIRTIO_PCI_CAP_NOTIFY_CFG:
                self.multiplier = await self.function.read(offset + CAP.size, 4)
        wanted = {spec.VIRTIO_PCI_CAP_COMMON_CFG, spec.VIRTIO_PCI_CAP_NOTIFY_CFG,
                  spec.VIRTIO_PCI_CAP_ISR_CFG, spec.VIRTIO_PCI_CAP_DEVICE_CFG}
        if wanted - self.structures.keys():
            raise ValueError(f"structures {wanted - self.structures.keys()} must be there")

    def _register(self, name):
        register = spec.COMMON_CFG[name]
        base, _ = self.structures[spec.VIRTIO_PCI_CAP_COMMON_CFG]
        return base + register.offset, register.octets

    async def get(self, name):
        """A register of the common configuration; 64-bit ones as two halves."""
        address, size = self._register(name)
        if size == 8:
            return await self.bus.read(address, 4) | await self.bus.read(address + 4, 4) << 32
        return await self.bus.read(address, size)

    async def put(self, name, value):
        """Write a register of the common configuration; 64-bit ones as two halves."""
        address, size = self._register(name)
        if size == 8:
            await self.bus.write(address, 4, value & 0xFFFF_FFFF)
            await self.bus.write(address + 4, 4, value >> 32)
        else:
            await self.bus.write(address, size, value)

    async def add_status(self, bits):
        """Set bits of the device status."""
        self.status = await self.get("device_status") | bits
        await self.put("device_status", self.status)

    async def reset(self, *, timeout_ns=RESET_TIMEOUT_NS):
        """Write 0 and wait until it reads 0: the device has let go of all memory."""
        await self.put("device_status", 0)

        async def done():
            return await self.get("device_status") == 0
        await poll(self.bus, done, f"status 0 of {self.function}", timeout_ns=timeout_ns)

    async def isr(self):
        """Read, and so clear, the ISR status."""
        return await self.bus.read(self.structures[spec.VIRTIO_PCI_CAP_ISR_CFG][0], 1)

    async def config(self, offset, size):
        """A field of the device configuration, read until the generation stands still."""
        base, _ = self.structures[spec.VIRTIO_PCI_CAP_DEVICE_CFG]
        while True:
            before = await self.get("config_generation")
            octets = b"".join([await self.bus.memory_read(base + n, 1)
                               for n in range(offset, offset + size)])
            if await self.get("config_generation") == before:
                return octets

    async def negotiate(self, supported):
        """Steps 1 to 6 of the initialization: ends with FEATURES_OK set and read back."""
        await self.reset()
        await self.add_status(spec.VIRTIO_CONFIG_S_ACKNOWLEDGE)
        await self.add_status(spec.VIRTIO_CONFIG_S_DRIVER)
        self.offered = 0
        for half in range(2):
            await self.put("device_feature_select", half)
            self.offered |= await self.get("device_feature") << 32 * half
        self.features = self.offered & supported
        if not self.features >> spec.VIRTIO_F_VERSION_1 & 1:
            raise FeaturesRefused(f"VERSION_1 must be offered, not {self.offered:#x} only")
        for half in range(2):
            await self.put("driver_feature_select", half)
            await self.put("driver_feature", self.features >> 32 * half & 0xFFFF_FFFF)
        await self.add_status(spec.VIRTIO_CONFIG_S_FEATURES_OK)
        if not await self.get("device_status") & spec.VIRTIO_CONFIG_S_FEATURES_OK:
            raise FeaturesRefused(f"features {self.features:#x} must be accepted")

    async def renegotiate(self):
        """The initialization once more, by writes alone; the status reads 0 before."""
        status = 0
        for bit in (spec.VIRTIO_CONFIG_S_ACKNOWLEDGE, spec.VIRTIO_CONFIG_S_DRIVER):
            status |= bit
            await self.put("device_status", status)
        for half in range(2):
            await self.put("driver_feature_select", half)
            await self.put("driver_feature", self.features >> 32 * half & 0xFFFF_FFFF)
        self.status = status | spec.VIRTIO_CONFIG_S_FEATURES_OK
        await self.put("device_status", self.status)

    async def setup_queue(self, index, size, *, vector=None, ask=True):
        """Lend the rings of a queue of at most ``size`` entries, and enable it.

        Without ``ask`` nothing is read: size and place of the queue are as they were.
        """
        await self.put("queue_select", index)
        if ask:
            self.sizes[index] = await self.get("queue_size")
        if not self.sizes[index]:
            raise ValueError(f"queue {index} must be there")
        size = min(size, self.sizes[index])
        queue = Virtqueue(self.function.memory, size, owner=self.function.rid)
        await self.put("queue_size", size)
        if vector is not None:
            await self.put("queue_msix_vector", vector)
            if await self.get("queue_msix_vector") != vector:
                raise ValueError(f"vector {vector} of queue {index} must be accepted")
        await self.put("queue_desc", queue.desc.address)
        await self.put("queue_driver", queue.avail.address)
        await self.put("queue_device", queue.used.address)
        if ask:
            offset = await self.get("queue_notify_off")
            base, _ = self.structures[spec.VIRTIO_PCI_CAP_NOTIFY_CFG]
            self.notify_at[index] = base + offset * self.multiplier
        await self.put("queue_enable", 1)
        self.queues[index] = queue
        return queue

    async def driver_ok(self):
        """The device may begin."""
        self.status |= spec.VIRTIO_CONFIG_S_DRIVER_OK
        await self.put("device_status", self.status)

    async def notify(self, index):
        """Tell the device that a queue has new chains."""
        await self.bus.write(self.notify_at[index], 2, index)

    def forget(self):
        """Give back the rings of all queues: after a reset only."""
        for queue in self.queues.values():
            queue.release()
        self.queues = {}
