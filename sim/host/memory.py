"""The host's memory: an allocator over one buffer; what is given back is poisoned."""

from typing import Protocol

__all__ = ["POISON", "Listener", "Memory", "OutOfMemory", "Region"]

POISON = 0xA5  # what a freed octet reads as


class OutOfMemory(MemoryError):
    """The guest's memory has no hole of the size and alignment asked for."""


class Listener(Protocol):
    """Who wants to know what belongs to whom: the monitor and the ledger of the link."""

    def allocated(self, address, size, owner, purpose):
        """``size`` octets at ``address`` belong to the function with requester id ``owner``."""

    def freed(self, address, size):
        """Nobody may touch these octets any more."""


class Region:
    """A piece of memory that a driver owns until :meth:`free`.

    Attributes
    ----------
    address : int
        Where the card finds it.
    size : int
        Octets.
    """

    def __init__(self, memory, address, size):
        self.memory, self.address, self.size = memory, address, size
        self.freed = False

    def _slice(self, offset, length):
        if self.freed:
            raise ValueError(f"region {self.address:#x} must be used before it is freed")
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"`offset` must leave {length} octets in {self.size}, not {offset}")
        start = self.address - self.memory.base + offset
        return slice(start, start + length)

    def read(self, offset=0, length=None):
        """Octets from ``offset``; all the rest by default."""
        length = self.size - offset if length is None else length
        return bytes(self.memory.view[self._slice(offset, length)])

    def write(self, offset, octets):
        """Store ``octets`` at ``offset``."""
        self.memory.view[self._slice(offset, len(octets))] = bytes(octets)

    def read_int(self, offset, size):
        """A little-endian number."""
        return int.from_bytes(self.memory.view[self._slice(offset, size)], "little")

    def write_int(self, offset, size, value):
        """Store a little-endian number."""
        self.memory.view[self._slice(offset, size)] = value.to_bytes(size, "little")

    def free(self):
        """Give the octets back; they are poisoned at once."""
        self.memory.free(self)


class Memory:
    """First-fit allocator over ``buffer``; the card sees octet 0 of it at ``base``.

    Several guests share a buffer by several ``Memory`` objects, each over its own part.

    Parameters
    ----------
    buffer : writable buffer
        A ``bytearray``, a ``mmap``, a memoryview of compiled memory.
    base : int
        Address of the first octet.
    listener : Listener or None
        Told of every piece that is lent and given back.
    """

    def __init__(self, buffer, base=0, listener=None):
        self.view = memoryview(buffer).cast("B")
        self.base, self.listener = base, listener
        self.holes = [(base, base + len(self.view))]  # ascending, never adjacent
        self.regions = {}

    def alloc(self, size, *, align=64, offset=0, owner=None, purpose="payload", fill=0):
        """Lend ``size`` octets at an address that is ``offset`` modulo ``align``."""
        if size <= 0:
            raise ValueError(f"`size` must be positive, not {size!r}")
        if align <= 0 or align & (align - 1):
            raise ValueError(f"`align` must be a power of two, not {align!r}")
        for hole in self.holes:
            address = hole[0] + (offset - hole[0]) % align
            if address + size <= hole[1]:
                break
        else:
            raise OutOfMemory(f"`size` must fit a hole of the memory, not {size} octets")
        n = self.holes.index(hole)
        rests = [(hole[0], address), (address + size, hole[1])]
        self.holes[n:n + 1] = [rest for rest in rests if rest[0] < rest[1]]
        region = self.regions[address] = Region(self, address, size)
        start = address - self.base
        self.view[start:start + size] = bytes([fill]) * size
        if self.listener is not None:
            self.listener.allocated(address, size, owner, purpose)
        return region

    def free(self, region):
        """Take a region back, and poison it."""
        if region.freed or self.regions.get(region.address) is not region:
            raise ValueError(f"region {region.address:#x} must be freed once, by its own memory")
        if self.listener is not None:
            self.listener.freed(region.address, region.size)
        start = region.address - self.base
        self.view[start:start + region.size] = bytes([POISON]) * region.size
        region.freed = True
        del self.regions[region.address]
        holes = sorted([*self.holes, (region.address, region.address + region.size)])
        self.holes = [holes[0]]
        for start, stop in holes[1:]:
            if start == self.holes[-1][1]:
                self.holes[-1] = (self.holes[-1][0], stop)
            else:
                self.holes.append((start, stop))

    def untouched(self, address, size):
        """Is every octet still poison? A write into freed memory shows here."""
        start = address - self.base
        return bytes(self.view[start:start + size]) == bytes([POISON]) * size

    def read(self, address, length):
        """Octets by address, as a device reads them; ``IndexError`` outside the memory."""
        return bytes(self.view[self._inside(address, length)])

    def write(self, address, octets):
        """Store octets by address, as a device does; ``IndexError`` outside the memory."""
        self.view[self._inside(address, len(octets))] = bytes(octets)

    def _inside(self, address, length):
        start = address - self.base
        if start < 0 or start + length > len(self.view):
            raise IndexError(f"`address` must lie in the memory, not {address:#x}")
        return slice(start, start + length)
