"""Transmitted frames whose driver left the checksum to the device: completed on their way."""

# Ref: virtio-1.2, 5.1.6.2 (Packet Transmission): csum_start, csum_offset, NEEDS_CSUM

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import PacketStream
from .octet_sum import NUMBER, OctetSum

__all__ = ["Checksum"]


class Checksum(wiring.Component):
    """Put the checksum of all octets from ``csum_start`` at ``csum_offset`` behind it.

    Frames are kept in their order; one that asks for its checksum leaves when its last octet has
    been added. The field counts with what stands in it, the driver's pseudo header; a sum of zero
    is written FFFF, which UDP needs and TCP allows. A field that is not inside the frame makes
    the frame one with ``error``. Lanes behind a frame's end leave as 0.

    Timing
    ------
    A beat per cycle. The first beat of a frame without a request leaves 2 cycles after it came if
    no frame waits, and 4 if one does; with a request, the latency of :class:`OctetSum` and 4 cycles
    after the last beat came.

    Parameters
    ----------
    data_width, function_id_width : int
        As of the stream.
    max_octets : int
        Longest frame.

    Members
    -------
    i : ``In(PacketStream(...))``
        Frames; ``meta.csum_status`` is 1 where a checksum is asked for.
    o : ``Out(PacketStream(...))``
        The same frames, with ``meta.csum_*`` 0.
    """

    frames = 64  # frames inside, at most

    # What a mutant changes: the field must lie inside the frame.
    _bounded = True

    def __init__(self, *, data_width, function_id_width, max_octets):
        self.octets = data_width // 8
        longest = -(-max_octets // self.octets)
        self.depth  = 1 << (longest + 16 - 1).bit_length()
        packets = PacketStream(data_width=data_width, function_id_width=function_id_width)
        super().__init__({"i": In(packets), "o": Out(packets)})

    def elaborate(self, platform):
        m = Module()
        bits = (self.octets - 1).bit_length()
        meta = self.i.p.meta
        head = data.StructLayout({
            "meta": meta.shape(), "wants": 1, "bad": 1, "odd": 1, "high": NUMBER, "low": NUMBER})
        m.submodules.store = store = Queue(data.StructLayout({
            "data": 8 * self.octets, "first": 1, "last": 1, "error": 1}), depth=self.depth)
        m.submodules.heads = heads = Queue(head, depth=self.frames)
        m.submodules.sums  = sums  = Queue(unsigned(16), depth=self.frames)
        m.submodules.adder = adder = OctetSum(octets=self.octets)

        # In: octets to the store and to the adder, what is asked beside them.
        wants = Signal()
        moves = Signal()
        spot  = Signal(NUMBER)
        # A frame that asks for nothing and waits for nobody goes by, all of it.
        free, goes_by, inside = (Signal(name=name) for name in ("free", "goes_by", "inside"))
        empty = Signal(init=1)  # known a cycle late, and only while nothing comes
        m.d.comb += goes_by.eq(inside | free & empty & ~wants)
        m.d.sync += empty.eq((store.level == 0) & (heads.level == 0) & ~self.i.valid)
        with m.If(moves):
            m.d.sync += inside.eq(goes_by & ~self.i.p.last)
        i = heads.i.p
        m.d.comb += [
            wants.eq(meta.csum_status != 0),
            # Where nothing waits there is room.
            self.i.ready.eq(Mux(inside, free, store.i.ready & heads.i.ready)),
            moves.eq(self.i.valid & self.i.ready),
            store.i.valid.eq(self.i.valid & heads.i.ready & ~goes_by),
            store.i.p.data.eq(self.i.p.data.as_value()), store.i.p.first.eq(self.i.p.first),
            store.i.p.last.eq(self.i.p.last), store.i.p.error.eq(self.i.p.error),
            heads.i.valid.eq(self.i.valid & store.i.ready & self.i.p.first & ~goes_by),
            spot.eq(meta.csum_start + meta.csum_offset),
            i.meta.eq(meta), i.wants.eq(wants), i.odd.eq(meta.csum_start[0]),
            i.high.eq(spot), i.low.eq(spot + 1),
            adder.valid.eq(moves & wants), adder.data.eq(self.i.p.data.as_value()),
            adder.first.eq(self.i.p.first), adder.last.eq(self.i.p.last),
            adder.start.eq(meta.csum_start), adder.end.eq(meta.length),
            sums.i.valid.eq(adder.o.valid), sums.i.payload.eq(adder.o.sum),
        ]
        if self._bounded:
            m.d.comb += i.bad.eq(wants & (spot + 2 > meta.length))
        m.d.sync += Assert(~sums.i.valid | sums.i.ready)  # a sum has its head

        # Out: two registers, moved together.
        takes, passes, by = Signal(), Signal(), Signal()
        known = Signal(head)
        came  = Signal.like(store.o.payload)
        line  = Signal(NUMBER - bits)
        m.d.comb += [
            passes.eq(self.i.valid & goes_by),
            by.eq(inside | empty),  # then nothing is in the store
            known.eq(Mux(by, heads.i.payload, heads.o.payload)),
            came.eq(Mux(by, store.i.payload, store.o.payload)),
            free.eq(~self.o.valid | self.o.ready),
            takes.eq(free & store.o.valid & heads.o.valid & (~heads.o.p.wants | sums.o.valid)),
            store.o.ready.eq(takes),
            heads.o.ready.eq(takes & store.o.p.last),
            sums.o.ready.eq(takes & store.o.p.last & heads.o.p.wants),
        ]
        beat  = Signal.like(store.o.payload, name="beat")
        beat_head = Signal(head)
        valid = Signal()
        field = Signal(16)
        true  = Signal(16)
        m.d.comb += true.eq(Mux(known.odd, Cat(sums.o.payload[8:], sums.o.payload[:8]),
                                sums.o.payload))
        with m.If(takes):
            m.d.sync += line.eq(Mux(store.o.p.last, 0, line + 1))
        o = self.o.p
        has_high, has_low = (Signal(name=name) for name in ("has_high", "has_low"))
        tail = Signal(bits)  # octets of the last beat; 0 is all
        m.d.comb += [
            has_high.eq(known.wants & (line == known.high[bits:])),
            has_low.eq(known.wants & (line == known.low[bits:])),
            tail.eq(known.meta.length),
        ]
        with m.If(free):
            m.d.sync += [
                valid.eq(takes | passes), beat.eq(came), beat_head.eq(known),
                field.eq(Mux(true == 0xFFFF, true, ~true)),
                self.o.valid.eq(valid), o.first.eq(beat.first), o.last.eq(beat.last),
                o.error.eq(beat.error | beat.last & beat_head.bad), o.meta.eq(beat_head.meta),
                o.meta.csum_status.eq(0), o.meta.csum_start.eq(0), o.meta.csum_offset.eq(0),
            ]
        for lane in range(self.octets):
            octet = beat.data[8 * lane:8 * lane + 8]
            ends, high, low = (Signal(name=f"{name}_{lane}") for name in ("ends", "high", "low"))
            with m.If(free):
                m.d.sync += [
                    ends.eq(came.last & (tail != 0) & (tail <= lane)),
                    high.eq(has_high & (known.high[:bits] == lane)),
                    low.eq(has_low & (known.low[:bits] == lane)),
                    o.data[lane].eq(
                        Mux(ends, 0, Mux(high, field[8:], Mux(low, field[:8], octet)))),
                ]
        return m
