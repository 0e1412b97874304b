"""The driver's side of a split virtqueue: descriptors lent from a LIFO free list, as in Linux."""

# Ref: virtio-1.2, 2.7 (Split Virtqueues)

from offloadcard.virtio_net_emul import spec

from .structure import Structure

__all__ = ["IndirectTable", "QueueFull", "Virtqueue"]

DESC, USED_ELEM = Structure(spec.VirtqDesc), Structure(spec.VirtqUsedElem)


class QueueFull(RuntimeError):
    """There are fewer free descriptors than the chain needs."""


class IndirectTable:
    """A chain's table of descriptors and what it stands for; both are given back together."""

    def __init__(self, table, token):
        self.table, self.token = table, token

    def free(self):
        """Give the table's memory and the token's back."""
        self.table.free()
        self.token.free()


class Virtqueue:
    """Descriptor table, available ring and used ring in the guest's memory.

    Parameters
    ----------
    memory : sim.host.memory.Memory
        Where the three areas are lent.
    size : int
        Entries; a power of two.
    owner : int
        Requester id of the function, for the monitor.

    Attributes
    ----------
    free : int
        Descriptors that may still be used.
    """

    def __init__(self, memory, size, *, owner=None):
        self.memory, self.size, self.owner = memory, size, owner
        # [virtio-1.2: 2.7]: alignments 16, 2 and 4; none of them is a page or a cache line here.
        self.desc  = memory.alloc(16 * size, align=16, owner=owner, purpose="desc")
        self.avail = memory.alloc(6 + 2 * size, align=64, offset=2, owner=owner, purpose="avail")
        self.used  = memory.alloc(6 + 8 * size, align=64, offset=4, owner=owner, purpose="used")
        self.next  = [n + 1 for n in range(size)]
        self.free_head, self.free = 0, size
        self.chains = {}  # head -> (length in descriptors, token)
        self.avail_idx = self.used_idx = 0

    def release(self):
        """Give all three areas back, poisoned; only when the card has let go of them."""
        for region in (self.desc, self.avail, self.used):
            region.free()

    def add(self, buffers, token=None):
        """Put a chain of ``(address, length, writable)`` in the ring, not yet visible; its head."""
        if len(buffers) > self.free:
            raise QueueFull(f"the chain must fit {self.free} descriptors, not {len(buffers)}")
        head = number = self.free_head
        for n, (address, length, writable) in enumerate(buffers):
            flags = spec.VIRTQ_DESC_F_WRITE if writable else 0
            last = n == len(buffers) - 1
            flags |= 0 if last else spec.VIRTQ_DESC_F_NEXT
            self.write_descriptor(number, address, length, flags, 0 if last else self.next[number])
            number = self.next[number]
        self.free_head, self.free = number, self.free - len(buffers)
        self.chains[head] = (len(buffers), token)
        self.offer(head)
        return head

    def add_indirect(self, buffers, token):
        """As :meth:`add`, by one descriptor that refers to a table; ``token`` goes with it."""
        if not self.free:
            raise QueueFull("the chain must fit 0 descriptors, not 1")
        table = self.memory.alloc(DESC.size * len(buffers), align=16, owner=self.owner,
                                  purpose="desc")
        for n, (address, length, writable) in enumerate(buffers):
            flags = spec.VIRTQ_DESC_F_WRITE if writable else 0
            last = n == len(buffers) - 1
            table.write(DESC.size * n, DESC.pack(
                addr=address, len=length, flags=flags | (0 if last else spec.VIRTQ_DESC_F_NEXT),
                next=0 if last else n + 1))
        head = self.free_head
        self.write_descriptor(head, table.address, table.size, spec.VIRTQ_DESC_F_INDIRECT, 0)
        self.free_head, self.free = self.next[head], self.free - 1
        self.chains[head] = (1, IndirectTable(table, token))
        self.offer(head)
        return head

    def write_descriptor(self, number, address, length, flags, following):
        """One entry of the table; anything that fits, so that a guest may be hostile."""
        self.desc.write(DESC.size * number,
                        DESC.pack(addr=address, len=length, flags=flags, next=following))

    def offer(self, head):
        """Write the next entry of the available ring; :meth:`publish` makes it visible."""
        self.avail.write_int(4 + 2 * (self.avail_idx % self.size), 2, head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF

    def publish(self):
        """Write the available index: the card may now take the chains."""
        self.avail.write_int(2, 2, self.avail_idx)

    def no_interrupt(self, on):
        """Ask for no used-buffer notifications, or for them again."""
        self.avail.write_int(0, 2, spec.VIRTQ_AVAIL_F_NO_INTERRUPT if on else 0)

    @property
    def waiting(self):
        """Chains that the card has used and the driver has not yet taken."""
        return (self.used.read_int(2, 2) - self.used_idx) & 0xFFFF

    def take(self):
        """``[(token, written length)]`` of all used chains, in the order of the used ring.

        ``ValueError`` where the card names a chain that it does not have.
        """
        taken = []
        for _ in range(self.waiting):
            element = USED_ELEM.unpack(self.used.read(
                4 + USED_ELEM.size * (self.used_idx % self.size), USED_ELEM.size))
            self.used_idx = (self.used_idx + 1) & 0xFFFF
            if element["id"] not in self.chains:
                raise ValueError(f"`id` of the used ring must be a chain in flight, "
                                 f"not {element['id']}")
            count, token = self.chains.pop(element["id"])
            self._detach(element["id"], count)
            taken.append((token, element["len"]))
        return taken

    def _detach(self, head, count):
        last = head
        for _ in range(count - 1):
            last = self.next[last]
        self.next[last], self.free_head = self.free_head, head
        self.free += count
