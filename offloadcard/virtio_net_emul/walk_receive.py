"""Received frames to the driver's buffers: each frame the next chain of its queue."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.worklist import WorkList
from .hand_out import HandOut
from .table import Table

__all__ = ["WalkReceive"]

CROWDED = 255  # cycles for which the stream of frames counts as full after it was
HELD    = 24   # times as long wait elements meanwhile, and up to twice that for a whole batch


class WalkReceive(wiring.Component):
    """Give each waiting frame the next entry of its queue, in order.

    With MRG_RXBUF a frame that its first buffer does not hold takes as many as it needs: see
    :class:`~.hand_out.HandOut`.

    A queue is visited when a frame came, when descriptors came, when its ring was seen empty (then
    what waits is dropped), when its elements waited one microsecond for more, or 24 to 48 while
    frames come faster than they can be written (then a marker sends them), when a frame waited one
    for buffers, and when its function ends (then everything it holds is given up).

    Chains that go on end late. Behind a batch that has one, the queue's next batch is not begun
    before the last job of that batch was given, so used elements keep their order.

    While one queue is served the next one's rows are read; a queue is not read before it was
    written back.

    Timing
    ------
    A frame a cycle (2 with MRG_RXBUF), and 3 cycles a visit; 5 more where the next queue was not
    read meanwhile.

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
    hungers : ``Out(stream)``
        Queues whose ring shall be looked at: a frame waits for more buffers.
    ended : ``In(stream, always_ready)``; finals : ``In(4)``
        Queues of which a batch came to its last job; how many of ``queue`` did, modulo 16.
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
        self.hand_out = HandOut(g, run=run)
        self.visit    = self.hand_out.visit
        super().__init__({
            "arrived":      In(stream.Signature(g.queue_bits, always_ready=True)),
            "ready":        In(stream.Signature(g.queue_bits)),
            "looks":        In(stream.Signature(g.queue_bits)),
            "dry":          In(stream.Signature(g.queue_bits)),
            "hungers":      Out(stream.Signature(g.queue_bits)),
            "ended":        In(stream.Signature(g.queue_bits, always_ready=True)),
            "finals":       In(4),
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
        m.submodules.rows     = rows     = Table(self.hand_out.row, depth=g.queues)
        wiring.connect(m, heads.o, wiring.flipped(self.heads))
        wiring.connect(m, discards.o, wiring.flipped(self.discards))
        m.d.comb += [
            served.addresses[1].eq(self.accept_queue), self.accept_served.eq(served.rows[1]),
            served.addresses[2].eq(self.look_queue), self.look_served.eq(served.rows[2]),
            consumed.addresses[1].eq(self.look_queue),
            self.look_consumed.eq(consumed.rows[1]),
        ]

        # Timers: one entry a queue at most, in the line of what waits for a flush or of what waits
        # for buffers; all of a line are of the same length. While frames come faster than they can
        # be written, each beat of the rings is one that they lack: flushes are held back then.
        timer = data.StructLayout({"queue": g.queue_bits, "time": 16})
        m.submodules.flushes = flushes = Queue(timer, depth=g.queues)
        m.submodules.waiters = waiters = Queue(timer, depth=g.queues)
        time, crowd = Signal(16), Signal(range(CROWDED + 1))
        m.d.sync += [time.eq(time + 1), crowd.eq(crowd - (crowd != 0))]
        with m.If(heads.level >= 6):
            m.d.sync += crowd.eq(CROWDED)
        limit = Signal(range(HELD * g.flush_cycles + 1))
        m.d.sync += limit.eq(Mux(crowd != 0, HELD * g.flush_cycles, g.flush_cycles))
        due = Signal(data.StructLayout({"flush": 1, "wait": 1, "queue": g.queue_bits}))
        rang, waited = Signal(), [Signal(16) for _ in range(2)]
        m.d.comb += [
            *(age.eq(time - line.o.p.time) for age, line in zip(waited, (flushes, waiters))),
            rang.eq(due.flush | due.wait),
        ]
        # A line moves only when the queue of its head is taken, and no other is within 3 cycles.
        m.d.sync += [due.flush.eq(flushes.o.valid & (waited[0] >= limit)),
                     due.wait.eq(waiters.o.valid & (waited[1] >= g.flush_cycles))]
        with m.If(waiters.o.valid & (waited[1] >= g.flush_cycles)):
            m.d.sync += due.queue.eq(waiters.o.p.queue)
        with m.Else():
            m.d.sync += due.queue.eq(flushes.o.p.queue)

        m.submodules.hand_out = out = self.hand_out
        queue = out.queue              # the one that is served
        again = out.again
        m.submodules.ended = ended = Queue(unsigned(g.queue_bits), depth=g.batches)
        m.d.comb += [
            ended.i.valid.eq(self.ended.valid), ended.i.payload.eq(self.ended.payload),
            work.i.valid.eq(self.arrived.valid | again | self.ready.valid | ended.o.valid
                            | self.looks.valid),
            work.i.payload.eq(Mux(self.arrived.valid, self.arrived.payload,
                                  Mux(again, queue, Mux(self.ready.valid, self.ready.payload,
                                                        Mux(ended.o.valid, ended.o.payload,
                                                            self.looks.payload))))),
            self.ready.ready.eq(~self.arrived.valid & ~again),
            ended.o.ready.eq(~self.arrived.valid & ~again & ~self.ready.valid),
            self.looks.ready.eq(~self.arrived.valid & ~again & ~self.ready.valid
                                & ~ended.o.valid),
            *(line.i.p[name].eq(value) for line in (flushes, waiters)
              for name, value in (("queue", queue), ("time", time))),
        ]
        for name in ("slot", "cell", "place", "dropped"):
            m.d.comb += getattr(self, name).eq(getattr(out, name))
        m.d.comb += [
            out.run_row.eq(self.run_row), out.cell_row.eq(self.cell_row),
            out.packet_row.eq(self.packet_row), out.again_taken.eq(~self.arrived.valid),
            flushes.i.valid.eq(out.timer & ~out.waits), waiters.i.valid.eq(out.timer & out.waits),
            rows.address.eq(queue), rows.row.eq(out.save.row), rows.enable.eq(out.save.enable),
            served.address.eq(queue), served.row.eq(out.save.taken),
            served.enable.eq(out.save.enable), consumed.address.eq(queue),
            consumed.row.eq(out.save.used), consumed.enable.eq(out.save.enable),
        ]
        wiring.connect(m, out.hungers, wiring.flipped(self.hungers))
        wiring.connect(m, out.heads, heads.i)
        wiring.connect(m, out.discards, discards.i)
        m.d.comb += out.room.eq(heads.level < 6)
        self._read(m, out, work.o, crowd, due, rang, (flushes.o, waiters.o), rows, served, consumed)
        return m

    def _read(self, m, out, work, crowd, due, rang, timers, rows, served, consumed):
        """Who is next, and all that is known of it; between, a served queue's later batches."""
        visits, seek, sought = out.visits, out.seek, out.sought
        same  = out.serving & (out.queue == self.queue)
        held  = Signal()
        dry   = Signal()   # they come first, but not twice before others
        timed = Signal()   # and then those whose timer rang
        after = Signal()   # the last was one of these
        spares = Signal()  # elements may wait for more
        now   = self.queue
        row   = rows.rows[0]
        visit = Signal(self.visit)
        m.d.comb += [
            dry.eq(self.dry.valid & ~(visit.dry & (rang | work.valid))),
            timed.eq(~dry & rang & ~(after & work.valid)),
            now.eq(Mux(dry, self.dry.payload,
                       Mux(timed, due.queue, work.payload))),
            rows.addresses[0].eq(now), served.addresses[0].eq(now),
            consumed.addresses[0].eq(now),
            self.order.eq(Cat(row.seq[:3], visit.queue)),
            self.batch.eq(self.order_entry.batch),
            visits.payload.eq(visit), sought.failed.eq(self.ready_row[1]),
            sought.count.eq(self.batch_row.count),
            sought.there.eq(sought.placed & (self.ready_row[0] == self.batch_row.generation)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += held.eq(0)
                m.d.sync += [visit.queue.eq(now), visit.dry.eq(dry),
                             visit.flush.eq(timed), spares.eq((crowd != 0) & ~due.wait)]
                with m.If(seek.valid):
                    m.d.comb += [seek.ready.eq(1), self.order.eq(Cat(seek.payload[:3], out.queue))]
                    m.next = "SEEK"
                with m.Elif((self.dry.valid | rang | work.valid) & ~same):
                    m.d.comb += [
                        self.dry.ready.eq(dry),
                        timers[1].ready.eq(timed & due.wait),
                        timers[0].ready.eq(timed & ~due.wait),
                        work.ready.eq(~dry & ~timed)]
                    m.d.sync += after.eq(timed)
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += [visit.row.eq(row), visit.taken.eq(served.rows[0]),
                             visit.used.eq(consumed.rows[0]), visit.came.eq(self.entered),
                             visit.alive.eq(self.alive)]
                m.d.sync += visit.row.behind.eq(row.behind & (self.finals != row.seq))
                with m.If(visit.flush):
                    # On a full card a timer of a batch that ended since is no reason to flush.
                    m.d.sync += [visit.row.timed.eq(0), visit.row.older.eq(0),
                                 visit.flush.eq(~(row.older & spares & (row.waits == 0)))]
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += [visit.entry.eq(self.order_entry),
                             visit.placed.eq(self.order_entry.lap == ~visit.row.seq[3])]
                m.next = "BATCH"
            with m.State("BATCH"):
                m.d.sync += [
                    visit.merges.eq(self.batch_row.features.mrg_rxbuf),
                    visit.count.eq(self.batch_row.count), visit.failed.eq(self.ready_row[1]),
                    visit.there.eq(visit.placed & ~visit.row.behind
                                   & (self.ready_row[0] == self.batch_row.generation))]
                m.next = "HOLD"
            with m.State("HOLD"):
                m.d.comb += visits.valid.eq(1)
                m.d.sync += held.eq(1)
                with m.If(visits.ready):
                    m.next = "IDLE"
                with m.Elif(seek.valid):
                    m.d.comb += [seek.ready.eq(1), self.order.eq(Cat(seek.payload[:3], out.queue))]
                    m.next = "SEEK"
            with m.State("SEEK"):
                m.d.sync += [sought.entry.eq(self.order_entry),
                             sought.placed.eq(self.order_entry.lap == ~seek.payload[3])]
                m.next = "SOUGHT"
            with m.State("SOUGHT"):
                m.d.comb += sought.valid.eq(1)
                m.next = "IDLE"
                with m.If(held):
                    m.next = "HOLD"
