"""Volumes: a guest's blocks become addresses in the card's DRAM, at the media's pace."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue

from .layouts import piece, volume_update
from .spec import VOLUMES

__all__ = ["Translate", "Media"]


class Translate(wiring.Component):
    """Turn a piece's offset in its volume into an address, if it lies in the volume.

    The row is looked up by the owner of the piece. Commands were checked before; this is the last
    gate before the store, so that a volume that shrinks or goes away under way is respected too.

    Timing
    ------
    Latency 3 cycles; one piece in 3 cycles (a piece of 512 octets takes 8 beats at 512 bits).

    Parameters
    ----------
    function_id_width, slot_width, tag_width : int
        Widths in bits.

    Members
    -------
    volumes : ``In(stream.Signature(volume_update(...), always_ready=True))``
        Rows of the volume table.
    i : ``In(stream.Signature(piece(...)))``
        Pieces, ``offset`` counted from the volume's start.
    o : ``Out(stream.Signature(piece(...)))``
        Pieces, ``offset`` is the address in DRAM; nothing may be done with one that is ``refused``.
    """

    check_bounds = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, slot_width, tag_width):
        self.function_id_width = function_id_width
        shape = piece(function_id_width=function_id_width, slot_width=slot_width,
                      tag_width=tag_width)
        super().__init__({
            "volumes": In(stream.Signature(
                volume_update(function_id_width=function_id_width), always_ready=True)),
            "i":       In(stream.Signature(shape)),
            "o":       Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.table = table = memory.Memory(
            shape=self.volumes.p.row.shape(), depth=VOLUMES << self.function_id_width, init=[])
        table_w = table.write_port()
        table_r = table.read_port(transparent_for=(table_w,))
        m.d.comb += [
            table_w.addr.eq(Cat(self.volumes.p.volume, self.volumes.p.function_id)),
            table_w.data.eq(self.volumes.p.row),
            table_w.en.eq(self.volumes.valid),
        ]

        held = Signal.like(self.i.payload)
        end  = Signal(53)
        size = Signal(52)
        base = Signal(48)
        live = Signal()
        m.d.comb += table_r.addr.eq(Cat(self.i.p.volume, self.i.p.function_id))
        with m.FSM(name="translate"):
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += held.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "BOUNDS"
            with m.State("BOUNDS"):
                row = table_r.data
                m.d.sync += [
                    end.eq(held.offset + held.length),
                    size.eq(Mux(row.blocks_4096, row.blocks << 12, row.blocks << 9)),
                    base.eq(row.base), live.eq(row.valid),
                ]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        m.d.comb += [
            self.o.payload.eq(held),
            self.o.p.refused.eq((~live | (end > size)) & int(self.check_bounds)),
            self.o.p.offset.eq(base + held.offset),
        ]

        return m


class Media(wiring.Component):
    """Let pieces pass at the pace of the media: a latency, and octets per cycle.

    Both are settings of the card's processor. Accesses overlap in their latency, as those of a
    drive with many channels do; they share the rate.

    Timing
    ------
    Latency 2 cycles and ``latency`` more; one piece per cycle, or ``rate`` / 256 octets a cycle
    (both guesses until a drive is measured).

    Parameters
    ----------
    shape : shape-castable
        Payload with a field ``length``.
    depth : int
        Pieces that wait.

    Members
    -------
    latency : ``In(20)``
        Cycles; 0 is none.
    rate : ``In(20)``
        Octets a cycle, 8 fraction bits; 0 is unlimited.
    i, o : streams of ``shape``
        Pieces, in order.
    """

    def __init__(self, shape, *, depth):
        self.shape = shape
        self.depth = depth
        super().__init__({
            "latency": In(20),
            "rate":    In(20),
            "i":       In(stream.Signature(shape)),
            "o":       Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()

        width = Shape.cast(self.shape).width
        m.submodules.queue = queue = Queue(width + 21, depth=self.depth)
        now, due = Signal(21), Signal(21)
        owed     = Signal(signed(24))  # octets that the media have still to move, 8 fraction bits
        length   = self.o.p.length
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            queue.i.payload.eq(Cat(self.i.payload, (now + self.latency)[:21])),
            self.o.payload.eq(queue.o.payload[:width]),
            due.eq(now - queue.o.payload[width:]),
        ]
        # Once the moment has come the piece stays offered, whatever the counters do.
        go = Signal()
        m.d.comb += [
            self.o.valid.eq(queue.o.valid & (go | (~due[20] & (owed <= 0)))),
            queue.o.ready.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += go.eq(self.o.valid & ~self.o.ready)
        with m.If(self.rate == 0):
            m.d.sync += owed.eq(0)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += owed.eq(Mux(owed > 0, owed - self.rate, 0) + (length << 8))
        with m.Elif(owed > 0):
            m.d.sync += owed.eq(owed - self.rate)

        return m
