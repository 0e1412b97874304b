"""Between the width of the data path and the 64-octet lines in which control structures live."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .ports import dma_read_beat, dma_write_beat

__all__ = ["LINE_WIDTH", "Widen", "Narrow"]

LINE_WIDTH = 512  # bits of a line


class Widen(wiring.Component):
    """Gather the beats of a DMA-read answer into lines of 64 octets.

    An engine that reads descriptors or commands sees whole lines, whatever the card's width. An
    answer of up to 64 octets asked for with ``lane`` 0 is one line; a longer one is a stream of
    lines, of which all but the last are full. Lane ``n`` of the answer's first beat is octet ``n``
    of the first line. ``first``, ``last``, ``error`` and ``tag`` are those of the answer, and
    ``strobe`` says which octets of the line belong to it.

    Timing
    ------
    Latency 1 cycle after the beat that ends the line; one beat per cycle; never stalled, as
    answers are never stalled.

    Parameters
    ----------
    data_width : int
        Width of the data path in bits: 64, 128, 256 or 512.
    function_id_width, tag_width : int
        As of the port.

    Members
    -------
    i : ``In(stream.Signature(dma_read_beat(data_width), always_ready=True))``
        Beats of answers, contiguous per answer.
    o : ``Out(stream.Signature(dma_read_beat(512), always_ready=True))``
        Lines.
    """

    def __init__(self, *, data_width, function_id_width, tag_width):
        widths = {"function_id_width": function_id_width, "tag_width": tag_width}
        self.data_width = data_width
        super().__init__({
            "i": In(stream.Signature(dma_read_beat(data_width=data_width, **widths),
                                     always_ready=True)),
            "o": Out(stream.Signature(dma_read_beat(data_width=LINE_WIDTH, **widths),
                                      always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()

        i, o   = self.i, self.o
        pieces = LINE_WIDTH // self.data_width
        piece  = Signal(range(pieces))
        lanes  = self.data_width // 8
        opens  = Signal()  # the next beat is the first of its line
        now    = Signal(range(pieces))
        begun  = Signal(init=0)  # a line of the answer went before

        m.d.comb += now.eq(Mux(i.p.first, 0, piece))
        m.d.comb += opens.eq(now == 0)
        m.d.sync += o.valid.eq(0)
        with m.If(i.valid):
            with m.If(opens):
                m.d.sync += o.p.strobe.eq(0)
            for number in range(pieces):
                with m.If(now == number):
                    m.d.sync += [
                        o.p.data.as_value()[number * self.data_width:][:self.data_width]
                            .eq(i.p.data),
                        o.p.strobe[number * lanes:][:lanes].eq(i.p.strobe),
                    ]
            m.d.sync += [
                o.p.function_id.eq(i.p.function_id),
                o.p.tag.eq(i.p.tag),
                o.p.first.eq(i.p.first | ~begun),
                o.p.last.eq(i.p.last),
                o.p.error.eq(i.p.error),
                piece.eq(now + 1),
                o.valid.eq(i.p.last | (now == pieces - 1)),
            ]
            with m.If(i.p.last):
                m.d.sync += [begun.eq(0), piece.eq(0)]
            with m.Elif(now == pieces - 1):
                m.d.sync += begun.eq(1)

        return m


class Narrow(wiring.Component):
    """Send writes that an engine prepared as lines of 64 octets over a narrower data path.

    Timing
    ------
    Latency 0 cycles; one beat per cycle. A line takes as many beats as its octets need. Put a
    ``Buffer`` behind it at a house's border.

    Parameters
    ----------
    data_width : int
        Width of the data path in bits: 64, 128, 256 or 512.
    function_id_width, tag_width : int
        As of the port.

    Members
    -------
    i : ``In(stream.Signature(dma_write_beat(512)))``
        Writes, their octets packed from lane 0.
    o : ``Out(stream.Signature(dma_write_beat(data_width)))``
        The same writes.
    """

    def __init__(self, *, data_width, function_id_width, tag_width):
        widths = {"function_id_width": function_id_width, "tag_width": tag_width}
        self.data_width = data_width
        super().__init__({
            "i": In(stream.Signature(dma_write_beat(data_width=LINE_WIDTH, **widths))),
            "o": Out(stream.Signature(dma_write_beat(data_width=data_width, **widths))),
        })

    def elaborate(self, platform):
        m = Module()

        i, o   = self.i, self.o
        pieces = LINE_WIDTH // self.data_width
        piece  = Signal(range(pieces))
        left   = Signal.like(i.p.length)  # octets still to go, valid but in the first beat
        octets = Signal.like(i.p.length)
        last   = Signal()
        begin  = Signal(init=1)

        m.d.comb += [
            octets.eq(Mux(begin, i.p.length, left)),
            last.eq(octets <= self.data_width // 8),
            o.valid.eq(i.valid),
            i.ready.eq(o.ready & (last | (piece == pieces - 1))),
        ]
        for name in ("function_id", "address", "length", "tag", "attributes"):
            m.d.comb += o.p[name].eq(i.p[name])
        m.d.comb += [o.p.first.eq(begin), o.p.last.eq(last)]
        with m.Switch(piece):
            for number in range(pieces):
                with m.Case(number):
                    m.d.comb += o.p.data.eq(
                        i.p.data.as_value()[number * self.data_width:][:self.data_width])
        with m.If(o.valid & o.ready):
            m.d.sync += [
                begin.eq(last),
                left.eq(octets - self.data_width // 8),
                piece.eq(Mux(last, 0, piece + 1)),
            ]

        return m
