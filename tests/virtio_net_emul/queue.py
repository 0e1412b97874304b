"""A driver's half of a split virtqueue, in the memory of the tests' host."""

from offloadcard.rtl.octets import pack, unpack
from offloadcard.virtio_net_emul import spec

__all__ = ["Queue"]


class Queue:
    """A split virtqueue of a guest, and a driver's half of it.

    Ids are lent from a stack, as Linux does: freed ids are used again in the opposite order. With
    ``event_idx`` it notifies by ``avail_event``, and says by :meth:`want` when to be interrupted.
    """

    def __init__(self, host, function_id, number, *, size, event_idx=False):
        self.host        = host
        self.event_idx   = event_idx
        self.shown       = 0
        self.kicks       = 0
        self.function_id = function_id
        self.number      = number
        self.size        = size
        self.desc   = host.allocate(16 * size, 16)
        self.avail  = host.allocate(6 + 2 * size, 2)
        self.used   = host.allocate(6 + 8 * size, 4)
        self.ids    = list(range(size))[::-1]
        self.next   = 0
        self.seen   = 0
        self.chains = {}

    async def set_up(self, ctx):
        host, fid = self.host, self.function_id
        await host.set_register(ctx, fid, "queue_select", self.number)
        await host.set_register(ctx, fid, "queue_size", self.size)
        await host.set_register(ctx, fid, "queue_msix_vector", self.number + 1)
        await host.set_register(ctx, fid, "queue_desc", self.desc)
        await host.set_register(ctx, fid, "queue_driver", self.avail)
        await host.set_register(ctx, fid, "queue_device", self.used)
        await host.set_register(ctx, fid, "queue_enable", 1)

    def describe(self, id_, addr, length, flags=0, next_=0):
        """Write one descriptor."""
        self.host.memory[self.desc + 16 * id_:self.desc + 16 * id_ + 16] = pack(
            spec.VirtqDesc, {"addr": addr, "len": length, "flags": flags, "next": next_})

    def offer(self, id_):
        """Put an id into the available ring; :meth:`publish` shows it."""
        at = self.avail + 4 + 2 * (self.next % self.size)
        self.host.memory[at:at + 2] = id_.to_bytes(2, "little")
        self.next = self.next + 1 & 0xFFFF

    def publish(self):
        """Show the device what was offered."""
        self.host.memory[self.avail + 2:self.avail + 4] = self.next.to_bytes(2, "little")

    def table(self, pieces, *, write=False):
        """An indirect table of (address, length) pieces in any order; its address and octets."""
        order = list(range(1, len(pieces)))
        self.host.random.shuffle(order)
        places = [0, *order]
        address = self.host.allocate(16 * len(pieces), 16)
        for number, (addr, length) in enumerate(pieces):
            last  = number == len(pieces) - 1
            flags = ((0 if last else spec.VIRTQ_DESC_F_NEXT)
                     | (spec.VIRTQ_DESC_F_WRITE if write else 0))
            at = address + 16 * places[number]
            self.host.memory[at:at + 16] = pack(spec.VirtqDesc, {
                "addr": addr, "len": length, "flags": flags,
                "next": 0 if last else places[number + 1]})
        return address, 16 * len(pieces)

    def chain_indirect(self, pieces, *, direct=0, write=False):
        """A chain whose pieces lie in an indirect table, but for the first ``direct``."""
        ids = [self.ids.pop() for _ in range(direct + 1)]
        write_flag = spec.VIRTQ_DESC_F_WRITE if write else 0
        for number in range(direct):
            self.describe(ids[number], *pieces[number], spec.VIRTQ_DESC_F_NEXT | write_flag,
                          ids[number + 1])
        self.describe(ids[-1], *self.table(pieces[direct:], write=write),
                      spec.VIRTQ_DESC_F_INDIRECT)
        self.chains[ids[0]] = (ids, pieces)
        self.offer(ids[0])
        return ids[0]

    def chain(self, pieces, *, write=False):
        """A chain of (address, length) pieces; its head's id."""
        ids = [self.ids.pop() for _ in pieces]
        for number, (id_, (addr, length)) in enumerate(zip(ids, pieces)):
            last = number == len(pieces) - 1
            flags = ((0 if last else spec.VIRTQ_DESC_F_NEXT)
                     | (spec.VIRTQ_DESC_F_WRITE if write else 0))
            self.describe(id_, addr, length, flags, 0 if last else ids[number + 1])
        self.chains[ids[0]] = (ids, pieces)
        self.offer(ids[0])
        return ids[0]

    def send(self, octets, *, split=None, align=2, direct=None):
        """Offer a frame behind its header, cut at ``split``: lengths of pieces of both together.

        With ``direct`` all pieces but so many lie in an indirect table.
        """
        whole = bytes(spec.NET_HDR_OCTETS) + octets
        pieces, at = [], 0
        for length in (split or [len(whole)]):
            start = self.host.allocate(max(length, 1), 16) + align
            self.host._free += align
            self.host.memory[start:start + length] = whole[at:at + length]
            pieces.append((start, length))
            at += length
        assert at == len(whole)
        return self.chain(pieces) if direct is None else self.chain_indirect(pieces, direct=direct)

    def post(self, lengths, *, align=2, direct=None):
        """Offer a receive buffer of pieces of these lengths; ``direct`` as of :meth:`send`."""
        pieces = []
        for length in lengths:
            pieces.append((self.host.allocate(length + align, 16) + align, length))
        if direct is not None:
            return self.chain_indirect(pieces, direct=direct, write=True)
        return self.chain(pieces, write=True)

    def want(self, index):
        """[virtio-1.2: 2.7.7] interrupt when the used index goes past ``index``."""
        at = self.avail + 4 + 2 * self.size
        self.host.memory[at:at + 2] = (index & 0xFFFF).to_bytes(2, "little")

    async def kick(self, ctx):
        """[virtio-1.2: 2.7.10] notify, if the device wants to know of what was published."""
        at = self.used + 4 + 8 * self.size
        event = int.from_bytes(self.host.memory[at:at + 2], "little")
        before, self.shown = self.shown, self.next
        if not self.event_idx or (self.next - event - 1 & 0xFFFF) < (self.next - before & 0xFFFF):
            self.kicks += 1
            await self.notify(ctx)

    async def notify(self, ctx):
        await self.host.write(ctx, self.function_id,
                              spec.NOTIFY_CFG_OFFSET + 4 * self.number, self.number, 2)

    def used_idx(self):
        """The device's index."""
        return int.from_bytes(self.host.memory[self.used + 2:self.used + 4], "little")

    def take(self):
        """Elements used since the last call: (id, length, octets of the chain's pieces)."""
        elements = []
        while self.seen != self.used_idx():
            at = self.used + 4 + 8 * (self.seen % self.size)
            element = unpack(spec.VirtqUsedElem, bytes(self.host.memory[at:at + 8]))
            ids, pieces = self.chains.pop(element.id)
            self.ids.extend(ids[::-1])
            octets = b"".join(self.host.memory[a:a + n] for a, n in pieces)
            elements.append((element.id, element.len, bytes(octets)))
            self.seen = self.seen + 1 & 0xFFFF
        return elements
