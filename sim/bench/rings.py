"""Rings as a busy host keeps them, by arrays: refilled in Linux's order or shuffled.

Descriptors are written once, since a buffer keeps its descriptor; what the host does for each
packet is to take it from the used ring and to offer it again, as a driver that recycles its pages.
"""

import numpy

__all__ = ["Ring", "Drive", "ORDERS"]

ORDERS = ("lifo", "shuffled")


def _array(region, offset, count, kind):
    start = region.address - region.memory.base + offset
    return numpy.frombuffer(region.memory.view, kind, count, start)


class Ring:
    """A split virtqueue whose buffers stand in descriptors of their own.

    Parameters
    ----------
    queue : sim.host.virtqueue.Virtqueue
        With a chain of one descriptor for every buffer, none taken yet.
    order : "lifo" or "shuffled"
        Linux's free list gives what came last first; or any of the free ones, from ``seed``.
    posted : bool
        The buffers are in the available ring already.
    """

    def __init__(self, queue, *, order="lifo", seed=1, posted=False):
        if order not in ORDERS:
            raise ValueError(f"`order` must be one of {', '.join(ORDERS)}, not {order!r}")
        self.queue, self.size, self.order = queue, queue.size, order
        self.random = numpy.random.default_rng(seed)
        self._avail = _array(queue.avail, 4, queue.size, "<u2")
        self._flags = _array(queue.avail, 0, 2, "<u2")
        self._used_idx = _array(queue.used, 2, 1, "<u2")
        self._used = _array(queue.used, 4, 2 * queue.size, "<u4").reshape(-1, 2)
        heads = numpy.fromiter(queue.chains, numpy.uint16)
        self.free = heads[:0] if posted else heads[::-1].copy()
        self.avail_idx, self.used_idx = queue.avail_idx if posted else 0, 0
        self.taken = self.offered = 0
        if order == "shuffled":
            self.random.shuffle(self.free)

    def offer(self, most=None):
        """Make free buffers visible to the card, at most so many; how many."""
        count = len(self.free) if most is None else min(most, len(self.free))
        if not count:
            return 0
        if self.order == "shuffled":
            self.random.shuffle(self.free)
        heads, self.free = self.free[::-1][:count], self.free[:len(self.free) - count]
        self._avail[(self.avail_idx + numpy.arange(count)) % self.size] = heads
        self.avail_idx = self.avail_idx + count & 0xFFFF
        self._flags[1] = self.avail_idx
        self.offered += count
        return count

    @property
    def waiting(self):
        """Buffers that the card has used and the host has not taken."""
        return int(self._used_idx[0]) - self.used_idx & 0xFFFF

    def take(self):
        """Take what the card has used; the heads, in the order of the used ring."""
        count = self.waiting
        slots = (self.used_idx + numpy.arange(count)) % self.size
        heads = self._used[slots, 0].astype(numpy.uint16)
        self.used_idx = self.used_idx + count & 0xFFFF
        self.free = numpy.concatenate([self.free, heads])
        self.taken += count
        if len(self.free) > self.size:
            raise ValueError(f"the card must use a buffer once, not {len(self.free)} of "
                             f"{self.size}")
        return heads

    def interrupts(self, on):
        """Ask for used-buffer notifications, or for none."""
        self._flags[0] = 0 if on else 1


class Drive:
    """An NVMe queue pair whose commands stay in flight: each that ends is submitted again.

    Parameters
    ----------
    pair : sim.host.nvme_queue.QueuePair
        Empty.
    depth : int
        Commands in flight.
    make : callable
        ``make(cid)`` gives the 64 octets of a command.
    failures : bool
        Commands may fail.
    """

    def __init__(self, pair, depth, make, *, failures=False):
        if not 0 < depth < pair.entries:
            raise ValueError(f"`depth` must be 1 to {pair.entries - 1}, not {depth!r}")
        self.pair, self.depth, self.failures = pair, depth, failures
        self._sq = _array(pair.sq, 0, 16 * pair.entries, "<u4").reshape(-1, 16)
        self._cq = _array(pair.cq, 0, 8 * pair.entries, "<u2").reshape(-1, 8)
        self._commands = numpy.stack([numpy.frombuffer(make(cid), "<u4") for cid in range(depth)])
        self.tail, self.head, self.phase = pair.tail, pair.head, pair.phase
        self.free = numpy.arange(depth)
        self.taken = self.offered = 0
        self.given, self.cids = [], []  # of every command, of every completion, as they went

    def offer(self, most=None):
        """Write commands at the tail, at most so many; how many."""
        count = len(self.free) if most is None else min(most, len(self.free))
        if count:
            slots = (self.tail + numpy.arange(count)) % self.pair.entries
            self._sq[slots] = self._commands[self.free[:count]]
            self.given.extend(self.free[:count].tolist())
            self.free = self.free[count:]
            self.tail = (self.tail + count) % self.pair.entries
            self.offered += count
        return count

    @property
    def waiting(self):
        """Whether a completion is there."""
        return int(self._cq[self.head % self.pair.entries, 7] & 1 == self.phase)

    def take(self):
        """Take the entries of the new phase; their command identifiers."""
        size, count = self.pair.entries, 0
        while count < size:
            at = self.head + count
            phase = self.phase ^ (at >= size)
            if self._cq[at % size, 7] & 1 != phase:
                break
            count += 1
        slots = (self.head + numpy.arange(count)) % size
        status = self._cq[slots, 7] >> 1
        if status.any() and not self.failures:
            raise ValueError(f"a command must succeed, not end with {int(status.max()):#x}")
        cids = self._cq[slots, 6].astype(int)
        self.phase ^= self.head + count >= size
        self.head = (self.head + count) % size
        self.free = numpy.concatenate([self.free, cids])
        self.cids.extend(cids.tolist())
        self.taken += count
        return cids
