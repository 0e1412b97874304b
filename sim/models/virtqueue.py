"""The device's side of a split virtqueue, untimed: what a right device makes of the rings."""

# Ref: virtio-1.2, 2.7 (Split Virtqueues)

from offloadcard.virtio_net_emul import spec
from sim.host.structure import Structure

__all__ = ["BadChain", "DeviceQueue"]

DESC, USED_ELEM = Structure(spec.VirtqDesc), Structure(spec.VirtqUsedElem)


class BadChain(Exception):
    """The driver broke a rule of the rings: the device needs a reset."""


class DeviceQueue:
    """Takes chains and gives them back.

    Parameters
    ----------
    dma : object
        Has ``dma_read(address, length)`` and ``dma_write(address, octets)``.
    """

    def __init__(self, dma, size, desc, avail, used):
        self.dma, self.size = dma, size
        self.desc, self.avail, self.used = desc, avail, used
        self.avail_idx = self.used_idx = 0

    def _read_int(self, address, size):
        return int.from_bytes(self.dma.dma_read(address, size), "little")

    def take(self):
        """The next chain, ``(head, readable, writable)`` as lists of (address, length), or None."""
        ready = (self._read_int(self.avail + 2, 2) - self.avail_idx) & 0xFFFF
        if ready > self.size:
            raise BadChain(f"the available index must be at most {self.size} ahead, not {ready}")
        if not ready:
            return None
        head = self._read_int(self.avail + 4 + 2 * (self.avail_idx % self.size), 2)
        readable, writable, number = [], [], head
        for _ in range(self.size):
            if number >= self.size:
                raise BadChain(f"a descriptor must be below {self.size}, not {number}")
            desc = DESC.unpack(self.dma.dma_read(self.desc + DESC.size * number, DESC.size))
            if desc["flags"] & ~(spec.VIRTQ_DESC_F_NEXT | spec.VIRTQ_DESC_F_WRITE):
                raise BadChain(f"`flags` must be NEXT or WRITE, not {desc['flags']:#x}")
            buffers = writable if desc["flags"] & spec.VIRTQ_DESC_F_WRITE else readable
            if buffers is readable and writable:
                raise BadChain("readable descriptors must come before writable ones")
            buffers.append((desc["addr"], desc["len"]))
            if not desc["flags"] & spec.VIRTQ_DESC_F_NEXT:
                break
            number = desc["next"]
        else:
            raise BadChain("a chain must end")
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        return head, readable, writable

    def gather(self, buffers):
        """Octets of readable buffers."""
        return b"".join(self.dma.dma_read(address, length) for address, length in buffers)

    def scatter(self, buffers, octets):
        """Fill writable buffers in turn; False if they are too small."""
        if sum(length for _, length in buffers) < len(octets):
            return False
        for address, length in buffers:
            if octets:
                self.dma.dma_write(address, octets[:length])
            octets = octets[length:]
        return True

    def give(self, head, length):
        """Put a chain in the used ring; True if the driver wants to be interrupted."""
        self.dma.dma_write(self.used + 4 + USED_ELEM.size * (self.used_idx % self.size),
                           USED_ELEM.pack(id=head, len=length))
        self.used_idx = (self.used_idx + 1) & 0xFFFF
        self.dma.dma_write(self.used + 2, self.used_idx.to_bytes(2, "little"))
        return not self._read_int(self.avail, 2) & spec.VIRTQ_AVAIL_F_NO_INTERRUPT
