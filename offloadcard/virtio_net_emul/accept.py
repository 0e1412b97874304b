"""Received frames into the packet buffer, or dropped: never stalled."""

# Ref: virtio-1.2, 5.1.6.3 (Setting Up Receive Buffers), 5.1.6.4 (Processing of Incoming Packets)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import PacketStream
from .layouts import PAGE_OCTETS
from .table import Table

__all__ = ["Accept"]

RESERVE = 32  # one part in so many of all pages


class Accept(wiring.Component):
    """Store a frame in pages and let it wait in its queue's line; or drop it whole, at its start.

    A frame is dropped when its function is not alive, when its queue's line is full, and when the
    queue holds half as many frames as there are free pages beyond the reserve: the threshold falls
    as the buffer fills, so no function can take it all, and who has no frame in it finds room
    (dynamic thresholds; the reserve is for those).

    Timing
    ------
    A beat per cycle, never stalled; a frame stands in its line 2 cycles after its last beat.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    received : ``In(PacketStream)``
        Frames, by their receiver.
    queue : ``Out``; alive : ``In(1)``; served : ``In(16)``
        Address, and 1 cycle later: whether that queue may receive; its frames that left the line.
    queues : ``In(...).array(2)``; counts : ``Out(16).array(2)``
        Address and row: frames that entered a queue's line.
    pages : ``In(stream)``; free
        Free pages, and how many there are.
    line_write, link_write, packet_write : ``Out``
        Into the buffer, the page after a page, a place in a queue's line.
    arrived : ``Out(stream, always_ready)``
        Queues whose line has one more.
    dropped : ``Out``
        One frame dropped, by row of its function.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            "received":     In(PacketStream(data_width=g.data_width,
                                            function_id_width=g.id_width)),
            "alive":        In(1),
            "queue":        Out(g.queue_bits),
            "served":       In(16),
            "queues":       In(g.queue_bits).array(2),
            "counts":       Out(16).array(2),
            "pages":        In(stream.Signature(g.page_bits)),
            "free":         In(range(g.pages + 1)),
            "line_write":   Out(data.StructLayout({
                "enable": 1, "line": range(g.pages * g.lines), "row": g.data_width})),
            "link_write":   Out(data.StructLayout({
                "enable": 1, "page": g.page_bits, "row": g.page_bits})),
            "packet_write": Out(data.StructLayout({
                "enable": 1, "place": range(g.queues * g.waiting), "row": g.packet})),
            "arrived":      Out(stream.Signature(g.queue_bits, always_ready=True)),
            "dropped":      Out(data.StructLayout({"valid": 1, "row": g.row_bits})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.entered = entered = Table(16, depth=g.queues, readers=3)
        for number in range(2):
            m.d.comb += [entered.addresses[number + 1].eq(self.queues[number]),
                         self.counts[number].eq(entered.rows[number + 1])]

        # First stage: look the receiver up.
        meta  = self.received.p.meta
        row   = g.row_of(meta.function_id)
        queue = Cat(meta.queue[:g.pair_bits], row)
        m.d.comb += [self.received.ready.eq(1), self.queue.eq(queue),
                     entered.addresses[0].eq(queue)]
        valid   = Signal()
        beat    = Signal.like(self.received.payload)
        queue_r = Signal(g.queue_bits)
        known   = Signal()
        need    = Signal(range(g.frame_pages + 2))
        m.d.sync += [
            valid.eq(self.received.valid), beat.eq(self.received.payload), queue_r.eq(queue),
            known.eq((meta.function_id < g.functions) & (meta.queue < g.pairs)
                     & (meta.length != 0) & (meta.length <= g.config.max_frame_octets)),
            need.eq((meta.length + PAGE_OCTETS - 1) >> 9),
        ]

        # Second stage: the verdict falls on the first beat.
        waiting = Signal(16)
        share   = Signal.like(self.free)
        reserve = g.pages // RESERVE
        m.d.sync += share.eq(Mux(self.free > reserve, (self.free - reserve) >> 1, 0))
        fits    = Signal()
        keeps   = Signal()
        keeps_r = Signal()
        m.d.comb += [
            waiting.eq(entered.rows[0] - self.served),
            fits.eq(known & self.alive & (waiting < g.waiting - 1) & (waiting <= share)
                    & (need + 4 <= self.free) & self.pages.valid),
            keeps.eq(Mux(beat.first, fits, keeps_r)),
        ]
        line   = Signal(range(g.lines))
        page   = Signal(g.page_bits)
        first  = Signal(g.page_bits)
        count  = Signal(16)
        now    = Signal(g.page_bits)
        line_now = Signal(range(g.lines))
        opens  = Signal()
        m.d.comb += [
            line_now.eq(Mux(beat.first, 0, line)),
            opens.eq(line_now == 0),
            now.eq(Mux(opens, self.pages.payload, page)),
            self.pages.ready.eq(valid & keeps & opens),
            self.line_write.line.eq(Cat(line_now, now)),
            self.line_write.row.eq(beat.data.as_value()),
            self.line_write.enable.eq(valid & keeps),
            self.link_write.page.eq(page), self.link_write.row.eq(now),
            self.link_write.enable.eq(valid & keeps & opens & ~beat.first),
        ]
        place = Signal(16)
        m.d.comb += [
            place.eq(Mux(beat.first, entered.rows[0], count)),
            self.packet_write.place.eq(Cat(place[:(g.waiting - 1).bit_length()], queue_r)),
            self.packet_write.row.page.eq(Mux(beat.first, now, first)),
            self.packet_write.row.length.eq(beat.meta.length),
            self.packet_write.row.drop.eq(beat.error),
            self.packet_write.row.checked.eq(beat.meta.csum_status != 0),
            self.packet_write.enable.eq(valid & keeps & beat.last),
            entered.address.eq(queue_r), entered.row.eq(place + 1),
            entered.enable.eq(valid & keeps & beat.last),
        ]
        with m.If(valid):
            m.d.sync += [keeps_r.eq(keeps), line.eq(line_now + 1), page.eq(now)]
            with m.If(beat.first):
                m.d.sync += [first.eq(now), count.eq(entered.rows[0])]
        m.d.sync += [
            self.arrived.valid.eq(valid & keeps & beat.last), self.arrived.payload.eq(queue_r),
            self.dropped.valid.eq(valid & beat.first & ~fits & (beat.meta.function_id
                                                                < g.functions)),
            self.dropped.row.eq(g.row_of(beat.meta.function_id)),
        ]

        return m
