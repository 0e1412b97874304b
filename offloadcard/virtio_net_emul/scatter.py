"""Frames into guest memory: a header and a frame, cut to the segments of a chain."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaWritePort
from ..rtl.rotate import rotate_left
from .side import WRITE_TAG
from .spec import NET_HDR_OCTETS, VIRTIO_NET_HDR_F_DATA_VALID, VirtioNetHdr

__all__ = ["Scatter"]

LINES = 9  # of beats on their way: no more are begun


class Scatter(wiring.Component):
    """Write each segment's octets of the header and its frame; report ended chains and markers.

    The header is all zero but ``num_buffers`` and a flag, so it is made here and never stored.
    Lines of the buffer pass one rotator; two neighbours make one beat. The last beat of a segment
    may need no line of its own: it leaves while the first line of the next segment comes.

    Timing
    ------
    A segment takes a cycle for each line that it touches, the header's included; 2 cycles more for
    each page that it must walk to, unless it goes on where the one before ended.

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
    waits : ``Out(1)``
        Lines wait for the port.
    failures : ``Out(stream)``
        Functions whose memory did not answer, or whose chain was wrong.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.end = data.StructLayout({
            "slot": g.slot, "length": 14, "error": 1, "marker": 1, "upto": range(g.batch + 1),
            "final": 1, "skip": 1, "holds": 1, "before": 4})
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
            "waits":    Out(1),
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
        m.d.sync += self.waits.eq(beats.level >= LINES)
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
        line_bits  = (g.lines - 1).bit_length()
        self.decoded = data.StructLayout({
            "segment": g.segment, "line": signed(16), "shift": octet_bits, "lines": 14,
            "flush": 1, "bare": 1, "hops": 5, "follows": 1})
        self.stage = data.StructLayout({
            "valid": 1, "first": 1, "second": 1, "last": 1, "flush": 1, "inside": 1, "above": 2,
            "shift": octet_bits, "checked": 1, "buffers": 4})
        # What the beats say is constant over a segment, and lines follow each other in order.
        self.facts = data.StructLayout({
            "function_id": g.id_width, "address": 64, "length": 14, "end": self.end, "ends": 1})
        next_ = stream.Signature(self.decoded).create()
        stage = Signal(self.stage)
        facts = Signal(self.facts)
        self._decode(m, next_, octet_bits)
        stop = self._lines(m, next_, level, discards, stage, facts, line_bits)
        self._join(m, beats, stage, facts)
        return stop

    def _decode(self, m, next_, octet_bits):
        """A segment into its lines: where it begins, how many, whether a beat needs none."""
        g = self.geometry
        incoming = self.segments.p
        place = Signal(signed(16))    # octet of the frame at which the segment begins
        span  = Signal(15)
        lines = Signal(14)
        page  = Signal(5)             # pages before it
        bare  = Signal()              # nothing is written: a marker, or a chain that ends so
        final = Signal(signed(16))    # of the one before, to go on there
        last  = Signal(5)
        open_ = Signal()
        whose = Signal(g.page_bits)
        mine  = Signal()
        new   = Signal(self.decoded)
        m.d.comb += [
            place.eq(incoming.offset - NET_HDR_OCTETS),
            span.eq(place[:octet_bits] + incoming.length - 1),
            lines.eq((span >> octet_bits) + 1),
            page.eq(Mux(place < 0, 0, place >> 9)),
            bare.eq(incoming.marker | incoming.error | (incoming.length == 0)),
            mine.eq(open_ & (final == place) & (whose == incoming.packet.page)),
            new.segment.eq(incoming), new.line.eq(place >> octet_bits),
            new.shift.eq(place[:octet_bits]),
            new.lines.eq(Mux(bare, 1, lines)),
            new.flush.eq(bare | (lines == (incoming.length + g.octets - 1) >> octet_bits)),
            new.bare.eq(bare), new.follows.eq(mine), new.hops.eq(page - Mux(mine, last, 0)),
        ]
        skips = Signal()
        m.d.comb += [
            # An empty piece in the middle of a chain is nothing at all.
            skips.eq(bare & ~incoming.marker & ~incoming.last),
            self.segments.ready.eq(~next_.valid | next_.ready),
        ]
        with m.If(self.segments.ready):
            m.d.sync += [next_.valid.eq(self.segments.valid & ~skips), next_.payload.eq(new)]
        with m.If(self.segments.valid & self.segments.ready & ~bare):
            ends = Signal(signed(16))
            m.d.comb += ends.eq(place + incoming.length)
            m.d.sync += [
                open_.eq(~incoming.last | incoming.more), final.eq(ends),
                whose.eq(incoming.packet.page),
                last.eq(Mux(ends <= 0, 0, (ends - 1) >> 9))]

    def _lines(self, m, next_, level, discards, stage, facts, line_bits):
        """One line a cycle, and the next segment's first behind the last one."""
        g = self.geometry
        stop    = stream.Signature(g.id_width).create()
        now     = Signal(self.decoded)
        segment = now.segment
        busy    = Signal()
        first   = Signal()
        second  = Signal()
        page    = Signal(g.page_bits)
        page_r  = Signal(g.page_bits)  # whose successor is known
        inside  = Signal()
        turns   = Signal()             # the next line lies in the next page
        last    = Signal()
        goes    = Signal()
        over    = Signal()
        ends    = Signal()             # the last octet of a frame
        told    = Signal()             # of an error
        m.d.comb += [
            inside.eq((now.line >= 0) & ~now.bare), last.eq(now.lines == 1),
            turns.eq(inside & now.line[:line_bits].all() & ~last),
            ends.eq(segment.last & ~segment.marker & ~segment.more),
            self.page.eq(page), self.line.eq(Cat(now.line[:line_bits], page)),
            discards.payload.eq(segment.packet), stop.payload.eq(segment.function_id),
            stop.valid.eq(busy & segment.error & ~told),
            goes.eq(busy & (level < LINES) & (told | ~segment.error)
                    & ~(turns & (page_r != page)) & ~(last & ends & ~discards.ready)),
            over.eq(goes & last),
            discards.valid.eq(over & ends),
        ]
        m.d.sync += [
            page_r.eq(page), told.eq(~over & (told | stop.valid & stop.ready)),
            self.received.valid.eq(over & ends & ~segment.short & ~segment.error),
            self.received.octets.eq(segment.packet.length),
            self.received.row.eq(g.row_of(segment.function_id)),
        ]
        with m.If(goes):
            m.d.sync += [now.line.eq(now.line + 1), now.lines.eq(now.lines - 1),
                         first.eq(0), second.eq(first)]
            with m.If(turns):
                m.d.sync += page.eq(self.link_row)

        hops = Signal(5)
        take = Signal()
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [take.eq(over | ~busy), next_.ready.eq(take)]
                with m.If(take):
                    m.d.sync += [now.eq(next_.payload), first.eq(1), second.eq(0)]
                    m.d.sync += [busy.eq(next_.valid), hops.eq(next_.p.hops)]
                    with m.If(~next_.p.follows & ~next_.p.bare):
                        m.d.sync += page.eq(next_.p.segment.packet.page)
                    with m.If(next_.valid & (next_.p.hops != 0) & ~next_.p.bare):
                        m.d.sync += busy.eq(0)
                        m.next = "HOP"
            with m.State("HOP"):
                m.next = "HOPPED"
            with m.State("HOPPED"):
                m.d.sync += [page.eq(self.link_row), hops.eq(hops - 1)]
                m.next = "HOP"
                with m.If(hops == 1):
                    m.d.sync += busy.eq(1)
                    m.next = "TAKE"

        end = facts.end
        m.d.comb += [
            stage.valid.eq(goes), stage.first.eq(first), stage.second.eq(second),
            stage.last.eq(last), stage.flush.eq(now.flush), stage.inside.eq(inside),
            stage.above.eq(Mux(inside, 0, -now.line)), stage.shift.eq(now.shift),
            stage.checked.eq(segment.packet.checked), stage.buffers.eq(segment.buffers),
            facts.function_id.eq(segment.function_id), facts.address.eq(segment.address),
            facts.length.eq(Mux(now.bare, 0, segment.length)),
            facts.ends.eq(segment.last | segment.marker),
            end.slot.eq(segment.slot),
            end.length.eq(Mux(segment.short | segment.error, 0,
                              segment.offset + segment.length - segment.start)),
            end.error.eq(segment.error), end.marker.eq(segment.marker),
            end.upto.eq(segment.upto), end.final.eq(segment.final), end.skip.eq(segment.skip),
            end.holds.eq(segment.holds), end.before.eq(segment.before),
        ]
        return stop

    def _join(self, m, beats, a, facts_a):
        """The line's way: memory, rotator, joined with the one before, queue."""
        g = self.geometry
        b, c, d = (Signal(self.stage, name=name) for name in "bcd")
        facts_b, facts_c, facts_d = (Signal(self.facts, name=f"facts_{n}") for n in "bcd")
        m.d.sync += [b.eq(a), c.eq(b), facts_b.eq(facts_a), facts_c.eq(facts_b)]
        # [virtio-1.2: 5.1.6.4] the header: the end of the line before the frame, or of two lines.
        header  = Signal(VirtioNetHdr)
        above   = Signal(max(128, g.data_width))
        fetched = Signal(g.data_width)
        m.d.comb += [
            header.flags.eq(Mux(b.checked, VIRTIO_NET_HDR_F_DATA_VALID, 0)),
            header.num_buffers.eq(b.buffers + 1), above[-96:].eq(header),
            fetched.eq(Mux(b.inside, self.line_row, Mux(b.above == 1, above[-g.data_width:],
                                                        above[:g.data_width]))),
        ]
        down = Signal(len(b.shift))
        m.d.comb += down.eq(-b.shift)
        rotated = rotate_left(m, fetched, down, name="rotated")
        rotated_r = Signal(g.data_width)
        before    = Signal(g.data_width)
        m.d.sync += rotated_r.eq(rotated)
        # `c` completes the beat of the line before it; `d` was a last line with a beat left.
        with m.If(c.valid):
            m.d.sync += [before.eq(rotated_r), facts_d.eq(facts_c), d.first.eq(c.first)]
        m.d.sync += d.valid.eq(c.valid & c.last & c.flush)
        joined = Signal(g.data_width)
        for lane in range(g.octets):
            low = 8 * lane
            m.d.comb += joined[low:low + 8].eq(
                Mux(d.valid | (lane + c.shift < g.octets), before[low:low + 8],
                    rotated_r[low:low + 8]))
        beat  = beats.p.beat
        said  = Signal(self.facts)
        m.d.comb += [
            said.eq(Mux(d.valid, facts_d, facts_c)),
            beats.valid.eq(d.valid | c.valid & ~c.first),
            beat.data.as_value().eq(joined),
            beat.function_id.eq(said.function_id), beat.address.eq(said.address),
            beat.length.eq(said.length),
            beat.first.eq(Mux(d.valid, d.first, c.second)),
            beat.last.eq(d.valid | c.last & ~c.flush),
            beats.p.end.eq(said.end), beats.p.ends.eq(said.ends & beat.last),
        ]
