"""Frames out of guest memory: segments into reads that land in the pages of a packet buffer."""

# Ref: virtio-1.2, 5.1.6.2 (Packet Transmission)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaReadPort
from .layouts import PAGE_OCTETS
from .spec import NET_HDR_OCTETS
from .table import Pool, Table

__all__ = ["Gather"]


class Gather(wiring.Component):
    """Read the segments of transmit chains into pages; say when all packets of a batch are there.

    A page holds 512 octets of one frame, the header before it is passed over. Each read asks for
    octets of one page, in the lanes where they belong, so an answer is written as it comes.

    Timing
    ------
    2 cycles a segment and 1 a page of it, back to back; an answer is written 1 cycle later.

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
    ready_write : ``Out``
        Batches all of whose frames are there.
    ready : ``Out(stream)``
        Their queues.
    free_reads : ``Out``
        Reads that may still be asked for.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.tag_width = (g.gather_tags - 1).bit_length()
        self.packet = data.StructLayout({
            "page": range(g.pages), "length": 14, "pages": range(g.frame_pages + 1), "error": 1})
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
            "ready_write":  Out(data.StructLayout({
                "enable": 1, "batch": range(g.batches),
                "row": data.StructLayout({"generation": 1, "error": 1})})),
            "ready":        Out(stream.Signature(g.queue_bits)),
            "free_reads":   Out(range(g.gather_tags + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        event = data.StructLayout({
            "batch": range(g.batches), "total": 12, "final": 1, "error": 1})
        m.submodules.finals = finals = Queue(event, depth=8)
        m.submodules.ends   = ends   = Queue(event, depth=g.gather_tags)
        m.submodules.tags   = tags   = Pool(count=g.gather_tags)
        m.submodules.tagged = tagged = Table(data.StructLayout({
            "batch": range(g.batches), "line": range(g.pages * g.lines)}), depth=g.gather_tags)
        m.d.comb += self.free_reads.eq(tags.free)
        self._ask(m, finals.i, tags, tagged)
        self._answers(m, ends.i, tags, tagged)
        self._account(m, finals.o, ends.o)
        return m

    def _ask(self, m, finals, tags, tagged):
        """One segment after another; its pages one a cycle."""
        g = self.geometry
        m.submodules.places = places = Table(data.StructLayout({
            "first": g.page_bits, "page": g.page_bits, "pages": range(g.frame_pages + 1)}),
            depth=1 << Shape.cast(g.slot).width)
        m.submodules.counts = counts = Table(data.StructLayout({
            "packets": range(g.batch + 1), "reads": 12, "error": 1}), depth=g.batches)
        m.d.comb += [places.addresses[0].eq(self.segments.p.slot.as_value()),
                     counts.addresses[0].eq(self.segments.p.slot.batch)]

        segment = Signal(g.segment)
        place   = Signal.like(places.row)
        tally   = Signal.like(counts.row)
        address = Signal(64)
        left    = Signal(14)
        frame   = Signal(14)   # place in the frame
        skip    = Signal(4)
        m.d.comb += [
            places.address.eq(segment.slot.as_value()), places.row.eq(place),
            counts.address.eq(segment.slot.batch),
        ]
        # What of this segment belongs to the header.
        incoming = self.segments.p
        before   = Signal(4)
        m.d.comb += before.eq(Mux(incoming.offset < NET_HDR_OCTETS,
                                  NET_HDR_OCTETS - incoming.offset, 0))
        m.d.comb += skip.eq(Mux(incoming.length < before, incoming.length, before))

        new   = Signal()
        page  = Signal(g.page_bits)
        room  = Signal(range(PAGE_OCTETS + 1))
        size  = Signal(range(PAGE_OCTETS + 1))
        chunk = Signal()
        low   = frame[:9]
        octet_bits = (g.octets - 1).bit_length()
        request = self.reads.requests
        m.d.comb += [
            new.eq(low == 0),
            page.eq(Mux(new, self.pages.payload, place.page)),
            room.eq(PAGE_OCTETS - low),
            size.eq(Mux(left < room, left, room)),
            request.p.function_id.eq(segment.function_id),
            request.p.address.eq(address),
            request.p.length.eq(size),
            request.p.lane.eq(low[:octet_bits]),
            request.p.tag.eq(tags.o.payload),
            tagged.address.eq(tags.o.payload),
            tagged.row.batch.eq(segment.slot.batch),
            tagged.row.line.eq(Cat(low[octet_bits:], page)),
            tagged.enable.eq(chunk),
            tags.o.ready.eq(chunk),
            self.pages.ready.eq(chunk & new),
            self.link_write.page.eq(place.page),
            self.link_write.row.eq(page),
            self.link_write.enable.eq(chunk & new & (frame != 0)),
            self.packet_write.slot.eq(segment.slot),
            self.packet_write.row.page.eq(place.first),
            self.packet_write.row.length.eq(frame),
            self.packet_write.row.pages.eq(place.pages),
            self.packet_write.row.error.eq(segment.error),
            self.unused.eq(segment.frame_pages - place.pages),
        ]
        ended = Signal()
        m.d.comb += [
            ended.eq(tally.packets + 1 == segment.count),
            finals.p.batch.eq(segment.slot.batch),
            finals.p.total.eq(tally.reads),
            finals.p.final.eq(1),
            finals.p.error.eq(tally.error | segment.error),
        ]

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.segments.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.segments.ready.eq(1)
                m.d.sync += [
                    segment.eq(incoming),
                    place.eq(places.rows[0]), tally.eq(counts.rows[0]),
                    address.eq(incoming.address + skip),
                    left.eq(incoming.length - skip),
                    frame.eq(Mux(incoming.offset < NET_HDR_OCTETS, 0,
                                 incoming.offset - NET_HDR_OCTETS)),
                ]
                with m.If(incoming.offset == 0):
                    m.d.sync += place.pages.eq(0)
                m.next = "READ"
                with m.If(incoming.error):
                    m.next = "LAST"
                with m.Elif(incoming.length == skip):
                    m.next = "KEEP"
                    with m.If(incoming.last):
                        m.next = "LAST"
            with m.State("READ"):
                m.d.comb += [
                    request.valid.eq(tags.o.valid & (~new | self.pages.valid)),
                    chunk.eq(request.valid & request.ready)]
                with m.If(chunk):
                    m.d.sync += [
                        address.eq(address + size), left.eq(left - size), frame.eq(frame + size),
                        place.page.eq(page), tally.reads.eq(tally.reads + 1),
                        place.pages.eq(place.pages + new)]
                    with m.If(frame == 0):
                        m.d.sync += place.first.eq(page)
                    with m.If(left == size):
                        m.next = "KEEP"
                        with m.If(segment.last):
                            m.next = "LAST"
            with m.State("KEEP"):
                # [virtio-1.2: 2.7.13] more of the chain is to come.
                m.d.comb += [places.enable.eq(1), counts.enable.eq(1), counts.row.eq(tally)]
                m.next = "IDLE"
            with m.State("LAST"):
                m.d.comb += finals.valid.eq(ended)
                with m.If(~ended | finals.ready):
                    m.d.comb += [
                        self.packet_write.enable.eq(1), self.unused_valid.eq(1),
                        counts.enable.eq(1)]
                    with m.If(~ended):
                        m.d.comb += [
                            counts.row.packets.eq(tally.packets + 1),
                            counts.row.reads.eq(tally.reads),
                            counts.row.error.eq(tally.error | segment.error)]
                    # Rows written in this cycle are read as written.
                    m.next = "IDLE"
                    with m.If(self.segments.valid):
                        m.next = "LOAD"

    def _answers(self, m, ends, tags, tagged):
        """Beats into the packet buffer."""
        g = self.geometry
        beats = self.reads.beats
        beat  = Signal.like(beats.payload)
        valid = Signal()
        number = Signal(range(g.lines))
        now    = Signal.like(number)
        m.d.comb += tagged.addresses[0].eq(beats.p.tag)
        m.d.sync += [valid.eq(beats.valid), beat.eq(beats.payload)]
        m.d.comb += now.eq(Mux(beat.first, 0, number))
        with m.If(valid):
            m.d.sync += number.eq(now + 1)
        m.d.comb += [
            self.line_write.line.eq(tagged.rows[0].line + now),
            self.line_write.row.eq(beat.data.as_value()),
            self.line_write.enable.eq(Mux(valid, beat.strobe, 0)),
            tags.i.valid.eq(valid & beat.last), tags.i.payload.eq(beat.tag),
            ends.valid.eq(valid & beat.last), ends.p.batch.eq(tagged.rows[0].batch),
            ends.p.error.eq(beat.error),
        ]

    def _account(self, m, finals, ends):
        """A batch is there when it was asked for to its end and all its reads were answered."""
        g = self.geometry
        m.submodules.sums = sums = Table(data.StructLayout({
            "reads": 12, "total": 12, "final": 1, "error": 1}), depth=g.batches)
        second = Signal()
        use_final = Signal()
        event = Signal.like(finals.payload)
        there = Signal()
        with m.If(~second):
            m.d.sync += [second.eq(finals.valid | ends.valid), use_final.eq(finals.valid)]
            m.d.comb += event.eq(Mux(finals.valid, finals.payload, ends.payload))
        with m.Else():
            m.d.comb += event.eq(Mux(use_final, finals.payload, ends.payload))
        row   = Signal.like(sums.row)
        whole = Signal()
        done  = Signal()
        m.d.comb += [
            sums.addresses[0].eq(event.batch), self.batch.eq(event.batch),
            row.reads.eq(sums.rows[0].reads + ~use_final),
            row.total.eq(Mux(use_final, event.total, sums.rows[0].total)),
            row.final.eq(sums.rows[0].final | use_final),
            row.error.eq(sums.rows[0].error | event.error),
            whole.eq(row.final & (row.reads == row.total)),
            there.eq(second),
            sums.address.eq(event.batch),
            self.ready.payload.eq(self.batch_row.queue),
            self.ready.valid.eq(there & whole),
            done.eq(there & (~whole | self.ready.ready)),
            sums.enable.eq(done),
            finals.ready.eq(done & use_final), ends.ready.eq(done & ~use_final),
            self.ready_write.enable.eq(done & whole),
            self.ready_write.batch.eq(event.batch),
            self.ready_write.row.generation.eq(self.batch_row.generation),
            self.ready_write.row.error.eq(row.error),
        ]
        with m.If(~whole):
            m.d.comb += sums.row.eq(row)
        with m.If(done):
            m.d.sync += second.eq(0)
