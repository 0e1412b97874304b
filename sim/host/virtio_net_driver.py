"""A virtio-net driver as Linux's: one queue pair, buffers posted ahead, LIFO descriptors."""

# Ref: virtio-1.2, 5.1 (Network Device)

import random

from offloadcard.virtio_net_emul import spec

from .bus import Timeout
from .structure import Structure
from .virtio_pci import VirtioPci
from .virtqueue import QueueFull

__all__ = ["VirtioNetDriver", "SUPPORTED"]

HDR = Structure(spec.VirtioNetHdr)
RECEIVEQ, TRANSMITQ = 0, 1
CONFIG_VECTOR, RECEIVE_VECTOR, TRANSMIT_VECTOR = range(3)
SUPPORTED = sum(1 << bit for bit in (
    spec.VIRTIO_F_VERSION_1, spec.VIRTIO_F_ACCESS_PLATFORM, spec.VIRTIO_F_ORDER_PLATFORM,
    spec.VIRTIO_F_SR_IOV, spec.VIRTIO_NET_F_MAC, spec.VIRTIO_NET_F_STATUS,
    spec.VIRTIO_NET_F_MTU))


class VirtioNetDriver:
    """Sends and receives Ethernet frames (without FCS) over one function.

    Parameters
    ----------
    function : sim.host.pci.PciFunction
        Identified, memory on, bus master.
    queue_size : int
        Entries of both queues, if the device has so many.
    receive_buffers : int
        Kept posted.
    frame_octets : int
        Largest frame.
    split : "linux", "one" or "random"
        Header and data of a transmitted frame: two descriptors as Linux without headroom, one
        piece, or cut anywhere from ``seed``.
    interrupts : bool
        Enable MSI-X; else the driver polls.
    """

    def __init__(self, function, *, queue_size=256, receive_buffers=None, frame_octets=1514,
                 split="linux", seed=0, interrupts=True):
        self.function, self.bus, self.memory = function, function.bus, function.memory
        self.device = VirtioPci(function)
        self.queue_size, self.frame_octets = queue_size, frame_octets
        self.receive_buffers, self.split = receive_buffers, split
        self.interrupts = interrupts
        self.random = random.Random(seed)
        self.messages = []
        self.sent = self.received = 0
        self.buffer_octets = HDR.size + frame_octets  # of a receive buffer
        self.mac = self.mtu = None

    async def start(self):
        """From reset to DRIVER_OK, with the receive queue filled."""
        device = self.device
        await device.find_structures()
        await device.negotiate(SUPPORTED)
        if self.interrupts:
            self.messages = await self.function.msix_enable(3)
            await device.put("config_msix_vector", CONFIG_VECTOR)
        self.mac = await device.config(0, 6)
        if device.features >> spec.VIRTIO_NET_F_MTU & 1:
            self.mtu = int.from_bytes(await device.config(10, 2), "little")
        vectors = (RECEIVE_VECTOR, TRANSMIT_VECTOR) if self.interrupts else (None, None)
        self.rx, self.tx = [await device.setup_queue(queue, self.queue_size, vector=vector)
                            for queue, vector in zip((RECEIVEQ, TRANSMITQ), vectors)]
        await self._go()

    async def restart(self):
        """After a reset of whatever kind: the same again by posted writes, without interrupts.

        A guest that knows the device may do so, and it is quick: what was negotiated is written
        again unasked, so the device gets no pause to settle.
        """
        self.messages = []
        await self.device.renegotiate()
        self.rx, self.tx = [await self.device.setup_queue(queue, self.queue_size, ask=False)
                            for queue in (RECEIVEQ, TRANSMITQ)]
        await self._go()

    async def _go(self):
        self.tx.no_interrupt(True)  # as Linux: transmitted buffers are freed on the way
        self.rx.no_interrupt(not self.messages)
        self.fill()
        await self.device.driver_ok()
        await self.device.notify(RECEIVEQ)

    async def stop(self):
        """Reset; when the device says so, give all memory back."""
        await self.device.reset()
        self.forget()

    def forget(self):
        """Give back rings and buffers: the device has been reset, by whatever means."""
        for queue in self.device.queues.values():
            for _, region in queue.chains.values():
                region.free()
        self.device.forget()

    def _lend(self, size, purpose="payload"):
        # Real buffers start at 2 modulo 4, so that the IP header is aligned.
        return self.memory.alloc(size, align=64, offset=2, owner=self.function.rid,
                                 purpose=purpose)

    def fill(self):
        """Post receive buffers up to the target; how many were posted."""
        return self.post(self.rx)

    def post(self, ring):
        """Post buffers of one receive queue up to the target; how many were posted."""
        target = min(self.receive_buffers or ring.size, ring.size)
        posted = 0
        while len(ring.chains) < target:
            region = self._lend(self.buffer_octets)
            ring.add([(region.address, region.size, True)], region)
            posted += 1
        ring.publish()
        return posted

    def pieces(self, region):
        """Buffers of a frame to send, cut as ``split`` says."""
        if self.split == "one":
            cuts = []
        elif self.split == "linux":
            cuts = [HDR.size]
        else:
            count = self.random.randint(0, max(0, min(5, self.tx.free - 1, region.size - 1)))
            cuts = sorted(self.random.sample(range(1, region.size), count))
        edges = [0, *cuts, region.size]
        return [(region.address + a, b - a, False) for a, b in zip(edges, edges[1:])]

    def queue(self, frame, **header):
        """Put one frame in the transmit queue, not yet visible; QueueFull if there is no room."""
        region = self._lend(HDR.size + len(frame))
        region.write(0, HDR.pack(**header) + frame)
        pieces = self.pieces(region)
        try:
            if len(pieces) > 1 and self.device.features >> spec.VIRTIO_F_INDIRECT_DESC & 1:
                self.tx.add_indirect(pieces, region)
            else:
                self.tx.add(pieces, region)
        except QueueFull:
            region.free()
            raise

    def clean(self):
        """Free what has been sent; how many frames."""
        taken = self.tx.take()
        for region, _ in taken:
            region.free()
        self.sent += len(taken)
        return len(taken)

    async def send(self, frames, *, timeout_ns=1_000_000):
        """Send frames, waiting for room as it must; returns when all are in the queue."""
        frames = list(frames)
        while frames:
            self.clean()
            count = 0
            for frame in frames:
                try:
                    self.queue(frame)
                except QueueFull:
                    break
                count += 1
            del frames[:count]
            if count:
                self.tx.publish()
                await self.device.notify(TRANSMITQ)
            if frames:
                await self._until(lambda: self.tx.waiting, "room to send", timeout_ns)

    async def flush(self, *, timeout_ns=1_000_000):
        """Wait until all that was queued has been sent."""
        def done():
            self.clean()
            return not self.tx.chains
        await self._until(done, "the last frame sent", timeout_ns)

    async def _until(self, condition, what, timeout_ns, every_ns=500):
        end = self.bus.now_ns() + timeout_ns
        while not condition():
            if self.bus.now_ns() >= end:
                raise Timeout(f"{what} must be seen within {timeout_ns} ns at {self.function}")
            await self.bus.sleep(every_ns)

    async def receive(self):
        """All frames that have arrived; their buffers are posted again."""
        frames = [frame for _, frame in self.taken(self.rx)]
        if self.fill():
            await self.device.notify(RECEIVEQ)
        return frames

    def taken(self, ring):
        """Headers and frames that have arrived in one receive queue; their buffers are free."""
        found = []
        for region, length in ring.take():
            if length < HDR.size:
                raise ValueError(f"a used receive buffer must hold a header, not {length} octets")
            octets = region.read(0, length)
            found.append((HDR.unpack(octets[:HDR.size]), octets[HDR.size:]))
            region.free()
        self.received += len(found)
        return found

    async def receive_frames(self, count, *, timeout_ns=1_000_000):
        """Exactly ``count`` frames or more, waiting by interrupt as a real driver does."""
        frames = []
        while len(frames) < count:
            message = self.messages[RECEIVE_VECTOR] if self.messages else None
            seen = self.bus.messages_seen(message) if message else 0
            # Take after reading the counter: a message that comes in between is not lost.
            frames += await self.receive()
            if len(frames) >= count:
                break
            if message is None:
                await self._until(lambda: self.rx.waiting, f"{count} frames", timeout_ns)
            elif not await self.bus.wait_message(message, seen, timeout_ns):
                raise Timeout(f"{count} frames must arrive within {timeout_ns} ns at "
                              f"{self.function}, not {len(frames)}")
        return frames

    async def needs_reset(self):
        """Has the device given up on this driver?"""
        return bool(await self.device.get("device_status")
                    & spec.VIRTIO_CONFIG_S_NEEDS_RESET)
