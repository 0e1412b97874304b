"""Frames into guest memory: a header and a frame, cut to the segments of a chain."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets): num_buffers is 1 without MRG_RXBUF

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaWritePort
from ..rtl.rotate import rotate_left
from .side import WRITE_TAG
from .spec import NET_HDR_OCTETS

__all__ = ["Scatter"]


class Scatter(wiring.Component):
    """Write each segment's octets of the header and its frame; report ended chains and markers.

    The header is all zero but ``num_buffers``, so it is made here and never stored. Lines of the
    buffer pass one rotator; two neighbours make one beat.

    Timing
    ------
    A segment takes its beats and 2 cycles.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    segments : ``In(stream(segment))``
        Pieces of chains, and markers.
    page, link_row; line, line_row
        Addresses of tables, and their rows which follow by 1 cycle.
    writes : ``Out(DmaWritePort(...))``
        DMA.
    discards : ``Out(stream(packet))``
        Frames whose octets were read for the last time.
    ends : ``Out(stream)``
        Chains that ended, after their last write was handed over, and markers.
    accepted : ``Out(1)``; issued : ``Out(8)``
        A write was answered; writes handed over, modulo 256.
    received : ``Out``
        One frame written: its owner and its octets, for the counters.
    failures : ``Out(stream)``
        Functions whose memory did not answer, or whose chain was wrong.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.end = data.StructLayout({
            "slot": g.slot, "length": 14, "error": 1, "marker": 1, "upto": range(g.batch + 1),
            "final": 1, "skip": 1})
        super().__init__({
            "segments": In(stream.Signature(g.segment)),
            "page":     Out(g.page_bits),
            "link_row": In(g.page_bits),
            "line":     Out(range(g.pages * g.lines)),
            "line_row": In(g.data_width),
            "writes":   Out(DmaWritePort(function_id_width=g.id_width, tag_width=WRITE_TAG,
                                         data_width=g.data_width)),
            "discards": Out(stream.Signature(g.packet)),
            "ends":     Out(stream.Signature(self.end)),
            "accepted": Out(1),
            "issued":   Out(8),
            "received": Out(data.StructLayout({"valid": 1, "row": g.row_bits, "octets": 14})),
            "failures": Out(stream.Signature(g.id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        beat_shape = self.writes.beats.payload.shape()
        m.submodules.beats = beats = Queue(data.StructLayout({
            "beat": beat_shape, "end": self.end, "ends": 1}), depth=16)
        m.submodules.discards = discards = Queue(g.packet, depth=4)
        m.submodules.ends     = ends     = Queue(self.end, depth=8)
        m.submodules.failures = failures = Queue(unsigned(g.id_width), depth=4)
        wiring.connect(m, discards.o, wiring.flipped(self.discards))
        wiring.connect(m, ends.o, wiring.flipped(self.ends))
        wiring.connect(m, failures.o, wiring.flipped(self.failures))
        stop = self._read(m, beats.i, beats.level, discards.i)

        # What leaves, and what ends with it.
        out   = self.writes.beats
        plain = Signal()   # no octets: a marker, or a chain that ends without a write
        moves = Signal()
        m.d.comb += [
            plain.eq(beats.o.p.beat.length == 0),
            out.payload.eq(beats.o.p.beat),
            out.valid.eq(beats.o.valid & ~plain & ends.i.ready),
            moves.eq(beats.o.valid & ends.i.ready & (plain | out.ready)),
            beats.o.ready.eq(moves),
            ends.i.payload.eq(beats.o.p.end),
            ends.i.valid.eq(moves & beats.o.p.ends),
            self.accepted.eq(self.writes.answers.valid),
        ]
        with m.If(moves & ~plain & out.p.last):
            m.d.sync += self.issued.eq(self.issued + 1)

        # Failures: a refused write, or a chain that was wrong.
        answers = self.writes.answers
        refused = Signal()
        m.d.comb += [
            refused.eq(answers.valid & answers.p.error),
            failures.i.valid.eq(refused | stop.valid),
            failures.i.payload.eq(Mux(refused, answers.p.function_id, stop.payload)),
            stop.ready.eq(failures.i.ready & ~refused),
        ]

        return m

    def _read(self, m, beats, level, discards):
        """Segments into lines, lines into beats."""
        g = self.geometry
        octet_bits = (g.octets - 1).bit_length()
        stop = stream.Signature(g.id_width).create()
        segment = Signal(g.segment)
        place   = Signal(signed(16))   # octet of the frame at which the segment begins
        shift   = Signal(octet_bits)
        line    = Signal(signed(16))   # line of the frame that goes next
        hops    = Signal(5)
        page    = Signal(g.page_bits)
        number  = Signal(16)           # lines gone
        total   = Signal(16)           # lines to go, the first included
        incoming = self.segments.p
        m.d.comb += place.eq(incoming.offset - NET_HDR_OCTETS)

        goes  = Signal()
        inside = Signal()
        m.d.comb += [
            inside.eq(line >= 0),
            self.page.eq(page),
            self.line.eq(Cat(line[:(g.lines - 1).bit_length()], page)),
        ]
        none = Signal()
        m.d.comb += none.eq(incoming.marker | incoming.error | (incoming.length == 0))
        turned = Signal()
        end = Signal(self.end)
        m.d.comb += [
            end.slot.eq(segment.slot),
            end.length.eq(Mux(segment.short | segment.error, 0,
                              segment.packet.length + NET_HDR_OCTETS)),
            end.error.eq(segment.error), end.marker.eq(segment.marker),
            end.upto.eq(segment.upto), end.final.eq(segment.final), end.skip.eq(segment.skip),
        ]
        last_line = Signal()
        m.d.comb += last_line.eq(number + 1 == total)
        bare = Signal()
        gone = Signal()
        m.d.comb += discards.payload.eq(segment.packet)
        m.d.comb += stop.payload.eq(segment.function_id)
        m.d.sync += self.received.valid.eq(0)
        counted = [self.received.valid.eq(~segment.short & ~segment.error),
                   self.received.octets.eq(segment.packet.length),
                   self.received.row.eq(g.row_of(segment.function_id))]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += segment.eq(incoming)
                m.d.sync += [
                    shift.eq(place[:octet_bits]), line.eq(place >> octet_bits),
                    hops.eq(Mux(place < 0, 0, place >> 9)), page.eq(incoming.packet.page),
                    number.eq(0),
                    total.eq(((incoming.length + g.octets - 1) >> octet_bits) + 1)]
                m.d.comb += self.segments.ready.eq(1)
                with m.If(self.segments.valid):
                    m.next = "LINES"
                    with m.If(place >= 512):
                        m.next = "HOP"
                    with m.If(none):
                        m.next = "BARE"
            with m.State("HOP"):
                m.next = "HOPPED"
            with m.State("HOPPED"):
                m.d.sync += [page.eq(self.link_row), hops.eq(hops - 1)]
                m.next = "HOP"
                with m.If(hops == 1):
                    m.next = "LINES"
            with m.State("LINES"):
                m.d.comb += goes.eq((level < 9) & ~turned)
                with m.If(goes):
                    m.d.sync += [number.eq(number + 1), line.eq(line + 1)]
                    with m.If(inside & (line[:(g.lines - 1).bit_length()] == g.lines - 1)):
                        m.d.sync += turned.eq(1)
                    with m.If(last_line):
                        m.next = "IDLE"
                        with m.If(segment.last):
                            m.d.comb += discards.valid.eq(1)
                            m.d.sync += counted
                            with m.If(~discards.ready):
                                m.d.sync += self.received.valid.eq(0)
                                m.next = "LAST"
                with m.If(turned):
                    m.d.sync += [turned.eq(0), page.eq(self.link_row)]
            with m.State("LAST"):
                m.d.comb += discards.valid.eq(1)
                m.d.sync += turned.eq(0)
                with m.If(discards.ready):
                    m.d.sync += counted
                    m.next = "IDLE"
            with m.State("BARE"):
                # Behind everything that was cut before.
                m.d.comb += bare.eq((level < 9) & ~gone & (segment.last | segment.marker))
                with m.If(bare | ~(segment.last | segment.marker)):
                    m.next = "IDLE"
                    with m.If(segment.last & ~segment.marker):
                        m.next = "LAST"
                        with m.If(segment.error):
                            m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += stop.valid.eq(1)
                m.d.sync += segment.short.eq(1)
                with m.If(stop.ready):
                    m.next = "LAST"
        with m.If(self.segments.valid & self.segments.ready):
            m.d.sync += turned.eq(0)

        # The line's way: memory, rotator, joined with the one before, queue.
        stage = data.StructLayout({
            "valid": 1, "first": 1, "last": 1, "inside": 1, "near": 1, "shift": octet_bits})
        a, b, c = (Signal(stage, name=name) for name in "abc")
        m.d.comb += [
            a.valid.eq(goes), a.first.eq(number == 0), a.last.eq(last_line),
            a.inside.eq(inside), a.near.eq(line == -1), a.shift.eq(shift)]
        # What the beats say is constant over a segment, and lines follow each other in order.
        facts = data.StructLayout({
            "function_id": g.id_width, "address": 64, "length": 14, "end": self.end, "ends": 1})
        facts_a, facts_b, facts_c = (Signal(facts, name=f"facts_{n}") for n in "abc")
        m.d.comb += [
            facts_a.function_id.eq(segment.function_id), facts_a.address.eq(segment.address),
            facts_a.length.eq(segment.length), facts_a.end.eq(end),
            facts_a.ends.eq(segment.last)]
        m.d.sync += [b.eq(a), c.eq(b), facts_b.eq(facts_a), facts_c.eq(facts_b)]
        fetched = Signal(g.data_width)
        m.d.comb += fetched.eq(Mux(b.inside, self.line_row,
                                   Mux(b.near, 1 << 8 * (g.octets - 2), 0)))
        down = Signal(octet_bits)
        m.d.comb += down.eq(-b.shift)
        rotated = rotate_left(m, fetched, down, name="rotated")
        rotated_r = Signal(g.data_width)
        before    = Signal(g.data_width)
        begun     = Signal()
        m.d.sync += rotated_r.eq(rotated)
        # `c` is the line that completes a beat; its own first octets are the beat's last ones.
        with m.If(c.valid):
            m.d.sync += [before.eq(rotated_r), begun.eq(c.first)]
        joined = Signal(g.data_width)
        for lane in range(g.octets):
            low = 8 * lane
            m.d.comb += joined[low:low + 8].eq(
                Mux(lane + c.shift < g.octets, before[low:low + 8], rotated_r[low:low + 8]))
        m.d.comb += gone.eq(a.valid | b.valid | c.valid)
        beat = beats.p.beat
        m.d.comb += [
            beats.valid.eq(c.valid & ~c.first | bare),
            beat.data.as_value().eq(joined),
            beat.function_id.eq(facts_c.function_id), beat.address.eq(facts_c.address),
            beat.length.eq(Mux(bare, 0, facts_c.length)),
            beat.first.eq(begun), beat.last.eq(c.last),
            beats.p.end.eq(Mux(bare, end, facts_c.end)),
            beats.p.ends.eq(bare | facts_c.ends & c.last),
        ]
        return stop
