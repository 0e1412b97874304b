"""Batches of transmit queues, in the order of each queue, into chains to be walked."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.worklist import WorkList
from .entries import Entries
from .table import Table

__all__ = ["WalkTransmit"]

SURE_BITS = 2048  # of the data path: in as much time a frame leaves, however many come in
FULL      = 255   # cycles for which receive counts as waiting for its writes after it did


class WalkTransmit(wiring.Component):
    """Hand out the first descriptor of every entry of the batch whose turn it is.

    A batch begins only when the packet buffer has room for its longest frames; so what began can
    end, and no queue waits for another. Nor does it begin if it could take more than half of the
    room or of the reads that are free (unless three quarters of all reads are), or while its
    function holds a quarter as many reads as are free: the share falls as they get scarce, and a
    tenant whose memory does not answer keeps few.

    Reads are small and pass the writes of received frames on a full link. So while these wait, no
    more frames begin than are received, but for one in the time of ``SURE_BITS``.

    Timing
    ------
    4 cycles a batch and 1 an entry; the first entry leaves in the last of the four.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    ready : ``In(stream)``
        Queues one of whose batches is complete.
    order, order_entry; batch, batch_row, ready_row; slot, run_row; cell, cell_row
        Addresses of tables, and their rows which follow by 1 cycle.
    heads : ``Out(stream(head))``
        First descriptors.
    unused : ``In(range)``, ``unused_valid`` : ``In(1)``
        Pages that an ended chain did not need.
    freed : ``In(1)``
        A page was given back.
    look : ``Out``; held : ``In``
        Row of a function, and 1 cycle later: reads of it that were not answered yet.
    free_reads : ``In``
        Reads that may still be asked for.
    scarce : ``Out(1)``
        Batches shall be small.
    receive : ``In``
        ``waits``: received frames wait to be written; ``frame``: one was.
    """

    def __init__(self, geometry, *, run):
        self.geometry = g = geometry
        self.run = run
        super().__init__({
            "ready":        In(stream.Signature(g.queue_bits)),
            "order":        Out(g.queue_bits + 3),
            "order_entry":  In(g.order_entry),
            "batch":        Out(range(g.batches)),
            "batch_row":    In(g.batch_row),
            "ready_row":    In(2),
            "slot":         Out(g.slot),
            "run_row":      In(run),
            "cell":         Out(g.slot),
            "cell_row":     In(128),
            "heads":        Out(stream.Signature(g.head)),
            "unused":       In(range(g.frame_pages + 1)),
            "unused_valid": In(1),
            "freed":        In(1),
            "look":         Out(g.row_bits),
            "held":         In(range(g.gather_tags + 1)),
            "free_reads":   In(range(g.gather_tags + 1)),
            "scarce":       Out(1),
            "receive":      In(data.StructLayout({"waits": 1, "frame": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.work  = work  = WorkList(count=g.queues)
        m.submodules.heads = heads = Queue(g.head, depth=8, latency=0)
        m.submodules.rows  = rows  = Table(4, depth=g.queues)
        wiring.connect(m, heads.o, wiring.flipped(self.heads))

        queue = Signal(g.queue_bits)
        seq   = Signal(4)
        entry = Signal(g.order_entry)
        again = Signal()
        m.d.comb += [
            work.i.valid.eq(again | self.ready.valid),
            work.i.payload.eq(Mux(again, queue, self.ready.payload)),
            self.ready.ready.eq(~again),
            rows.addresses[0].eq(work.o.payload),
            rows.address.eq(queue), rows.row.eq(seq + 1),
            self.order.eq(Cat(rows.rows[0][:3], queue)),
            self.batch.eq(self.order_entry.batch),
        ]

        # Pages that nobody has a claim on.
        room  = Signal(range(g.pages + 1), init=g.pages)
        claim = Signal(range(g.pages + 1))
        need  = Signal(range(g.pages + 1))
        m.d.sync += room.eq(room - claim + Mux(self.unused_valid, self.unused, 0) + self.freed)

        # Its share of what is free.
        share = Signal()
        quiet = Signal()  # most reads are free: a batch of long frames may ask for more than half
        m.d.comb += self.look.eq(g.function_of(queue))
        m.d.sync += [
            share.eq(self.held <= self.free_reads >> 2),
            quiet.eq(self.free_reads >= g.gather_tags * 3 // 4),
            self.scarce.eq((room < g.pages // 4) | (self.free_reads < g.gather_tags // 4))]

        m.submodules.entries = entries = Entries(g, run=self.run)
        count  = Signal(range(g.batch + 1))
        failed = Signal()
        emit   = Signal()
        m.d.comb += [
            entries.batch.eq(entry.batch), entries.run_row.eq(self.run_row),
            entries.step.eq(emit), self.slot.eq(entries.slot), self.cell.eq(entries.cell),
            heads.i.p.desc.eq(self.cell_row),
        ]
        m.d.sync += [
            heads.i.valid.eq(emit), heads.i.p.slot.batch.eq(entry.batch),
            heads.i.p.slot.index.eq(entries.now), heads.i.p.bad.eq(entries.bad | failed)]

        # No more frames leave than come.
        full  = Signal(range(FULL + 1))
        lead  = Signal(range(-4 * g.batch, 4 * g.batch))  # frames begun, less those received
        sure  = Signal(range(g.batch * SURE_BITS // g.data_width + 1))  # cycles to the next
        even  = Signal()
        began = Signal()
        begun = Signal.like(count)
        # Three cycles after a batch: one may slip by behind one of a single frame.
        m.d.comb += begun.eq(Mux(began, count, 0))
        m.d.sync += [began.eq(entries.begin), even.eq((full == 0) | (lead <= 0) | (sure == 0)),
                     full.eq(full - (full != 0)), sure.eq(sure - (sure != 0))]
        with m.If(self.receive.waits):
            m.d.sync += full.eq(FULL)
        with m.If(began):
            m.d.sync += sure.eq(begun << (SURE_BITS // g.data_width).bit_length() - 1)
        with m.If(full == 0):
            m.d.sync += lead.eq(0)
        with m.Else():
            m.d.sync += lead.eq(lead + Mux(lead < 2 * g.batch, begun, 0)
                                - (self.receive.frame & (lead >= -2 * g.batch)))

        with m.FSM():
            with m.State("IDLE"):
                with m.If(work.o.valid & even):
                    m.d.comb += work.o.ready.eq(1)
                    m.d.sync += queue.eq(work.o.payload)
                    m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += seq.eq(rows.rows[0])
                m.next = "BATCH"
            with m.State("BATCH"):
                m.d.sync += entry.eq(self.order_entry)
                m.next = "IDLE"
                with m.If(self.order_entry.lap == ~seq[3]):
                    m.next = "READY"
            with m.State("READY"):
                row = self.batch_row
                m.d.sync += [count.eq(row.count), failed.eq(self.ready_row[1]),
                             need.eq(row.count * row.frame_pages)]
                m.d.comb += entries.begin.eq(1)
                m.next = "IDLE"
                with m.If(self.ready_row[0] == row.generation):
                    m.next = "CLAIM"
            with m.State("CLAIM"):
                # A batch that finds no room goes to the end of the line.
                m.next = "IDLE"
                m.d.comb += again.eq(1)
                with m.If((need <= room >> 1) & share
                          & (quiet | (need <= self.free_reads >> 1))):
                    m.d.comb += [claim.eq(need), rows.enable.eq(1), emit.eq(heads.level < 6)]
                    m.next = "EMIT"
                    with m.If((heads.level < 6) & (count == 1)):
                        m.next = "IDLE"
            with m.State("EMIT"):
                with m.If(heads.level < 6):
                    m.d.comb += emit.eq(1)
                    with m.If(entries.now + 1 == count):
                        m.next = "IDLE"

        return m
