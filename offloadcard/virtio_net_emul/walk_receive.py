"""Received frames to the driver's buffers: each frame the next chain of its queue."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.worklist import WorkList
from .entries import Entries
from .table import Table

__all__ = ["WalkReceive"]


class WalkReceive(wiring.Component):
    """Give each waiting frame the next entry of its queue, in order.

    A queue is visited when a frame came, when descriptors came, when its ring was seen empty (then
    what waits is dropped), when its elements waited one microsecond for more (then a marker sends
    them), and when its function ends (then everything it holds is given up).

    While one queue is served the next one's rows are read; a queue is not read before it was
    written back.

    Timing
    ------
    A frame a cycle, and 3 cycles a visit; 5 more where the next queue was not read meanwhile.

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
    alive : ``In(1)``
        Whether ``queue`` may go on, 1 cycle later; so for all that follow.
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
        self.run   = run
        self.row   = data.StructLayout({
            "seq": 4, "position": range(g.batch + 1), "first": range(g.batch + 1), "timed": 1,
            "marked": range(g.batch + 1)})
        self.visit = data.StructLayout({
            "queue": g.queue_bits, "row": self.row, "taken": 16, "used": 16, "came": 16,
            "alive": 1, "entry": g.order_entry, "placed": 1, "there": 1, "failed": 1,
            "count": range(g.batch + 1), "dry": 1, "flush": 1})
        super().__init__({
            "arrived":      In(stream.Signature(g.queue_bits, always_ready=True)),
            "ready":        In(stream.Signature(g.queue_bits)),
            "looks":        In(stream.Signature(g.queue_bits)),
            "dry":          In(stream.Signature(g.queue_bits)),
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
        m.submodules.rows     = rows     = Table(self.row, depth=g.queues)
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

        queue = Signal(g.queue_bits)   # the one that is served
        again = Signal()
        m.d.comb += [
            work.i.valid.eq(self.arrived.valid | again | self.ready.valid | self.looks.valid),
            work.i.payload.eq(Mux(self.arrived.valid, self.arrived.payload,
                                  Mux(again, queue, Mux(self.ready.valid, self.ready.payload,
                                                        self.looks.payload)))),
            self.ready.ready.eq(~self.arrived.valid & ~again),
            self.looks.ready.eq(~self.arrived.valid & ~again & ~self.ready.valid),
            timers.i.p.queue.eq(queue), timers.i.p.time.eq(time),
        ]
        serving = Signal()
        tables  = rows, served, consumed
        visits  = stream.Signature(self.visit).create()
        self._read(m, visits, work.o, timers.o, rang, serving & (queue == self.queue), *tables)
        self._serve(m, visits, serving, queue, again, timers.i, heads, discards.i, *tables)
        return m

    def _read(self, m, visits, work, timers, rang, same, rows, served, consumed):
        """Who is next, and all that is known of it."""
        now   = self.queue
        row   = rows.rows[0]
        visit = Signal(self.visit)
        m.d.comb += [
            now.eq(Mux(self.dry.valid, self.dry.payload,
                       Mux(rang, timers.p.queue, work.payload))),
            rows.addresses[0].eq(now), served.addresses[0].eq(now),
            consumed.addresses[0].eq(now),
            self.order.eq(Cat(row.seq[:3], visit.queue)),
            self.batch.eq(self.order_entry.batch),
            visits.payload.eq(visit),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [visit.queue.eq(now), visit.dry.eq(self.dry.valid),
                             visit.flush.eq(~self.dry.valid & rang)]
                with m.If((self.dry.valid | rang | work.valid) & ~same):
                    m.d.comb += [
                        self.dry.ready.eq(1), timers.ready.eq(~self.dry.valid & rang),
                        work.ready.eq(~self.dry.valid & ~rang)]
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += [visit.row.eq(row), visit.taken.eq(served.rows[0]),
                             visit.used.eq(consumed.rows[0]), visit.came.eq(self.entered),
                             visit.alive.eq(self.alive)]
                with m.If(visit.flush):
                    m.d.sync += visit.row.timed.eq(0)
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += [visit.entry.eq(self.order_entry),
                             visit.placed.eq(self.order_entry.lap == ~visit.row.seq[3])]
                m.next = "BATCH"
            with m.State("BATCH"):
                m.d.sync += [
                    visit.count.eq(self.batch_row.count), visit.failed.eq(self.ready_row[1]),
                    visit.there.eq(visit.placed
                                   & (self.ready_row[0] == self.batch_row.generation))]
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.comb += visits.valid.eq(1)
                with m.If(visits.ready):
                    m.next = "IDLE"

    def _serve(self, m, visits, serving, queue, again, timers, heads, discards, rows, served,
               consumed):
        """Frames and entries of one queue, pair by pair."""
        g = self.geometry
        m.submodules.entries = entries = Entries(g, run=self.run)
        visit  = Signal(self.visit)
        begin  = Signal()
        step   = Signal()
        passes = Signal()   # the packet is over: handed on or dropped
        taken  = Signal(16)
        packet = Signal(g.packet)
        m.d.comb += [
            packet.eq(self.packet_row),
            queue.eq(visit.queue), serving.eq(~visits.ready),
            entries.batch.eq(visits.p.entry.batch), entries.first.eq(visits.p.row.first),
            entries.position.eq(visits.p.row.position), entries.begin.eq(begin),
            entries.step.eq(step), entries.run_row.eq(self.run_row),
            self.slot.eq(entries.slot), self.cell.eq(entries.cell),
            # The packet after the present one is always read ahead.
            taken.eq(Mux(begin, visits.p.taken, visit.taken + passes)),
            self.place.eq(Cat(taken[:(g.waiting - 1).bit_length()],
                              Mux(begin, visits.p.queue, queue))),
            served.address.eq(queue), served.row.eq(visit.taken),
            consumed.address.eq(queue), consumed.row.eq(visit.used),
            rows.address.eq(queue), rows.row.eq(visit.row),
            discards.payload.eq(packet),
        ]
        with m.If(passes):
            m.d.sync += visit.taken.eq(visit.taken + 1)

        # What leaves goes one cycle later, with its descriptor.
        head   = Signal(g.head)
        head_r = Signal(g.head)
        emit   = Signal()
        emit_r = Signal()
        room   = Signal()
        m.d.comb += [
            head.slot.batch.eq(visit.entry.batch), head.slot.index.eq(entries.now),
            head.bad.eq(entries.bad | visit.failed), head.packet.eq(packet),
            head.upto.eq(entries.now), room.eq(heads.level < 6),
            heads.i.valid.eq(emit_r), heads.i.payload.eq(head_r),
            heads.i.p.desc.eq(self.cell_row),
        ]
        m.d.sync += [emit_r.eq(emit), head_r.eq(head)]
        drop = Signal()
        m.d.sync += [self.dropped.valid.eq(drop),
                     self.dropped.row.eq(g.row_of(g.function_of(queue)))]

        whole = Signal()    # all entries of the batch were handed out
        waits = Signal()
        fresh = Signal()    # entries that no marker told of
        m.d.comb += [whole.eq(entries.now == visit.count), waits.eq(visit.came != visit.taken),
                     fresh.eq(entries.now != visit.row.marked)]
        marks = [emit.eq(1), head.marker.eq(1)]
        save  = [rows.enable.eq(1), served.enable.eq(1), consumed.enable.eq(1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [visits.ready.eq(1), begin.eq(visits.valid)]
                m.d.sync += visit.eq(visits.payload)
                with m.If(visits.valid):
                    m.next = "GO"
            with m.State("GO"):
                m.d.comb += [rows.row.position.eq(entries.now),
                             rows.row.first.eq(entries.run_first)]
                with m.If(visit.there & whole):
                    with m.If(room):
                        m.d.comb += [*marks, head.final.eq(1)]
                        m.next = "NEXT"
                with m.Elif(waits & (~visit.alive | visit.dry & ~visit.placed
                                     | visit.there & packet.drop)):
                    m.d.comb += [discards.valid.eq(1), passes.eq(discards.ready),
                                 drop.eq(discards.ready & visit.alive)]
                with m.Elif(waits & visit.there):
                    with m.If(room):
                        m.d.comb += [emit.eq(1), step.eq(1), passes.eq(1)]
                        m.d.sync += visit.used.eq(visit.used + 1)
                with m.Elif(visit.there & ~visit.alive):
                    with m.If(room):
                        m.d.comb += [*marks, head.skip.eq(1), head.final.eq(1)]
                        m.d.sync += visit.used.eq(visit.used + visit.count - entries.now)
                        m.next = "NEXT"
                with m.Elif(visit.there & visit.flush & fresh):
                    with m.If(room):
                        m.d.comb += marks
                        m.d.sync += [visit.row.marked.eq(entries.now), visit.flush.eq(0)]
                with m.Else():
                    # Elements that wait for more ask for the timer.
                    m.d.comb += save
                    with m.If(visit.there & fresh & ~visit.row.timed):
                        m.d.comb += [timers.valid.eq(1), rows.row.timed.eq(1)]
                    m.next = "IDLE"
            with m.State("NEXT"):
                # The next batch, in the queue's next turn.
                m.d.comb += [
                    again.eq(1), *save, rows.row.seq.eq(visit.row.seq + 1),
                    rows.row.position.eq(0), rows.row.first.eq(0), rows.row.marked.eq(0)]
                with m.If(~self.arrived.valid):
                    m.next = "IDLE"
