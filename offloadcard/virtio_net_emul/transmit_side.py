"""The transmit side: from the doorbell to the frame and its used element."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.dma import DmaReadMux, DmaWriteMux
from ..rtl.ports import DmaWritePort, PacketStream
from .avail import Avail
from .chain import Chain
from .descriptors import Descriptors
from .gather import HEADER_ROW, Gather
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
from .transmit import Transmit
from .used import Used
from .walk_transmit import WalkTransmit

__all__ = ["TransmitSide"]


class TransmitSide(wiring.Component):
    """All transmit queues of all functions, on one engine of each kind.

    ::

        doorbell -> Avail -> Descriptors -> WalkTransmit -> Chain -> Gather -> Transmit -> Used
                    index,    runs of ids    queue's order   NEXT     payload   frames      elements
                    ring                     room for frames                    in order   interrupt

    Timing
    ------
    Idle, from a doorbell to the first beat: four dependent reads and 44 cycles.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    doorbells, starts, queue, setup, function, alive, slow, frame_pages, checks, checked, idle, \
failures, interrupted
        See :func:`~.side.side_members`.
    reads : ``Out(DmaReadPort(...)).array(3)``
        Rings; descriptors and flags; payload.
    writes : ``Out(DmaWritePort(...))``
        The used rings.
    interrupts : ``Out(stream)``
        Function and vector.
    transmitted : ``Out(PacketStream)``
        Frames.
    sent : ``Out``
        For the counters.
    receive : ``In``
        See :class:`~.walk_transmit.WalkTransmit`.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            **side_members(g, readers=3, failures=3),
            "interrupts":  Out(stream.Signature(data.StructLayout({
                "function_id": g.id_width, "vector": 16}))),
            "writes":      Out(DmaWritePort(function_id_width=g.id_width, tag_width=WRITE_TAG,
                                            data_width=g.data_width)),
            "transmitted": Out(PacketStream(data_width=g.data_width,
                                            function_id_width=g.id_width)),
            "sent":        Out(data.StructLayout({
                "valid": 1, "row": g.row_bits, "octets": 14})),
            "receive":     In(data.StructLayout({"waits": 1, "frame": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.avail       = avail       = Avail(g, limited=False)
        m.submodules.descriptors = descriptors = Descriptors(g)
        m.submodules.walk        = walk        = WalkTransmit(g, run=descriptors.run)
        m.submodules.chain       = chain       = Chain(g, receive=False)
        m.submodules.gather      = gather      = Gather(g)
        m.submodules.transmit    = transmit    = Transmit(g, packet=gather.packet)
        m.submodules.used        = used        = Used(g)
        m.submodules.pages       = pages       = Pool(count=g.pages)

        slots = g.batches << g.batch_bits
        ready = descriptors.ready_write.row.shape()
        m.submodules.batches  = batches  = Table(g.batch_row, depth=g.batches, readers=6)
        m.submodules.rings    = rings    = Table(16 * g.batch, depth=g.batches, readers=2,
                                                 granularity=avail.granule)
        m.submodules.order    = order    = Table(g.order_entry, depth=g.queues * 8, readers=2)
        m.submodules.cells    = cells    = Table(512, depth=slots // 4, granularity=64)
        m.submodules.runs     = runs     = Table(descriptors.run, depth=slots)
        m.submodules.complete = complete = Table(ready, depth=g.batches)
        m.submodules.packets  = packets  = Table(gather.packet, depth=slots)
        m.submodules.headers  = headers  = Table(8 * HEADER_ROW, depth=slots, granularity=8)
        m.submodules.gathered = gathered = Table(ready, depth=g.batches)
        m.submodules.links    = links    = Table(g.page_bits, depth=g.pages)
        m.submodules.lines    = lines    = Table(g.data_width, depth=g.pages * g.lines,
                                                 granularity=8)

        connect_write(m, batches, avail.batch_write, avail.batch_write.batch)
        connect_write(m, rings, avail.ring_write, avail.ring_write.batch)
        m.d.comb += [order.address.eq(avail.order_write.place),
                     order.row.eq(avail.order_write.entry),
                     order.enable.eq(avail.order_write.enable)]
        connect_write(m, cells, descriptors.cell_write, descriptors.cell_write.line)
        connect_write(m, runs, descriptors.run_write, descriptors.run_write.slot.as_value())
        connect_write(m, complete, descriptors.ready_write, descriptors.ready_write.batch)
        connect_write(m, packets, gather.packet_write, gather.packet_write.slot.as_value())
        connect_write(m, headers, gather.header_write, gather.header_write.slot.as_value())
        connect_write(m, gathered, gather.ready_write, gather.ready_write.batch)
        connect_write(m, links, gather.link_write, gather.link_write.page)
        connect_write(m, lines, gather.line_write, gather.line_write.line)
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
            (batches, 3, gather.batch, gather.batch_row),
            (batches, 4, transmit.batch, transmit.batch_row),
            (batches, 5, used.batch, used.batch_row),
            (rings, 0, descriptors.batch, descriptors.ring_row),
            (rings, 1, used.batch, used.ring_row),
            (order, 0, walk.order, walk.order_entry),
            (order, 1, transmit.order, transmit.order_entry),
            (cells, 0, walk.cell.as_value()[2:], None),
            (runs, 0, walk.slot, walk.run_row),
            (complete, 0, walk.batch, walk.ready_row),
            (packets, 0, transmit.slot, transmit.packet_row),
            (headers, 0, transmit.slot, transmit.header_row),
            (gathered, 0, transmit.batch, transmit.ready_row),
            (links, 0, transmit.page, transmit.link_row),
            (lines, 0, transmit.line, transmit.line_row),
        )

        # The way of a batch.
        wiring.connect(m, avail.arrived, descriptors.arrived)
        wiring.connect(m, descriptors.ready, walk.ready)
        wiring.connect(m, walk.heads, chain.heads)
        wiring.connect(m, chain.segments, gather.segments)
        wiring.connect(m, gather.ready, transmit.ready)
        wiring.connect(m, transmit.jobs, used.jobs)
        wiring.connect(m, used.ended, avail.completions)
        wiring.connect(m, used.returned, avail.returned)
        wiring.connect(m, pages.o, gather.pages)
        wiring.connect(m, transmit.freed, pages.i)
        m.d.comb += [
            walk.unused.eq(gather.unused), walk.unused_valid.eq(gather.unused_valid),
            walk.freed.eq(transmit.freed.valid),
            gather.look.eq(walk.look), walk.held.eq(gather.held),
            walk.free_reads.eq(gather.free_reads), avail.scarce.eq(walk.scarce),
            avail.dry.ready.eq(1), walk.receive.eq(self.receive),
            avail.quiet.eq(used.settled), used.done_queue.eq(avail.queue),
            avail.done.eq(used.done),
        ]

        # Outside.
        wiring.connect(m, transmit.transmitted, wiring.flipped(self.transmitted))
        m.submodules.small = small = DmaReadMux(
            count=3, tag_width=SMALL_TAG, function_id_width=g.id_width, data_width=g.data_width)
        connect_client(m, small.clients[0], descriptors.reads)
        connect_client(m, small.clients[1], chain.reads)
        connect_client(m, small.clients[2], used.reads)
        connect_client(m, wiring.flipped(self.reads[0]), avail.reads)
        connect_client(m, wiring.flipped(self.reads[1]), small.port)
        connect_client(m, wiring.flipped(self.reads[2]), gather.reads)
        m.submodules.rings_out = rings_out = DmaWriteMux(
            count=2, tag_width=USED_TAG, function_id_width=g.id_width, data_width=g.data_width)
        wiring.connect(m, used.writes, rings_out.clients[0])
        wiring.connect(m, avail.writes, rings_out.clients[1])
        wiring.connect(m, rings_out.port, wiring.flipped(self.writes))
        wiring.connect(m, used.interrupts, wiring.flipped(self.interrupts))
        for failures, port in zip((avail, transmit, used), self.failures):
            wiring.connect(m, failures.failures, wiring.flipped(port))
        wiring.connect(m, wiring.flipped(self.doorbells), avail.doorbells)
        wiring.connect(m, wiring.flipped(self.starts), avail.looks)
        wiring.connect(m, wiring.flipped(self.checks), avail.checks)
        m.d.comb += [
            self.queue.eq(avail.queue), avail.setup.eq(self.setup),
            self.function.eq(g.row_of(g.function_of(avail.queue))), avail.alive.eq(self.alive),
            avail.frame_pages.eq(self.frame_pages), avail.slow.eq(self.slow),
            self.checked.eq(avail.checked), self.idle.eq(avail.idle),
            used.interrupted.eq(self.interrupted),
            self.sent.eq(transmit.sent),
        ]

        return m
