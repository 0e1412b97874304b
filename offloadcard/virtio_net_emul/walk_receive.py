"""Received frames to the driver's buffers: each frame the next chain of its queue."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.worklist import WorkList
from .table import Table

__all__ = ["WalkReceive"]


class WalkReceive(wiring.Component):
    """Give each waiting frame the next entry of its queue, in order.

    A queue is visited when a frame came, when descriptors came, when its ring was seen empty (then
    what waits is dropped), when its elements waited one microsecond for more (then a marker sends
    them), and when its function ends (then everything it holds is given up).

    Timing
    ------
    6 cycles a visit and 3 a frame.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    run : shape
        Record of a run, as :class:`Descriptors` writes it.

    Members
    -------
    arrived : ``In(stream, always_ready)``; ready, looks : ``In(stream)``
        Queues with a frame more, with a batch more, to be looked at.
    dry : ``In(stream)``
        Queues whose ring was seen empty.
    function, alive : address and row
        Whether a function may go on, 1 cycle later; so for all that follow.
    order, order_entry; batch, batch_row, ready_row; slot, run_row; cell, cell_row; place, \
packet_row; queue, entered
        Addresses of tables, and their rows.
    accept_queue, accept_served; look_queue, look_served, look_consumed
        Readers of what was served and consumed of a queue.
    heads : ``Out(stream(head))``
        First descriptors with their frames, and markers.
    discards : ``Out(stream(packet))``
        Frames to be dropped.
    dropped : ``Out``
        For the counters.
    """

    def __init__(self, geometry, *, run):
        self.geometry = g = geometry
        super().__init__({
            "arrived":      In(stream.Signature(g.queue_bits, always_ready=True)),
            "ready":        In(stream.Signature(g.queue_bits)),
            "looks":        In(stream.Signature(g.queue_bits)),
            "dry":          In(stream.Signature(g.queue_bits)),
            "function":     Out(g.row_bits),
            "alive":        In(1),
            "order":        Out(g.queue_bits + 3),
            "order_entry":  In(g.order_entry),
            "batch":        Out(range(g.batches)),
            "batch_row":    In(g.batch_row),
            "ready_row":    In(2),
            "slot":         Out(g.slot),
            "run_row":      In(run),
            "cell":         Out(g.slot),
            "cell_row":     In(128),
            "place":        Out(range(g.queues * g.waiting)),
            "packet_row":   In(g.packet),
            "queue":        Out(g.queue_bits),
            "entered":      In(16),
            "accept_queue": In(g.queue_bits),
            "accept_served": Out(16),
            "look_queue":   In(g.queue_bits),
            "look_served":  Out(16),
            "look_consumed": Out(16),
            "heads":        Out(stream.Signature(g.head)),
            "discards":     Out(stream.Signature(g.packet)),
            "dropped":      Out(data.StructLayout({"valid": 1, "row": g.row_bits})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.work     = work     = WorkList(count=g.queues)
        m.submodules.heads    = heads    = Queue(g.head, depth=8)
        m.submodules.discards = discards = Queue(g.packet, depth=4)
        m.submodules.served   = served   = Table(16, depth=g.queues, readers=3)
        m.submodules.consumed = consumed = Table(16, depth=g.queues, readers=2)
        m.submodules.rows     = rows     = Table(data.StructLayout({
            "seq": 4, "position": range(g.batch + 1), "first": range(g.batch + 1), "timed": 1,
            "marked": range(g.batch + 1)}), depth=g.queues)
        wiring.connect(m, heads.o, wiring.flipped(self.heads))
        wiring.connect(m, discards.o, wiring.flipped(self.discards))
        m.d.comb += [
            served.addresses[1].eq(self.accept_queue), self.accept_served.eq(served.rows[1]),
            served.addresses[2].eq(self.look_queue), self.look_served.eq(served.rows[2]),
            consumed.addresses[1].eq(self.look_queue),
            self.look_consumed.eq(consumed.rows[1]),
        ]

        # Timers: one entry a queue at most, all of the same length.
        m.submodules.timers = timers = Queue(data.StructLayout({
            "queue": g.queue_bits, "time": 16}), depth=g.queues)
        time = Signal(16)
        rang = Signal()
        m.d.sync += time.eq(time + 1)
        m.d.comb += rang.eq(timers.o.valid & (((time - timers.o.p.time)[:16])
                                              >= g.flush_cycles))

        queue = Signal(g.queue_bits)
        now   = Signal(g.queue_bits)
        again = Signal()
        m.d.comb += [
            work.i.valid.eq(self.arrived.valid | again | self.ready.valid | self.looks.valid),
            work.i.payload.eq(Mux(self.arrived.valid, self.arrived.payload,
                                  Mux(again, queue, Mux(self.ready.valid, self.ready.payload,
                                                        self.looks.payload)))),
            self.ready.ready.eq(~self.arrived.valid & ~again),
            self.looks.ready.eq(~self.arrived.valid & ~again & ~self.ready.valid),
        ]
        row    = Signal.like(rows.row)
        taken  = Signal(16)
        used   = Signal(16)
        came   = Signal(16)
        alive  = Signal()
        entry  = Signal(g.order_entry)
        placed = Signal()   # there is a batch
        there  = Signal()   # and its descriptors are there
        failed = Signal()
        count  = Signal(range(g.batch + 1))
        by_dry = Signal()
        flush  = Signal()
        packet = Signal(g.packet)
        waits  = Signal()
        ahead  = Signal()   # the frame after the present one is looked up
        m.d.comb += [
            self.queue.eq(now), self.function.eq(g.row_of(g.function_of(now))),
            rows.addresses[0].eq(now), served.addresses[0].eq(now),
            consumed.addresses[0].eq(now),
            rows.address.eq(queue), rows.row.eq(row),
            served.address.eq(queue), served.row.eq(taken),
            consumed.address.eq(queue), consumed.row.eq(used),
            self.order.eq(Cat(rows.rows[0].seq[:3], queue)),
            self.batch.eq(self.order_entry.batch),
            self.place.eq(Cat(Mux(ahead, taken + 1, taken)[:(g.waiting - 1).bit_length()],
                              queue)),
            self.slot.batch.eq(entry.batch), self.slot.index.eq(row.first),
            self.cell.batch.eq(entry.batch),
            waits.eq(came != taken),
            timers.i.p.queue.eq(queue), timers.i.p.time.eq(time),
            discards.i.payload.eq(packet),
            heads.i.p.slot.batch.eq(entry.batch), heads.i.p.slot.index.eq(row.position),
            heads.i.p.desc.eq(self.cell_row), heads.i.p.packet.eq(packet),
            heads.i.p.upto.eq(row.position), heads.i.p.final.eq(row.position == count),
        ]
        offset = Signal(range(g.batch + 1))
        run    = Signal.like(self.run_row)
        m.d.comb += [offset.eq(row.position - row.first), run.eq(self.run_row)]
        cell   = Signal(g.batch_bits)
        m.d.comb += [
            cell.eq(Mux(run.falls, row.first + run.count - 1 - offset, row.position)),
            self.cell.index.eq(cell)]
        bad = Signal()
        m.d.sync += bad.eq(run.bad | failed)
        m.d.comb += heads.i.p.bad.eq(bad)
        drop = Signal()
        m.d.sync += [self.dropped.valid.eq(drop),
                     self.dropped.row.eq(g.row_of(g.function_of(queue)))]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += now.eq(Mux(self.dry.valid, self.dry.payload,
                                       Mux(rang, timers.o.p.queue, work.o.payload)))
                m.d.comb += [
                    self.dry.ready.eq(1), timers.o.ready.eq(~self.dry.valid & rang),
                    work.o.ready.eq(~self.dry.valid & ~rang)]
                m.d.sync += [queue.eq(now), by_dry.eq(self.dry.valid),
                             flush.eq(~self.dry.valid & rang)]
                with m.If(self.dry.valid | rang | work.o.valid):
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += [row.eq(rows.rows[0]), taken.eq(served.rows[0]),
                             used.eq(consumed.rows[0]), came.eq(self.entered),
                             alive.eq(self.alive)]
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += [entry.eq(self.order_entry),
                             placed.eq(self.order_entry.lap == ~row.seq[3])]
                with m.If(flush):
                    m.d.sync += row.timed.eq(0)
                m.next = "BATCH"
            with m.State("BATCH"):
                m.d.sync += [
                    count.eq(self.batch_row.count), failed.eq(self.ready_row[1]),
                    there.eq(placed & (self.ready_row[0] == self.batch_row.generation))]
                m.next = "LOOP"
            with m.State("LOOP"):
                m.next = "SAVE"
                with m.If(waits & (~alive | by_dry & ~placed | there)):
                    m.next = "PACKET"
                with m.Elif(there & ~alive):
                    m.next = "GIVE-UP"
                with m.Elif(there & flush & (row.position != row.marked)):
                    m.next = "MARK"
                with m.Elif(there & (row.position != row.marked) & ~row.timed):
                    m.next = "TIMER"
            with m.State("PACKET"):
                m.d.sync += packet.eq(self.packet_row)
                m.next = "CELL"
                with m.If(~alive | self.packet_row.drop | ~there):
                    m.next = "DISCARD"
                with m.Elif(offset == run.count):
                    with m.If(row.position != 0):
                        m.d.sync += row.first.eq(row.position)
                        m.next = "RUN"
            with m.State("RUN"):
                m.next = "CELL"
            with m.State("CELL"):
                with m.If(heads.level < 6):
                    m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += heads.i.valid.eq(1)
                m.d.sync += [row.position.eq(row.position + 1), taken.eq(taken + 1),
                             used.eq(used + 1)]
                m.d.comb += ahead.eq(1)
                m.next = "LOOP"
                with m.If(row.position + 1 == count):
                    m.next = "MARK"
                with m.Elif(came != (taken + 1)[:16]):
                    m.next = "PACKET"
            with m.State("MARK"):
                m.d.comb += [heads.i.valid.eq(1), heads.i.p.marker.eq(1)]
                m.d.sync += [row.marked.eq(row.position), flush.eq(0)]
                with m.If(heads.i.ready):
                    m.next = "LOOP"
                    with m.If(row.position == count):
                        m.next = "NEXT"
            with m.State("GIVE-UP"):
                m.d.comb += [heads.i.valid.eq(1), heads.i.p.marker.eq(1), heads.i.p.skip.eq(1),
                             heads.i.p.final.eq(1)]
                with m.If(heads.i.ready):
                    m.d.sync += used.eq(used + count - row.position)
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [row.seq.eq(row.seq + 1), row.position.eq(0), row.first.eq(0),
                             row.marked.eq(0)]
                m.next = "AGAIN"
            with m.State("AGAIN"):
                # The next batch, in the queue's next turn.
                m.d.comb += [again.eq(1), rows.enable.eq(1), served.enable.eq(1),
                             consumed.enable.eq(1)]
                with m.If(~self.arrived.valid):
                    m.next = "IDLE"
            with m.State("DISCARD"):
                m.d.comb += discards.i.valid.eq(1)
                with m.If(discards.i.ready):
                    m.d.comb += drop.eq(alive)
                    m.d.sync += taken.eq(taken + 1)
                    m.next = "LOOP"
            with m.State("TIMER"):
                m.d.comb += timers.i.valid.eq(1)
                m.d.sync += row.timed.eq(1)
                m.next = "SAVE"
            with m.State("SAVE"):
                m.d.comb += [rows.enable.eq(1), served.enable.eq(1), consumed.enable.eq(1)]
                m.next = "IDLE"

        return m
