"""Octets of a write move to the lanes that their TLPs want."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer
from ..rtl.rotate import rotate_left
from .reassembly_buffer import lanes_below
from .spec import tlp_beat

__all__ = ["Funnel", "funnel_tlp", "posted_beat"]


def funnel_tlp(*, function_id_width, octets_max):
    """A TLP of a write, ready to leave.

    ``span`` counts the octets from the DW where the TLP begins. ``begin`` is the octet of the write
    (modulo the width of a beat) that lane 0 of the first beat holds, or would hold.
    """
    return data.StructLayout({
        "header":      data.ArrayLayout(32, 4),
        "function_id": function_id_width,
        "span":        range(octets_max + 4),
        "begin":       6,
        "final":       1,  # the write's last TLP
        "message":     1,  # an error message, no write
    })


def posted_beat(*, data_width, function_id_width):
    """A beat of MWr or Msg; ``final`` with ``last``: the write has left whole."""
    return data.StructLayout({
        "tlp":         tlp_beat(data_width=data_width),
        "function_id": function_id_width,
        "final":       1,
        "message":     1,
    })


class Funnel(wiring.Component):
    """Put the octets of writes, packed from lane 0, into TLPs that begin on a DW.

    A beat out is made of the last line and the present one: one multiplexer by lane, then one
    rotator. The amount is the same for all TLPs of a write on one page.

    Timing
    ------
    Latency 4 cycles; one beat out per cycle. A line is taken with the first beat that needs it.

    Parameters
    ----------
    data_width, function_id_width : int
        As of the DMA ports.
    octets_max : int
        Greatest payload of a TLP.

    Members
    -------
    tlps : ``In(stream.Signature(funnel_tlp(...)))``
        TLPs in the order of the lines.
    lines : ``In(stream.Signature(data_width))``
        The octets of the writes; each write begins a new line.
    o : ``Out(stream.Signature(posted_beat(...)))``
        Beats of MWr.
    """

    def __init__(self, *, data_width, function_id_width, octets_max):
        self.data_width = data_width
        self.ids = {"function_id_width": function_id_width}
        self.octets_max = octets_max
        super().__init__({
            "tlps":  In(stream.Signature(funnel_tlp(octets_max=octets_max, **self.ids))),
            "lines": In(stream.Signature(data_width)),
            "o":     Out(stream.Signature(posted_beat(data_width=data_width, **self.ids))),
        })

    def elaborate(self, platform):
        m = Module()

        lanes = self.data_width // 8
        bits  = (lanes - 1).bit_length()
        shape = posted_beat(data_width=self.data_width, **self.ids)
        m.submodules.out = out = Buffer(shape)
        wiring.connect(m, out.o, wiring.flipped(self.o))

        # One beat after the other: which lanes it has, whether it needs the present line.
        tlp     = self.tlps.p
        inside  = Signal()
        left_r  = Signal.like(tlp.span)
        left    = Signal.like(tlp.span)  # octets of the TLP from this beat on
        last    = Signal()
        old     = Signal(range(lanes + 1))  # lanes that come from the last line
        turn    = Signal(bits)
        need    = Signal()
        valid   = Signal()
        advance = Signal()
        m.d.comb += [
            left.eq(Mux(inside, left_r, tlp.span)),
            last.eq(left <= lanes),
            turn.eq(tlp.begin),
            # `begin` on a border: all lanes come from the present line.
            old.eq(Mux(turn == 0, 0, lanes - turn)),
            # `old` is less than all lanes.
            need.eq(~last | (left > old)),
            valid.eq(self.tlps.valid & (self.lines.valid | ~need)),
            self.tlps.ready.eq(valid & advance & last),
            self.lines.ready.eq(valid & advance & need),
        ]
        line, line_r = Signal(self.data_width), Signal(self.data_width)
        m.d.comb += line.eq(Mux(need, self.lines.payload, 0))
        with m.If(valid & advance):
            m.d.sync += [inside.eq(~last), left_r.eq(left - lanes)]
            # Octets of one write never stand beside those of another, not even where no byte enable
            # is set.
            with m.If(last & tlp.final):
                m.d.sync += line_r.eq(0)
            with m.Elif(need):
                m.d.sync += line_r.eq(line)

        # Stage 1: choose by lane. Stage 2: rotate. Both move when the buffer behind them can.
        m.d.comb += advance.eq(out.i.ready)
        present = lanes_below(m, turn, lanes=lanes, name="present")
        spread  = Signal(self.data_width)
        m.d.comb += spread.eq(Cat(bit.replicate(8) for bit in present) | (turn == 0).replicate(
            self.data_width))
        mixed, mixed_turn = Signal(self.data_width), Signal(bits)
        stage1, stage2    = Signal(shape), Signal(shape)
        valid1, valid2    = Signal(), Signal()
        with m.If(advance):
            m.d.sync += [
                valid1.eq(valid),
                mixed.eq((line & spread) | (line_r & ~spread)),
                mixed_turn.eq(-turn),
                stage1.tlp.header.eq(tlp.header),
                stage1.tlp.first.eq(~inside),
                stage1.tlp.last.eq(last),
                stage1.function_id.eq(tlp.function_id),
                stage1.final.eq(tlp.final & last),
                stage1.message.eq(tlp.message),
                valid2.eq(valid1),
                stage2.eq(stage1),
                stage2.tlp.data.eq(rotate_left(m, mixed, mixed_turn, name="out")),
            ]
        m.d.comb += [out.i.payload.eq(stage2), out.i.valid.eq(valid2)]

        return m
