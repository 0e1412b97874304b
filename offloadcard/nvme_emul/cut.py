"""Segments become pieces, each under a tag; the last piece of a command ends it."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Queue

from .layouts import (
    PIECE_OCTETS,
    PIECES_WIDTH,
    STATUS_WIDTH,
    final,
    piece,
    piece_done,
    result,
    segment,
)
from .slots import SlotPool

__all__ = ["Cut", "Tracker"]


class Cut(wiring.Component):
    """Cut segments into pieces of up to 512 octets, each under a free tag.

    Timing
    ------
    Latency 1 cycle; one piece per cycle while tags are free.

    Parameters
    ----------
    function_id_width, slot_width, tag_width : int
        Widths in bits.

    Members
    -------
    i : ``In(stream.Signature(segment(...)))``
        Segments.
    o : ``Out(stream.Signature(piece(...)))``
        Pieces, in order.
    give : ``In(stream.Signature(tag_width, always_ready=True))``
        Tags that are free again.
    """

    def __init__(self, *, function_id_width, slot_width, tag_width):
        self.tag_width = tag_width
        widths = {"function_id_width": function_id_width, "slot_width": slot_width}
        super().__init__({
            "i":    In(stream.Signature(segment(**widths))),
            "o":    Out(stream.Signature(piece(tag_width=tag_width, **widths))),
            "give": In(stream.Signature(tag_width, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.pool = pool = SlotPool(count=1 << self.tag_width)
        m.d.comb += [pool.give.valid.eq(self.give.valid), pool.give.payload.eq(self.give.payload)]
        rest  = Signal.like(self.i.payload)
        busy  = Signal()
        last  = Signal()
        taken = Signal()
        m.d.comb += [
            last.eq(rest.length <= PIECE_OCTETS),
            self.o.valid.eq(busy & pool.take.valid),
            *(self.o.p[name].eq(rest[name]) for name in (
                "slot", "capped", "unproven", "function_id", "volume", "zeroes", "compare",
                "address", "offset")),
            self.o.p.length.eq(Mux(last, rest.length, PIECE_OCTETS)),
            self.o.p.tag.eq(pool.take.payload),
            taken.eq(self.o.valid & self.o.ready),
            pool.take.ready.eq(taken),
            self.i.ready.eq(~busy | (taken & last)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [busy.eq(self.i.valid), rest.eq(self.i.payload)]
        with m.Elif(taken):
            m.d.sync += [
                rest.address.eq(rest.address + PIECE_OCTETS),
                rest.offset.eq(rest.offset + PIECE_OCTETS),
                rest.length.eq(rest.length - PIECE_OCTETS),
            ]

        return m


class Tracker(wiring.Component):
    """Know when all pieces of a command are over; then its result is due, once.

    Pieces end in any order, before or after it is known how many there are. The first error of a
    command is its status.

    Timing
    ------
    One event in 3 cycles; a result leaves 3 cycles after the last event.

    Parameters
    ----------
    slot_width : int
        Width of a slot in bits.

    Members
    -------
    finals : ``In(stream.Signature(final(...)))``
        How many pieces a command has.
    done : ``In(stream.Signature(piece_done(...)))``
        Pieces that are over.
    results : ``Out(stream.Signature(result(...)))``
        Commands that are over.
    """

    wait_for_pieces = True  # a mutant leaves it out

    def __init__(self, *, slot_width):
        self.slot_width = slot_width
        super().__init__({
            "finals":  In(stream.Signature(final(slot_width=slot_width))),
            "done":    In(stream.Signature(piece_done(slot_width=slot_width))),
            "results": Out(stream.Signature(result(slot_width=slot_width))),
        })

    def elaborate(self, platform):
        m = Module()

        # `ended` counts pieces that are over; of a command that is over the row is 0 again.
        shape = data.StructLayout({"known": 1, "count": PIECES_WIDTH, "ended": PIECES_WIDTH,
                                   "status": STATUS_WIDTH})
        m.submodules.rows = rows = memory.Memory(shape=shape, depth=1 << self.slot_width, init=[])
        rows_w = rows.write_port()
        rows_r = rows.read_port(transparent_for=(rows_w,))

        event_shape = data.StructLayout({
            "slot": self.slot_width, "final": 1, "count": PIECES_WIDTH, "status": STATUS_WIDTH})
        m.submodules.merge = merge = Merge(event_shape, count=2)
        event = Signal(event_shape)
        new   = Signal(shape)
        over  = Signal()
        ended = Signal(PIECES_WIDTH)
        m.d.comb += [
            merge.i[0].valid.eq(self.done.valid), self.done.ready.eq(merge.i[0].ready),
            merge.i[0].p.slot.eq(self.done.p.slot), merge.i[0].p.status.eq(self.done.p.status),
            merge.i[1].valid.eq(self.finals.valid), self.finals.ready.eq(merge.i[1].ready),
            merge.i[1].p.final.eq(1),
            *(merge.i[1].p[name].eq(self.finals.p[name]) for name in ("slot", "count", "status")),
            rows_r.addr.eq(merge.o.p.slot),
            rows_w.addr.eq(event.slot),
            rows_w.data.eq(Mux(over, 0, new)),
        ]
        m.submodules.queue = queue = Queue(result(slot_width=self.slot_width), depth=4)
        m.d.comb += [queue.i.p.slot.eq(event.slot), queue.i.p.status.eq(new.status)]
        wiring.connect(m, queue.o, wiring.flipped(self.results))

        with m.FSM(name="track"):
            with m.State("EVENT"):
                m.d.comb += merge.o.ready.eq(1)
                m.d.sync += event.eq(merge.o.payload)
                with m.If(merge.o.valid):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += ended.eq(rows_r.data.ended + Mux(event.final, 0, 1))
                m.d.sync += [
                    new.known.eq(rows_r.data.known | event.final),
                    new.count.eq(Mux(event.final, event.count, rows_r.data.count)),
                    new.ended.eq(ended),
                    new.status.eq(Mux(rows_r.data.status != 0, rows_r.data.status, event.status)),
                ]
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += over.eq(new.known & ((new.ended == new.count)
                                                 | int(not self.wait_for_pieces)))
                m.d.comb += queue.i.valid.eq(over)
                with m.If(~over | queue.i.ready):
                    m.d.comb += rows_w.en.eq(1)
                    m.next = "EVENT"

        return m
