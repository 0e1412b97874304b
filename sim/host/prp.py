"""Data buffers of NVMe commands: scattered pages and the PRP lists that name them."""

# Ref: nvme-base-1.4c, 4.3 (Physical Region Page Entry and List)

__all__ = ["PAGE", "Transfer"]

PAGE = 4096


class Transfer:
    """A buffer of ``length`` octets in pages that do not touch one another, with its PRPs.

    Parameters
    ----------
    memory : sim.host.memory.Memory
        Where pages and lists are lent.
    offset : int
        Where in its first page the buffer begins; a multiple of 4.
    list_offset : int
        Where in its page the first PRP list begins; a multiple of 8.

    Attributes
    ----------
    prp1, prp2 : int
        For the command.
    pages, lists : list of Region
        What was lent.
    """

    def __init__(self, memory, length, *, owner=None, offset=0, list_offset=0):
        if offset % 4 or not 0 <= offset < PAGE:
            raise ValueError(f"`offset` must be a multiple of 4 in a page, not {offset!r}")
        self.length, self.offset, self.start = length, offset, 0
        count = (offset + length + PAGE - 1) // PAGE
        self.pages = [memory.alloc(PAGE, align=PAGE, owner=owner, purpose="payload")
                      for _ in range(count)]
        self.lists = []
        entries = [page.address for page in self.pages[1:]]
        self.prp1, self.prp2 = self.pages[0].address + offset, 0
        if len(entries) == 1:
            self.prp2 = entries[0]
        elif entries:
            self.prp2 = self._chain(memory, owner, entries, list_offset)

    def _chain(self, memory, owner, entries, list_offset):
        room = (PAGE - list_offset) // 8
        here, rest = entries, []
        if len(entries) > room:
            # The last entry of a full list points to the next list.
            here, rest = entries[:room - 1], entries[room - 1:]
        region = memory.alloc(PAGE, align=PAGE, owner=owner, purpose="prp")
        self.lists.append(region)
        if rest:
            here = [*here, self._chain(memory, owner, rest, 0)]
        region.write(list_offset, b"".join(e.to_bytes(8, "little") for e in here))
        return region.address + list_offset

    def _pieces(self):
        position, offset = 0, self.offset
        for page in self.pages:
            size = min(PAGE - offset, self.length - position)
            yield page, offset, position, size
            position, offset = position + size, 0

    def write(self, octets):
        """Fill the buffer."""
        for page, offset, position, size in self._pieces():
            page.write(offset, octets[position:position + size])

    def read(self):
        """The buffer's octets."""
        return b"".join(page.read(offset, size) for page, offset, _, size in self._pieces())

    def free(self):
        """Give pages and lists back, poisoned."""
        for region in (*self.pages, *self.lists):
            region.free()
