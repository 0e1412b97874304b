"""The receive side: from a frame to the driver's buffer and its used element."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer
from ..rtl.dma import DmaReadMux, DmaWriteMux
from ..rtl.ports import DmaWritePort, PacketStream
from ..rtl.worklist import WorkList
from .accept import Accept
from .account import Account, Recycle
from .avail import Avail
from .chain import Chain
from .descriptors import Descriptors
from .scatter import Scatter
from .side import (
    SMALL_TAG,
    USED_TAG,
    WRITE_TAG,
    connect_client,
    connect_tables,
    connect_write,
    side_members,
)
from .table import Pool, Table
from .used import Used
from .walk_receive import WalkReceive

__all__ = ["ReceiveSide"]


class ReceiveSide(wiring.Component):
    """All receive queues of all functions, on one engine of each kind.

    ::

        frame -> Accept -> WalkReceive -> Chain -> Scatter -> Account -> Used
                 buffer,   the queue's    NEXT     header,    markers    elements,
                 line      next entry              data                  interrupt
        doorbell, frame -> Avail -> Descriptors -> WalkReceive
                           as many entries as frames wait, and some ahead

    Timing
    ------
    Idle, with descriptors fetched ahead, from a frame's last beat to its write: about 30 cycles.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    doorbells, starts, queue, setup, function, alive, frame_pages, checks, checked, idle, \
failures, interrupted
        See :func:`~.side.side_members`.
    reads : ``Out(DmaReadPort(...)).array(2)``
        Rings; descriptors and flags.
    writes : ``Out(DmaWritePort(...)).array(2)``
        Frames; the used rings. Handed over in order, so they must share a port.
    interrupts : ``Out(stream)``
        Function and vector.
    looks : ``In(stream)``
        Queues whose function ends.
    queues : ``Out(...).array(2)``; alives : ``In(1).array(2)``
        Queues, and 1 cycle later whether they may go on.
    received : ``In(PacketStream)``
        Frames.
    written, dropped : ``Out``
        For the counters.
    waits : ``Out(1)``
        Frames wait to be written.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            **side_members(g, readers=2, failures=3),
            "interrupts": Out(stream.Signature(data.StructLayout({
                "function_id": g.id_width, "vector": 16}))),
            "writes":     Out(DmaWritePort(function_id_width=g.id_width, tag_width=WRITE_TAG,
                                           data_width=g.data_width)).array(2),
            "looks":      In(stream.Signature(g.queue_bits)),
            "queues":     Out(g.queue_bits).array(2),
            "alives":     In(1).array(2),
            "received":   In(PacketStream(data_width=g.data_width,
                                          function_id_width=g.id_width)),
            "written":    Out(data.StructLayout({
                "valid": 1, "row": g.row_bits, "octets": 14})),
            "dropped":    Out(data.StructLayout({"valid": 1, "row": g.row_bits})).array(2),
            "waits":      Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.avail       = avail       = Avail(g, limited=True)
        m.submodules.descriptors = descriptors = Descriptors(g)
        m.submodules.accept      = accept      = Accept(g)
        m.submodules.walk        = walk        = WalkReceive(g, run=descriptors.run)
        m.submodules.chain       = chain       = Chain(g, receive=True)
        m.submodules.scatter     = scatter     = Scatter(g)
        m.submodules.account     = account     = Account(g, end=scatter.end)
        m.submodules.recycle     = recycle     = Recycle(g)
        m.submodules.used        = used        = Used(g)
        m.submodules.pages       = pages       = Pool(count=g.pages)

        slots = g.batches << g.batch_bits
        m.submodules.batches  = batches  = Table(g.batch_row, depth=g.batches, readers=5)
        m.submodules.rings    = rings    = Table(16 * g.batch, depth=g.batches, readers=2,
                                                 granularity=avail.granule)
        m.submodules.lengths  = lengths  = Table(14 * g.batch, depth=g.batches, granularity=14)
        m.submodules.order    = order    = Table(g.order_entry, depth=g.queues * 8)
        m.submodules.cells    = cells    = Table(512, depth=slots // 4, granularity=64)
        m.submodules.runs     = runs     = Table(descriptors.run, depth=slots)
        m.submodules.complete = complete = Table(descriptors.ready_write.row.shape(),
                                                 depth=g.batches)
        m.submodules.packets  = packets  = Table(g.packet, depth=g.queues * g.waiting)
        m.submodules.links    = links    = Table(g.page_bits, depth=g.pages, readers=2)
        m.submodules.lines    = lines    = Table(g.data_width, depth=g.pages * g.lines)

        connect_write(m, batches, avail.batch_write, avail.batch_write.batch)
        connect_write(m, rings, avail.ring_write, avail.ring_write.batch)
        m.d.comb += [order.address.eq(avail.order_write.place),
                     order.row.eq(avail.order_write.entry),
                     order.enable.eq(avail.order_write.enable)]
        connect_write(m, cells, descriptors.cell_write, descriptors.cell_write.line)
        connect_write(m, runs, descriptors.run_write, descriptors.run_write.slot.as_value())
        connect_write(m, complete, descriptors.ready_write, descriptors.ready_write.batch)
        connect_write(m, lengths, account.length_write, account.length_write.batch)
        connect_write(m, packets, accept.packet_write, accept.packet_write.place)
        connect_write(m, links, accept.link_write, accept.link_write.page)
        connect_write(m, lines, accept.line_write, accept.line_write.line)
        # One descriptor of a line of four.
        part = Signal(2)
        cell = Signal(128)
        m.d.sync += part.eq(walk.cell.index[:2])
        with m.Switch(part):
            for n in range(4):
                with m.Case(n):
                    m.d.comb += cell.eq(cells.rows[0][128 * n:128 * n + 128])
        m.d.comb += walk.cell_row.eq(cell)
        connect_tables(
            m,
            (batches, 0, descriptors.batch, descriptors.batch_row),
            (batches, 1, walk.batch, walk.batch_row),
            (batches, 2, chain.batch, chain.batch_row),
            (batches, 3, used.batch, used.batch_row),
            (batches, 4, account.batch, account.batch_row),
            (rings, 0, descriptors.batch, descriptors.ring_row),
            (rings, 1, used.batch, used.ring_row),
            (lengths, 0, used.batch, used.lengths_row),
            (order, 0, walk.order, walk.order_entry),
            (cells, 0, walk.cell.as_value()[2:], None),
            (runs, 0, walk.slot, walk.run_row),
            (complete, 0, walk.batch, walk.ready_row),
            (packets, 0, walk.place, walk.packet_row),
            (links, 0, scatter.page, scatter.link_row),
            (links, 1, recycle.page, recycle.link_row),
            (lines, 0, scatter.line, scatter.line_row),
        )

        # The way of a frame.
        m.submodules.border = border = Buffer(self.received.payload.shape())
        wiring.connect(m, wiring.flipped(self.received), border.i)
        wiring.connect(m, border.o, accept.received)
        wiring.connect(m, accept.arrived, walk.arrived)
        wiring.connect(m, walk.heads, chain.heads)
        wiring.connect(m, chain.segments, scatter.segments)
        wiring.connect(m, scatter.ends, account.ends)
        wiring.connect(m, account.jobs, used.jobs)
        wiring.connect(m, account.final, walk.ended)
        m.d.comb += [account.queue.eq(walk.queue), walk.finals.eq(account.finals)]
        wiring.connect(m, used.ended, avail.completions)
        wiring.connect(m, used.returned, avail.returned)
        wiring.connect(m, pages.o, accept.pages)
        wiring.connect(m, recycle.freed, pages.i)
        wiring.connect(m, walk.discards, recycle.packets[0])
        wiring.connect(m, scatter.discards, recycle.packets[1])
        m.d.comb += [
            accept.free.eq(pages.free),
            account.issued.eq(scatter.issued), account.accepted.eq(scatter.accepted),
            accept.queues[0].eq(walk.queue), walk.entered.eq(accept.counts[0]),
            walk.accept_queue.eq(accept.queue), accept.served.eq(walk.accept_served),
            self.queues[0].eq(accept.queue), accept.alive.eq(self.alives[0]),
            self.queues[1].eq(walk.queue), walk.alive.eq(self.alives[1]),
        ]

        # The way of a batch: as many entries as frames wait, and a batch or some more ahead.
        wiring.connect(m, avail.arrived, descriptors.arrived)
        wiring.connect(m, descriptors.ready, walk.ready)
        wiring.connect(m, avail.dry, walk.dry)
        m.submodules.hungry = hungry = WorkList(count=g.queues)
        waiting = Signal(16)
        ahead   = Signal(16)
        m.d.comb += [
            hungry.i.valid.eq(accept.arrived.valid | walk.hungers.valid),
            hungry.i.payload.eq(Mux(accept.arrived.valid, accept.arrived.payload,
                                    walk.hungers.payload)),
            walk.hungers.ready.eq(~accept.arrived.valid),
            accept.queues[1].eq(avail.queue), walk.look_queue.eq(avail.queue),
            waiting.eq(accept.counts[1] - walk.look_served),
            ahead.eq(Mux(waiting == 0, g.batch, 4 * g.batch)),
            avail.limit.eq(walk.look_consumed + waiting + ahead),
            avail.wanted.eq(waiting != 0), avail.quiet.eq(used.settled & (waiting == 0)),
            used.done_queue.eq(avail.queue), avail.done.eq(used.done),
            avail.looks.valid.eq(hungry.o.valid | self.starts.valid),
            avail.looks.payload.eq(Mux(hungry.o.valid, hungry.o.payload, self.starts.payload)),
            hungry.o.ready.eq(avail.looks.ready),
            self.starts.ready.eq(avail.looks.ready & ~hungry.o.valid),
        ]

        # Outside.
        m.submodules.small = small = DmaReadMux(
            count=3, tag_width=SMALL_TAG, function_id_width=g.id_width, data_width=g.data_width)
        connect_client(m, small.clients[0], descriptors.reads)
        connect_client(m, small.clients[1], chain.reads)
        connect_client(m, small.clients[2], used.reads)
        connect_client(m, wiring.flipped(self.reads[0]), avail.reads)
        connect_client(m, wiring.flipped(self.reads[1]), small.port)
        wiring.connect(m, scatter.writes, wiring.flipped(self.writes[0]))
        m.submodules.rings_out = rings_out = DmaWriteMux(
            count=2, tag_width=USED_TAG, function_id_width=g.id_width, data_width=g.data_width)
        wiring.connect(m, used.writes, rings_out.clients[0])
        wiring.connect(m, avail.writes, rings_out.clients[1])
        wiring.connect(m, rings_out.port, wiring.flipped(self.writes[1]))
        wiring.connect(m, used.interrupts, wiring.flipped(self.interrupts))
        for failures, port in zip((avail, scatter, used), self.failures):
            wiring.connect(m, failures.failures, wiring.flipped(port))
        wiring.connect(m, wiring.flipped(self.doorbells), avail.doorbells)
        wiring.connect(m, wiring.flipped(self.looks), walk.looks)
        wiring.connect(m, wiring.flipped(self.checks), avail.checks)
        m.d.comb += [
            self.queue.eq(avail.queue), avail.setup.eq(self.setup),
            self.function.eq(g.row_of(g.function_of(avail.queue))), avail.alive.eq(self.alive),
            avail.frame_pages.eq(self.frame_pages),
            self.checked.eq(avail.checked), self.idle.eq(avail.idle),
            used.interrupted.eq(self.interrupted),
            self.written.eq(scatter.received), self.waits.eq(scatter.waits),
            self.dropped[0].eq(accept.dropped), self.dropped[1].eq(walk.dropped),
        ]

        return m
