"""Frames out of guest memory: segments into reads that land in the pages of a packet buffer."""

# Ref: virtio-1.2, 5.1.6.2 (Packet Transmission)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import DmaReadPort
from .layouts import PAGE_OCTETS
from .spec import NET_HDR_OCTETS
from .table import Pool, Table

__all__ = ["Gather", "HEADER_ROW"]

HEADER_ROW = 16  # octets; a header fills the upper 12


class Gather(wiring.Component):
    """Read the segments of transmit chains into pages; say when all packets of a batch are there.

    A page holds 512 octets of one frame. The header before it is passed over, or, where checksums
    are left to us, read with the frame's first octets and kept apart. Each read asks for octets of
    one page, in the lanes where they belong, so an answer is written as it comes.

    Timing
    ------
    1 cycle a segment and 1 for each further page of it; an answer is written 1 cycle later; one
    answer or end of a batch is booked per cycle.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    segments : ``In(stream(segment))``
        Pieces of chains.
    batch, batch_row
        Address of the batch table's row, which follows by 1 cycle.
    pages : ``In(stream)``
        Free pages; there is always one, since room was claimed before.
    unused, unused_valid : ``Out``
        Pages that were claimed for a chain and not needed.
    reads : ``Out(DmaReadPort(...))``
        DMA.
    line_write : ``Out``
        Octets into the packet buffer.
    link_write : ``Out``
        The page after a page.
    packet_write : ``Out``
        A frame, by its slot.
    header_write : ``Out``
        Octets of its header, by its slot; the header ends where the row ends.
    ready_write : ``Out``
        Batches all of whose frames are there.
    ready : ``Out(stream)``
        Their queues.
    free_reads : ``Out``
        Reads that may still be asked for.
    look : ``In``; held : ``Out``
        Row of a function, and 1 cycle later: reads of it that were not answered yet.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.tag_width = (g.gather_tags - 1).bit_length()
        self.packet = data.StructLayout({
            "page": range(g.pages), "length": 14, "pages": range(g.frame_pages + 1), "error": 1,
            "csum": 1})
        super().__init__({
            "segments":     In(stream.Signature(g.segment)),
            "batch":        Out(range(g.batches)),
            "batch_row":    In(g.batch_row),
            "pages":        In(stream.Signature(g.page_bits)),
            "unused":       Out(range(g.frame_pages + 1)),
            "unused_valid": Out(1),
            "reads":        Out(DmaReadPort(function_id_width=g.id_width,
                                            tag_width=self.tag_width, data_width=g.data_width)),
            "line_write":   Out(data.StructLayout({
                "enable": g.octets, "line": range(g.pages * g.lines), "row": g.data_width})),
            "link_write":   Out(data.StructLayout({
                "enable": 1, "page": g.page_bits, "row": g.page_bits})),
            "packet_write": Out(data.StructLayout({
                "enable": 1, "slot": g.slot, "row": self.packet})),
            "header_write": Out(data.StructLayout({
                "enable": HEADER_ROW, "slot": g.slot, "row": 8 * HEADER_ROW})),
            "ready_write":  Out(data.StructLayout({
                "enable": 1, "batch": range(g.batches),
                "row": data.StructLayout({"generation": 1, "error": 1})})),
            "ready":        Out(stream.Signature(g.queue_bits)),
            "free_reads":   Out(range(g.gather_tags + 1)),
            "look":         In(g.row_bits),
            "held":         Out(range(g.gather_tags + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        event = data.StructLayout({
            "batch": range(g.batches), "total": 12, "final": 1, "error": 1})
        m.submodules.finals = finals = Queue(event, depth=8, latency=1)
        m.submodules.ends   = ends   = Queue(event, depth=g.gather_tags, latency=0)
        m.submodules.tags   = tags   = Pool(count=g.gather_tags)
        m.submodules.tagged = tagged = Table(data.StructLayout({
            "slot": g.slot, "line": range(g.pages * g.lines), "above": 2}), depth=g.gather_tags)
        m.d.comb += self.free_reads.eq(tags.free)
        self._ask(m, finals.i, tags, tagged)
        self._answers(m, ends.i, tags, tagged)
        self._account(m, finals.o, ends.o)
        self._hold(m)
        return m

    def _hold(self, m):
        """Reads of each function that are under way: two counts, each with one writer."""
        g = self.geometry
        width = len(self.held)
        m.submodules.asked    = asked    = Table(width, depth=1 << g.row_bits, readers=2)
        m.submodules.answered = answered = Table(width, depth=1 << g.row_bits, readers=2)
        request, beat = self.reads.requests, self.reads.beats
        # One read a cycle: its function is looked up when it leaves, counted a cycle later.
        for table, moves, function_id in (
                (asked, request.valid & request.ready, request.p.function_id),
                (answered, beat.valid & beat.p.last, beat.p.function_id)):
            moved = Signal()
            row   = Signal(g.row_bits)
            m.d.sync += [moved.eq(moves), row.eq(g.row_of(function_id))]
            m.d.comb += [
                table.addresses[0].eq(g.row_of(function_id)), table.addresses[1].eq(self.look),
                table.address.eq(row), table.row.eq(table.rows[0] + 1), table.enable.eq(moved)]
        m.d.comb += self.held.eq(asked.rows[1] - answered.rows[1])

    def _ask(self, m, finals, tags, tagged):
        """One segment after another; its pages one a cycle."""
        g = self.geometry
        m.submodules.places = places = Table(data.StructLayout({
            "first": g.page_bits, "page": g.page_bits, "pages": range(g.frame_pages + 1)}),
            depth=1 << Shape.cast(g.slot).width)
        m.submodules.counts = counts = Table(data.StructLayout({
            "packets": range(g.batch + 1), "reads": 12, "error": 1}), depth=g.batches)
        m.submodules.border = border = Buffer(self.reads.requests.payload.shape())
        wiring.connect(m, border.o, wiring.flipped(self.reads.requests))

        # First stage: a segment, its chain's rows looked up while it waits.
        incoming = self.segments.p
        busy    = Signal()
        take    = Signal()
        fresh   = Signal()
        segment = Signal(g.segment)
        address = Signal(64)
        left    = Signal(14)
        place   = Signal(signed(15))   # octet of the frame; the header lies below 0
        before  = Signal(4)            # octets of the header yet to come
        skip    = Signal(4)
        m.d.comb += [
            places.addresses[0].eq(incoming.slot.as_value()),
            counts.addresses[0].eq(incoming.slot.batch),
            self.segments.ready.eq(take),
            before.eq(Mux(incoming.offset < NET_HDR_OCTETS,
                          NET_HDR_OCTETS - incoming.offset, 0)),
            skip.eq(Mux(incoming.csum, 0,
                        Mux(incoming.length < before, incoming.length, before))),
        ]
        with m.If(take):
            m.d.sync += [
                busy.eq(self.segments.valid), segment.eq(incoming),
                address.eq(incoming.address + skip), left.eq(incoming.length - skip),
                place.eq(Mux(incoming.csum | (before == 0), incoming.offset - NET_HDR_OCTETS, 0))]

        # Second stage: a read a cycle; the rows are those just read, or what became of them.
        row, tally = Signal.like(places.row), Signal.like(counts.row)
        kept_row, kept_tally = Signal.like(row), Signal.like(tally)
        m.d.comb += [
            row.eq(Mux(fresh, places.rows[0], kept_row)),
            tally.eq(Mux(fresh, counts.rows[0], kept_tally)),
        ]
        with m.If(fresh & (segment.offset == 0)):
            m.d.comb += row.pages.eq(0)
        new   = Signal()
        above = Signal()   # the read begins in the header
        room  = Signal(range(PAGE_OCTETS + 1))
        size  = Signal(range(PAGE_OCTETS + 1))
        reads = Signal()
        chunk = Signal()
        over  = Signal()
        low   = place[:9]
        octet_bits = (g.octets - 1).bit_length()
        after = Signal.like(row)
        octets = Signal(14)
        request = border.i
        m.d.comb += [
            above.eq(place < 0),
            reads.eq((left != 0) & ~segment.error),
            # A frame's first octet opens its first page, be it behind its header.
            new.eq(reads & Mux(above, place + size > 0, low == 0)),
            room.eq(Mux(above, PAGE_OCTETS - 64 - place, PAGE_OCTETS - low)),
            size.eq(Mux(reads, Mux(left < room, left, room), 0)),
            octets.eq(Mux(place + size > 0, place + size, 0)),
            after.page.eq(Mux(new, self.pages.payload, row.page)),
            after.first.eq(Mux(new & (row.pages == 0), self.pages.payload, row.first)),
            after.pages.eq(row.pages + new),
            request.p.function_id.eq(segment.function_id),
            request.p.address.eq(address), request.p.length.eq(size),
            request.p.lane.eq(place[:octet_bits]), request.p.tag.eq(tags.o.payload),
            tagged.address.eq(tags.o.payload), tagged.row.slot.eq(segment.slot),
            tagged.row.line.eq(Mux(above, place >> octet_bits, place[octet_bits:9])
                               + (after.page << 9 - octet_bits)),
            tagged.row.above.eq(Mux(above, -(place >> octet_bits), 0)),
            tagged.enable.eq(chunk), tags.o.ready.eq(chunk), self.pages.ready.eq(chunk & new),
            self.link_write.page.eq(row.page), self.link_write.row.eq(after.page),
            self.link_write.enable.eq(chunk & new & (row.pages != 0)),
            places.address.eq(segment.slot.as_value()), places.row.eq(after),
            counts.address.eq(segment.slot.batch),
            self.packet_write.slot.eq(segment.slot),
            self.packet_write.row.page.eq(after.first),
            self.packet_write.row.length.eq(octets),
            self.packet_write.row.pages.eq(after.pages),
            self.packet_write.row.error.eq(segment.error),
            self.packet_write.row.csum.eq(segment.csum),
            self.unused.eq(segment.frame_pages - after.pages),
        ]
        count = Signal(12)
        ended = Signal()
        goes  = Signal()
        m.d.comb += [
            count.eq(tally.reads + reads),
            ended.eq(segment.last & (tally.packets + 1 == segment.count)),
            goes.eq(busy & finals.ready),
            request.valid.eq(goes & reads & tags.o.valid & (~new | self.pages.valid)),
            chunk.eq(request.valid & request.ready),
            over.eq(goes & (~reads | chunk & (left == size))),
            take.eq(~busy | over),
            finals.valid.eq(over & ended),
            finals.p.batch.eq(segment.slot.batch), finals.p.total.eq(count),
            finals.p.final.eq(1), finals.p.error.eq(tally.error | segment.error),
            # [virtio-1.2: 2.7.13] if the chain goes on, its place is kept.
            places.enable.eq(over & ~segment.last), counts.enable.eq(over),
            self.packet_write.enable.eq(over & segment.last),
            self.unused_valid.eq(over & segment.last),
        ]
        with m.If(~ended):
            m.d.comb += [
                counts.row.packets.eq(tally.packets + segment.last), counts.row.reads.eq(count),
                counts.row.error.eq(tally.error | segment.error)]
        m.d.sync += [fresh.eq(take), kept_row.eq(row), kept_tally.eq(tally)]
        with m.If(chunk & ~over):
            m.d.sync += [address.eq(address + size), left.eq(left - size), place.eq(place + size),
                         kept_row.eq(after), kept_tally.reads.eq(count)]

    def _answers(self, m, ends, tags, tagged):
        """Beats into the packet buffer."""
        g = self.geometry
        beats = self.reads.beats
        beat  = Signal.like(beats.payload)
        valid = Signal()
        number = Signal(range(g.lines + 2))
        now    = Signal.like(number)
        header = Signal()
        row    = tagged.rows[0]
        m.d.comb += tagged.addresses[0].eq(beats.p.tag)
        m.d.sync += [valid.eq(beats.valid), beat.eq(beats.payload)]
        m.d.comb += now.eq(Mux(beat.first, 0, number))
        with m.If(valid):
            m.d.sync += number.eq(now + 1)
        m.d.comb += [
            header.eq(now < row.above),
            self.line_write.line.eq(row.line + now),
            self.line_write.row.eq(beat.data.as_value()),
            self.line_write.enable.eq(Mux(valid & ~header, beat.strobe, 0)),
            tags.i.valid.eq(valid & beat.last), tags.i.payload.eq(beat.tag),
            ends.valid.eq(valid & beat.last), ends.p.batch.eq(row.slot.batch),
            ends.p.error.eq(beat.error), self.header_write.slot.eq(row.slot),
        ]
        # The header is the end of the line before the frame, or of the two lines before it.
        lanes = min(g.octets, HEADER_ROW)
        octets, strobe = beat.data.as_value()[-8 * lanes:], beat.strobe[-lanes:]
        m.d.comb += self.header_write.row.eq(octets.replicate(HEADER_ROW // lanes))
        with m.If(valid & header):
            if lanes == HEADER_ROW:
                m.d.comb += self.header_write.enable.eq(strobe)
            else:
                with m.If(row.above - now == 1):
                    m.d.comb += self.header_write.enable[lanes:].eq(strobe)
                with m.Else():
                    m.d.comb += self.header_write.enable[:lanes].eq(strobe)

    def _account(self, m, finals, ends):
        """A batch is there when it was asked for to its end and all its reads were answered."""
        g = self.geometry
        m.submodules.sums = sums = Table(data.StructLayout({
            "reads": 12, "total": 12, "final": 1, "error": 1}), depth=g.batches)
        m.submodules.ready = ready = Queue(unsigned(g.queue_bits), depth=4, latency=0)
        wiring.connect(m, ready.o, wiring.flipped(self.ready))
        goes   = Signal()
        chosen = Signal.like(finals.payload)
        valid  = Signal()
        asked  = Signal()   # the event is the batch's last request, not an answer
        event  = Signal.like(finals.payload)
        m.d.comb += [
            goes.eq(ready.level < 3),
            chosen.eq(Mux(finals.valid, finals.payload, ends.payload)),
            finals.ready.eq(goes), ends.ready.eq(goes & ~finals.valid),
            sums.addresses[0].eq(chosen.batch), self.batch.eq(chosen.batch),
        ]
        m.d.sync += [valid.eq(goes & (finals.valid | ends.valid)), asked.eq(finals.valid),
                     event.eq(chosen)]
        row   = Signal.like(sums.row)
        whole = Signal()
        m.d.comb += [
            row.reads.eq(sums.rows[0].reads + ~asked),
            row.total.eq(Mux(asked, event.total, sums.rows[0].total)),
            row.final.eq(sums.rows[0].final | asked),
            row.error.eq(sums.rows[0].error | event.error),
            whole.eq(row.final & (row.reads == row.total)),
            sums.address.eq(event.batch), sums.enable.eq(valid),
            ready.i.payload.eq(self.batch_row.queue), ready.i.valid.eq(valid & whole),
            self.ready_write.enable.eq(valid & whole),
            self.ready_write.batch.eq(event.batch),
            self.ready_write.row.generation.eq(self.batch_row.generation),
            self.ready_write.row.error.eq(row.error),
        ]
        with m.If(~whole):
            m.d.comb += sums.row.eq(row)
