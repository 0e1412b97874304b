"""Frames out of the packet buffer, in the order of each queue, and the end of their batches."""

# Ref: virtio-1.2, 5.1.6.2 (Packet Transmission)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import PORT_GUEST, PacketStream
from ..rtl.worklist import WorkList
from .gather import HEADER_ROW
from .spec import VIRTIO_NET_HDR_F_NEEDS_CSUM, VirtioNetHdr
from .table import Table

__all__ = ["Transmit"]


class Transmit(wiring.Component):
    """Send the frames of complete batches, each queue's batches in order.

    A batch goes to the used ring when its last frame has left. Frames of a chain with an error are
    passed over, and so is every frame of a batch of which a read failed.

    Timing
    ------
    4 cycles a batch, in the last of which its first frame is looked up; a frame takes its beats.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    packet : shape
        A frame, as :class:`Gather` writes it.

    Members
    -------
    ready : ``In(stream)``
        Queues one of whose batches is complete.
    order, order_entry; batch, batch_row, ready_row; slot, packet_row, header_row; page, \
link_row; line, line_row
        Addresses of tables, and their rows which follow by 1 cycle.
    freed : ``Out(stream, always_ready)``
        Pages that were read.
    transmitted : ``Out(PacketStream)``
        Frames.
    jobs : ``Out(stream(used_job))``
        Batches to be used.
    sent : ``Out``
        One frame: its owner and its octets, for the counters.
    failures : ``Out(stream)``
        Functions whose chains were wrong, or whose memory did not answer.
    """

    def __init__(self, geometry, *, packet):
        self.geometry = g = geometry
        super().__init__({
            "ready":       In(stream.Signature(g.queue_bits)),
            "order":       Out(g.queue_bits + 3),
            "order_entry": In(g.order_entry),
            "batch":       Out(range(g.batches)),
            "batch_row":   In(g.batch_row),
            "ready_row":   In(2),
            "slot":        Out(g.slot),
            "packet_row":  In(packet),
            "header_row":  In(8 * HEADER_ROW),
            "page":        Out(g.page_bits),
            "link_row":    In(g.page_bits),
            "line":        Out(range(g.pages * g.lines)),
            "line_row":    In(g.data_width),
            "freed":       Out(stream.Signature(g.page_bits, always_ready=True)),
            "transmitted": Out(PacketStream(data_width=g.data_width,
                                            function_id_width=g.id_width)),
            "jobs":        Out(stream.Signature(g.used_job)),
            "sent":        Out(data.StructLayout({
                "valid": 1, "row": g.row_bits, "octets": 14})),
            "failures":    Out(stream.Signature(g.id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        frame = data.StructLayout({
            "packet": self.packet_row.shape(), "queue": g.queue_bits, "csum": 1, "start": 14,
            "offset": 14,
            "ends": 1, "batch": range(g.batches), "count": range(g.batch + 1), "skip": 1})
        m.submodules.frames = frames = Queue(frame, depth=16, latency=0)
        self._visit(m, frames)
        self._send(m, frames.o)
        return m

    def _visit(self, m, frames):
        """Queues in turn; the frames of the batch that is first, if it is there."""
        g = self.geometry
        m.submodules.work     = work     = WorkList(count=g.queues)
        m.submodules.rows     = rows     = Table(4, depth=g.queues)
        m.submodules.failures = failures = Queue(unsigned(g.id_width), depth=4)
        wiring.connect(m, failures.o, wiring.flipped(self.failures))

        queue = Signal(g.queue_bits)
        seq   = Signal(4)
        again = Signal()
        entry = Signal(g.order_entry)
        index = Signal(range(g.batch + 1))
        count = Signal(range(g.batch + 1))
        wrong = Signal()
        m.d.comb += [
            work.i.valid.eq(again | self.ready.valid),
            work.i.payload.eq(Mux(again, queue, self.ready.payload)),
            self.ready.ready.eq(~again),
            rows.addresses[0].eq(work.o.payload),
            rows.address.eq(queue), rows.row.eq(seq + 1),
            self.order.eq(Cat(rows.rows[0][:3], queue)),
            self.batch.eq(self.order_entry.batch),
            self.slot.batch.eq(entry.batch), self.slot.index.eq(index),
            failures.i.payload.eq(g.function_of(queue)),
        ]
        fetch   = Signal()
        fetched = Signal()
        ends    = Signal()
        batch   = Signal(range(g.batches))
        queue_r = Signal(g.queue_bits)
        count_r = Signal(range(g.batch + 1))
        skip    = Signal()
        most = Signal.like(count)  # frames of the present batch
        m.d.comb += most.eq(count)
        m.d.sync += [fetched.eq(fetch), ends.eq(index + 1 == most), batch.eq(entry.batch),
                     queue_r.eq(queue), count_r.eq(most), skip.eq(wrong)]
        m.d.comb += [
            frames.i.valid.eq(fetched), frames.i.p.packet.eq(self.packet_row),
            frames.i.p.queue.eq(queue_r), frames.i.p.ends.eq(ends),
            frames.i.p.batch.eq(batch), frames.i.p.count.eq(count_r), frames.i.p.skip.eq(skip),
        ]
        # [virtio-1.2: 5.1.6.2] where a checksum is left to us; too far is as far as we can say.
        header = Signal(VirtioNetHdr)
        m.d.comb += [
            header.eq(self.header_row[-Shape.cast(VirtioNetHdr).width:]),
            frames.i.p.csum.eq(self.packet_row.csum
                               & ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)),
            frames.i.p.start.eq(header.csum_start[:14] | header.csum_start[14:].any()
                                .replicate(14)),
            frames.i.p.offset.eq(header.csum_offset[:14] | header.csum_offset[14:].any()
                                 .replicate(14)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(work.o.valid):
                    m.d.comb += work.o.ready.eq(1)
                    m.d.sync += queue.eq(work.o.payload)
                    m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += seq.eq(rows.rows[0])
                m.next = "BATCH"
            with m.State("BATCH"):
                m.d.sync += [entry.eq(self.order_entry), index.eq(0)]
                m.next = "IDLE"
                with m.If(self.order_entry.lap == ~seq[3]):
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += most.eq(self.batch_row.count)
                m.d.sync += [count.eq(most), wrong.eq(self.ready_row[1]), skip.eq(0)]
                m.next = "IDLE"
                with m.If(self.ready_row[0] == self.batch_row.generation):
                    m.d.comb += [again.eq(1), rows.enable.eq(1)]
                    m.next = "FRAMES"
                    with m.If(self.ready_row[1]):
                        m.next = "FAIL"
                    with m.Elif(frames.level < 13):
                        m.d.comb += fetch.eq(1)
                        m.d.sync += index.eq(1)
                        with m.If(most == 1):
                            m.next = "IDLE"
            with m.State("FAIL"):
                m.d.comb += failures.i.valid.eq(1)
                with m.If(failures.i.ready):
                    m.next = "FRAMES"
            with m.State("FRAMES"):
                with m.If(frames.level < 13):
                    m.d.comb += fetch.eq(1)
                    m.d.sync += index.eq(index + 1)
                    with m.If(index + 1 == count):
                        m.next = "IDLE"

    def _send(self, m, frames):
        """A frame's lines from its pages, a beat a cycle; pages go home when they were read."""
        g = self.geometry
        beat = self.transmitted.payload.shape()
        m.submodules.beats = beats = Queue(beat, depth=8, latency=0)
        m.submodules.jobs  = jobs  = Queue(g.used_job, depth=8)
        wiring.connect(m, beats.o, wiring.flipped(self.transmitted))
        wiring.connect(m, jobs.o, wiring.flipped(self.jobs))

        line   = Signal(range(g.lines))
        page   = Signal(g.page_bits)
        now    = Signal(g.page_bits)
        left   = Signal(14)
        rest   = Signal(14)
        begun  = Signal()
        moves  = Signal()
        ends   = Signal()
        drops  = Signal()
        packet = frames.p.packet
        owner  = g.function_of(frames.p.queue)
        turned = Signal()  # the page's successor is on its way
        m.d.comb += [
            now.eq(Mux(begun, Mux(turned, self.link_row, page), packet.page)),
            rest.eq(Mux(begun, left, packet.length)),
            drops.eq(frames.p.skip | packet.error),
            ends.eq(rest <= g.octets),
            self.page.eq(now), self.line.eq(Cat(line, now)),
        ]
        last_line = Signal()
        m.d.comb += last_line.eq((line == g.lines - 1) | ends)
        # A frame without a page (its chain was wrong from the start) has nothing to give back.
        has_page = Signal()
        m.d.comb += has_page.eq(packet.pages != 0)
        m.d.comb += moves.eq(frames.valid & (beats.level < 5) & jobs.i.ready)
        m.d.sync += turned.eq(moves & (line == g.lines - 1) & ~ends)
        m.d.sync += page.eq(now)
        with m.If(moves):
            m.d.sync += [begun.eq(~ends), left.eq(rest - g.octets),
                         line.eq(Mux(last_line, 0, line + 1))]
        m.d.comb += [
            frames.ready.eq(moves & ends),
            self.freed.valid.eq(moves & last_line & has_page),
            self.freed.payload.eq(now),
            jobs.i.valid.eq(moves & ends & frames.p.ends),
            jobs.i.p.batch.eq(frames.p.batch), jobs.i.p.count.eq(frames.p.count),
            jobs.i.p.final.eq(1), jobs.i.p.skip.eq(frames.p.skip),
            self.sent.valid.eq(moves & ends & ~drops), self.sent.row.eq(g.row_of(owner)),
            self.sent.octets.eq(packet.length),
        ]
        valid = Signal()
        first = Signal()
        last  = Signal()
        meta  = Signal.like(beats.i.p.meta)
        m.d.sync += [valid.eq(moves & ~drops), first.eq(~begun), last.eq(ends)]
        with m.If(moves):
            m.d.sync += [meta.function_id.eq(owner), meta.length.eq(packet.length),
                         meta.queue.eq(frames.p.queue[:g.pair_bits]), meta.port.eq(PORT_GUEST),
                         meta.csum_status.eq(frames.p.csum),
                         meta.csum_start.eq(Mux(frames.p.csum, frames.p.start, 0)),
                         meta.csum_offset.eq(Mux(frames.p.csum, frames.p.offset, 0))]
        m.d.comb += [
            beats.i.valid.eq(valid), beats.i.p.data.as_value().eq(self.line_row),
            beats.i.p.meta.eq(meta), beats.i.p.first.eq(first), beats.i.p.last.eq(last),
        ]
