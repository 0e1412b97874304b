"""Frames on their way to a guest: their checksum verified, their queue chosen."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets): DATA_VALID
# Ref: virtio-1.2, 5.1.6.5.5 (Automatic receive steering in multiqueue mode)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.delay import Delay
from ..rtl.ports import PacketStream
from .octet_sum import NUMBER, OctetSum
from .profile import choices
from .receive_parse import WINDOW, ReceiveParse

__all__ = ["ReceiveFront"]


class ReceiveFront(wiring.Component):
    """Verify TCP and UDP over IPv4 and IPv6, and spread flows over the pairs the driver uses.

    ``meta.csum_status`` becomes 1 on the last beat of a frame whose checksum was verified, if its
    function's driver negotiated GUEST_CSUM; ``meta.queue`` becomes the hash of the frame's
    addresses and ports, scaled to the number of pairs, the same for both ways of a connection.
    What is not one of these four, has options or fragments, goes unverified; what is not IP goes
    to pair 0.

    Timing
    ------
    A beat per cycle, never stalled. A frame's first beat leaves after 64 octets of it, or all,
    came, and 8 cycles and the latency of :class:`OctetSum` more.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    i, o : ``In(PacketStream(...))``, ``Out(PacketStream(...))``
        Frames; both are always taken.
    row; chosen, last_pair : address and rows
        What a function's driver chose, 1 cycle later.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        packets = PacketStream(data_width=g.data_width, function_id_width=g.id_width)
        super().__init__({
            "i":         In(packets),
            "o":         Out(packets),
            "row":       Out(g.row_bits),
            "chosen":    In(choices),
            "last_pair": In(max(1, g.pair_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.parse = parse = ReceiveParse(octets=g.octets)
        m.submodules.adder = adder = OctetSum(octets=g.octets)
        beat = self.i.payload
        # Frames wait for the end of their parse only, so no more wait than come meanwhile.
        m.submodules.store = store = Queue(beat.shape(), depth=2 * (WINDOW // g.octets) + 16)
        m.d.comb += [
            self.i.ready.eq(1), store.i.valid.eq(self.i.valid), store.i.payload.eq(beat),
            parse.valid.eq(self.i.valid), parse.data.eq(beat.data.as_value()),
            parse.first.eq(beat.first), parse.last.eq(beat.last),
            parse.length.eq(beat.meta.length), parse.mark.eq(beat.meta.function_id),
            self.row.eq(g.row_of(parse.o.mark)),
        ]
        m.d.sync += Assert(~store.i.valid | store.i.ready)

        # The verdict of the parse meets the rows of its function.
        verdict = data.StructLayout({
            "start": NUMBER, "end": NUMBER, "extra": 17, "check": 1, "queue": 6})
        m.submodules.verdicts = verdicts = Queue(verdict, depth=32)
        known = Signal.like(parse.o)
        m.d.sync += known.eq(parse.o)
        share = Signal(8 + 5)
        m.d.comb += [
            share.eq(known.hash * (self.last_pair + 1)),
            verdicts.i.valid.eq(known.valid), verdicts.i.p.start.eq(known.start),
            verdicts.i.p.end.eq(known.end), verdicts.i.p.extra.eq(known.extra),
            verdicts.i.p.check.eq(known.check & self.chosen.guest_csum),
            verdicts.i.p.queue.eq(share >> 8 if g.pair_bits else 0),
        ]
        m.d.sync += Assert(~verdicts.i.valid | verdicts.i.ready)

        # Both together into the adder; the octets wait for it in a memory.
        moves = Signal()
        out   = store.o.p
        asked = verdicts.o.p
        m.d.comb += [
            moves.eq(store.o.valid & verdicts.o.valid), store.o.ready.eq(moves),
            verdicts.o.ready.eq(moves & out.last),
            adder.valid.eq(moves), adder.data.eq(out.data.as_value()),
            adder.first.eq(out.first), adder.last.eq(out.last),
            adder.start.eq(asked.start), adder.end.eq(asked.end),
        ]
        side = data.StructLayout({
            "valid": 1, "beat": beat.shape(), "check": 1, "extra": 17, "queue": 6})
        m.submodules.late = late = Delay(side, cycles=adder.latency)
        m.d.comb += [
            late.i.valid.eq(moves), late.i.beat.eq(out), late.i.check.eq(asked.check),
            late.i.extra.eq(asked.extra), late.i.queue.eq(asked.queue),
        ]
        # [RFC 1071: 1] with the pseudo header's rest, a right sum is all ones: FFFF, or twice it.
        whole = Signal(18)
        fits  = Signal()
        beat_r = Signal.like(beat)
        m.d.comb += whole.eq(adder.o.sum + late.o.extra)
        m.d.sync += [
            self.o.valid.eq(late.o.valid), beat_r.eq(late.o.beat),
            beat_r.meta.queue.eq(late.o.queue),
            fits.eq(late.o.check & late.o.beat.last
                    & ((whole[:16] + whole[16:]) == 0xFFFF)),
        ]
        m.d.comb += [self.o.payload.eq(beat_r), self.o.p.meta.csum_status.eq(fits)]
        return m
