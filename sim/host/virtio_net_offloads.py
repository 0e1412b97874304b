"""A virtio-net driver that leaves work to the card: checksums, pairs, commands, merged buffers."""

# Ref: virtio-1.2, 5.1.6 (Device Operation), 2.6.1 (Virtqueue Reset)

from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul import spec_control as control

from .bus import poll
from .virtio_net_driver import CONFIG_VECTOR, HDR, RECEIVE_VECTOR, SUPPORTED, VirtioNetDriver

__all__ = ["OFFLOADS", "OffloadDriver"]

OFFLOADS = SUPPORTED | sum(1 << bit for bit in (
    spec.VIRTIO_NET_F_CSUM, spec.VIRTIO_NET_F_GUEST_CSUM, spec.VIRTIO_NET_F_CTRL_VQ,
    spec.VIRTIO_NET_F_CTRL_RX, spec.VIRTIO_NET_F_CTRL_VLAN, spec.VIRTIO_NET_F_MQ,
    spec.VIRTIO_NET_F_CTRL_MAC_ADDR, spec.VIRTIO_F_RING_RESET))


class OffloadDriver(VirtioNetDriver):
    """As :class:`VirtioNetDriver`, with ``pairs`` pairs of queues and a control queue.

    Frames are sent from pair 0; they are received from all pairs in use. With ``indirect`` chains
    of several pieces lie in tables of their own, as Linux's do. With ``merged`` a received frame
    lies in as many buffers of ``buffer_octets`` as it needs.
    """

    def __init__(self, function, *, pairs=2, indirect=False, merged=False, buffer_octets=None,
                 **options):
        super().__init__(function, **options)
        self.features = (OFFLOADS | indirect << spec.VIRTIO_F_INDIRECT_DESC
                         | merged << spec.VIRTIO_NET_F_MRG_RXBUF)
        self.buffer_octets = buffer_octets or HDR.size + self.frame_octets
        self.wanted, self.pairs, self.in_use = pairs, 0, 1

    async def start(self):
        """From reset to DRIVER_OK, with the receive queues filled; one pair is used at first."""
        device = self.device
        await device.find_structures()
        await device.negotiate(self.features)
        most = int.from_bytes(await device.config(8, 2), "little")
        self.pairs = min(self.wanted, most)
        if self.interrupts:
            self.messages = await self.function.msix_enable(2 * self.pairs + 1)
            await device.put("config_msix_vector", CONFIG_VECTOR)
        self.mac = await device.config(0, 6)
        self.mtu = int.from_bytes(await device.config(10, 2), "little")
        self.rings = []
        for queue in range(2 * self.pairs):
            vector = RECEIVE_VECTOR + queue if self.interrupts else None
            self.rings.append(await device.setup_queue(queue, self.queue_size, vector=vector))
            self.rings[-1].no_interrupt(queue % 2 or not self.messages)
        self.rx, self.tx = self.rings[:2]
        self.control_at = 2 * most
        self.control = await device.setup_queue(self.control_at, self.queue_size)
        self.control.no_interrupt(True)
        for ring in self.rings[::2]:
            self.post(ring)
        await device.driver_ok()

    async def command(self, kind, command, octets=b"", *, timeout_ns=1_000_000):
        """The card's answer to a command of the control queue."""
        parts = (bytes([kind, command]), octets, b"\xAA")
        region = self._lend(sum(map(len, parts)), purpose="control")
        region.write(0, b"".join(parts))
        at, buffers = region.address, []
        for part in parts:
            if part:
                buffers.append((at, len(part), part is parts[-1]))
            at += len(part)
        self.control.add(buffers, region)
        self.control.publish()
        await self.device.notify(self.control_at)
        await self._until(lambda: self.control.waiting, "the answer to a command", timeout_ns)
        (region, _), = self.control.take()
        answer = region.read(region.size - 1, 1)[0]
        region.free()
        return answer

    async def use_pairs(self, count):
        """Let the card use so many pairs; its answer."""
        answer = await self.command(control.VIRTIO_NET_CTRL_MQ,
                                    control.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
                                    count.to_bytes(2, "little"))
        if answer == control.VIRTIO_NET_OK:
            self.in_use = count
        return answer

    async def send_partial(self, frame, *, start, offset):
        """Send a frame whose checksum the card shall complete."""
        self.clean()
        self.queue(frame, flags=spec.VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start=start,
                   csum_offset=offset)
        self.tx.publish()
        await self.device.notify(1)

    def taken(self, ring):
        """Headers and frames that have arrived in one queue, each put together again."""
        if not self.device.features >> spec.VIRTIO_NET_F_MRG_RXBUF & 1:
            return super().taken(ring)
        elements, found = ring.take(), []
        while elements:
            header = HDR.unpack(elements[0][0].read(0, HDR.size))
            count = header["num_buffers"]
            # [virtio-1.2: 5.1.6.4]
            if not 1 <= count <= len(elements):
                raise ValueError(f"{count} buffers of one frame must be used at once, "
                                 f"not {len(elements)}")
            if any(length != region.size for region, length in elements[:count - 1]):
                raise ValueError("all buffers of a frame but the last must be full")
            octets = b"".join(region.read(0, length) for region, length in elements[:count])
            found.append((header, octets[HDR.size:]))
            for region, _ in elements[:count]:
                region.free()
            del elements[:count]
        self.received += len(found)
        return found

    async def arrived(self):
        """``(pair, header, frame)`` of all that has arrived in any pair."""
        found = []
        for pair, ring in enumerate(self.rings[::2]):
            found += [(pair, header, frame) for header, frame in self.taken(ring)]
            if self.post(ring):
                await self.device.notify(2 * pair)
        return found

    async def arrived_frames(self, count, *, timeout_ns=1_000_000):
        """``count`` of :meth:`arrived`, waited for."""
        found = []
        while len(found) < count:
            await self._until(lambda: any(ring.waiting for ring in self.rings[::2]),
                              f"{count} frames", timeout_ns)
            found += await self.arrived()
        return found

    async def reset_queue(self, queue, *, timeout_ns=1_000_000):
        """Reset one queue, give its memory back, and set it up again."""
        device = self.device
        await device.put("queue_select", queue)
        await device.put("queue_reset", 1)

        async def done():
            return await device.get("queue_reset") == 0
        await poll(self.bus, done, f"the reset of queue {queue}", timeout_ns=timeout_ns)
        old = device.queues.pop(queue)
        for _, region in old.chains.values():
            region.free()
        old.release()
        vector = RECEIVE_VECTOR + queue if self.interrupts else None
        self.rings[queue] = ring = await device.setup_queue(queue, self.queue_size, vector=vector)
        self.rx, self.tx = self.rings[:2]
        if queue % 2:
            ring.no_interrupt(True)
        else:
            self.post(ring)
            await device.notify(queue)
