"""The allocator of the host's memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.host.memory import POISON, Memory, OutOfMemory
from tests.support.soak import TIMES

BASE, SIZE = 0x8000_0000, 1 << 14


@given(st.lists(st.tuples(st.integers(1, 700), st.sampled_from([1, 2, 16, 64, 4096]),
                          st.integers(0, 15), st.booleans()), max_size=60))
@settings(max_examples=60 * TIMES, deadline=None)
def test_regions_never_overlap(plan):
    memory, live = Memory(bytearray(SIZE), BASE), []
    for size, align, offset, drop in plan:
        if drop and live:
            live.pop(len(live) // 2).free()
            continue
        try:
            region = memory.alloc(size, align=align, offset=offset)
        except OutOfMemory:
            continue
        assert region.address % align == offset % align
        assert BASE <= region.address and region.address + size <= BASE + SIZE
        for other in live:
            assert (region.address + size <= other.address
                    or other.address + other.size <= region.address)
        live.append(region)
    for region in live:
        region.free()
    assert memory.holes == [(BASE, BASE + SIZE)]


def test_what_is_freed_is_poisoned_and_told():
    told = []

    class Listener:
        def allocated(self, *what):
            told.append(("allocated", *what))

        def freed(self, *what):
            told.append(("freed", *what))

    memory = Memory(bytearray(SIZE), BASE, Listener())
    region = memory.alloc(100, owner=0x102, purpose="avail")
    region.write(3, b"abc")
    assert region.read(2, 5) == b"\0abc\0" and region.read_int(3, 2) == 0x6261
    address = region.address
    region.free()
    assert told == [("allocated", address, 100, 0x102, "avail"), ("freed", address, 100)]
    assert memory.read(address, 4) == bytes([POISON]) * 4 and memory.untouched(address, 100)
    memory.write(address + 50, b"!")
    assert not memory.untouched(address, 100)


def test_misuse_is_refused():
    memory = Memory(bytearray(SIZE), BASE)
    region = memory.alloc(10)
    for call, message in ((lambda: memory.alloc(0), "`size`"),
                          (lambda: memory.alloc(8, align=3), "`align`"),
                          (lambda: region.read(8, 3), "`offset`")):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(IndexError, match="`address`"):
        memory.read(BASE + SIZE - 1, 2)
    region.free()
    with pytest.raises(ValueError, match="freed once"):
        region.free()
    with pytest.raises(ValueError, match="before it is freed"):
        region.read()
