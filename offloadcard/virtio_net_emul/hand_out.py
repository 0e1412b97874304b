"""One queue's frames to its buffers: pair by pair, or a frame to several buffers."""

# Ref: virtio-1.2, 5.1.6.4 (Processing of Incoming Packets), 5.1.6.3.1 (Setting Up Receive Buffers)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .entries import Entries
from .spec import NET_HDR_OCTETS, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VirtqDesc

__all__ = ["HandOut"]

BUFFERS_MAX = 15  # of one frame; Linux builds a packet of 18 pieces at most
BATCHES_MAX = 7   # that one frame may lie in
WAITS_MAX = 15    # microseconds that a frame waits for its buffers


class HandOut(wiring.Component):
    """Serve one visit: give the queue's frames its entries, and tell by markers how far it came.

    With MRG_RXBUF the first descriptor is looked at. Where it is a whole buffer and too short, the
    entries behind it are measured, in later batches too, before the first is handed out: the frame
    then goes to all of them or, while they are not there, to none. It is dropped if the ring has
    no more, if ``BUFFERS_MAX`` do not hold it, if one of them is a chain that does not hold the
    rest, or after ``WAITS_MAX`` microseconds. While it waits it asks for a look at its ring, each
    microsecond once more: the ring may not have been read because too many batches were lent. A
    batch that ends within a frame is used with ``holds``, so that the index shows all of the
    frame's buffers at once.

    Timing
    ------
    A frame a cycle, or each 2 cycles with MRG_RXBUF; 6 cycles a buffer of a frame with several. A
    frame that waits is measured when descriptors came, not each microsecond.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    run : shape
        Record of a run, as :class:`~.descriptors.Descriptors` writes it.

    Members
    -------
    visits : ``In(stream(visit))``
        A queue, and all that is known of it.
    serving : ``Out(1)``, queue : ``Out``
        The queue that is being served.
    save : ``Out``
        What is to be remembered of it.
    again : ``Out(1)``; again_taken : ``In(1)``
        The queue has more to do.
    timer, waits : ``Out(1)``
        The queue wants to be flushed; or, with ``waits``, to be visited again soon.
    hungers : ``Out(stream)``
        The queue's ring shall be looked at.
    seek : ``Out(stream)``; sought : ``In``
        A later batch of the queue, by its place in the order; what was found, while ``valid``.
    slot, run_row; cell, cell_row; place, packet_row
        Addresses of tables, and their rows which follow by 1 cycle.
    heads : ``Out(stream(head))``, room : ``In(1)``
        First descriptors with their frames, and markers; ``room`` says that two may come.
    discards : ``Out(stream(packet))``, dropped
        Frames to be dropped, and that they were, for the counters.
    """

    def __init__(self, geometry, *, run):
        self.geometry = g = geometry
        self.run = run
        self.row = data.StructLayout({
            "seq": 4, "position": range(g.batch + 1), "first": range(g.batch + 1), "timed": 1,
            "older": 1, "marked": range(g.batch + 1), "chains": 1, "behind": 1,
            "waits": range(WAITS_MAX + 1)})
        found = {"entry": g.order_entry, "placed": 1, "there": 1, "failed": 1,
                 "count": range(g.batch + 1)}
        self.visit = data.StructLayout({
            "queue": g.queue_bits, "row": self.row, "taken": 16, "used": 16, "came": 16,
            "alive": 1, "dry": 1, "flush": 1, "merges": 1, **found})
        super().__init__({
            "visits":      In(stream.Signature(self.visit)),
            "serving":     Out(1),
            "queue":       Out(g.queue_bits),
            "save":        Out(data.StructLayout({
                "enable": 1, "row": self.row, "taken": 16, "used": 16})),
            "again":       Out(1),
            "again_taken": In(1),
            "timer":       Out(1),
            "waits":       Out(1),
            "hungers":     Out(stream.Signature(g.queue_bits)),
            "seek":        Out(stream.Signature(4)),
            "sought":      In(data.StructLayout({"valid": 1, **found})),
            "slot":        Out(g.slot),
            "run_row":     In(run),
            "cell":        Out(g.slot),
            "cell_row":    In(128),
            "place":       Out(range(g.queues * g.waiting)),
            "packet_row":  In(g.packet),
            "heads":       Out(stream.Signature(g.head)),
            "room":        In(1),
            "discards":    Out(stream.Signature(g.packet)),
            "dropped":     Out(data.StructLayout({"valid": 1, "row": g.row_bits})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.entries = entries = self.entries = Entries(g, run=self.run)
        visits = self.visits
        self.now = visit = Signal(self.visit)
        self.begin  = begin = Signal()     # of a visit
        self.passes = passes = Signal()    # the packet is over: handed on or dropped
        taken  = Signal(16)
        packet = Signal(g.packet)
        m.d.comb += [
            packet.eq(self.packet_row), self.queue.eq(visit.queue),
            self.serving.eq(~visits.ready), entries.run_row.eq(self.run_row),
            self.slot.eq(entries.slot), self.cell.eq(entries.cell),
            # The packet after the present one is always read ahead.
            taken.eq(Mux(begin, visits.p.taken, visit.taken + passes)),
            self.place.eq(Cat(taken[:(g.waiting - 1).bit_length()],
                              Mux(begin, visits.p.queue, visit.queue))),
            self.discards.payload.eq(packet),
            self.save.row.eq(visit.row), self.save.taken.eq(visit.taken),
            self.save.used.eq(visit.used), self.save.row.position.eq(entries.now),
            self.save.row.first.eq(entries.run_first),
        ]
        self.late = late = Signal()    # the timer rang, and nothing is new
        m.d.comb += self.hungers.payload.eq(visit.queue)
        with m.If(passes):
            m.d.sync += [visit.taken.eq(visit.taken + 1), visit.row.waits.eq(0), late.eq(0)]
        with m.Elif(begin):
            m.d.sync += late.eq(visits.p.flush)

        # What leaves goes one cycle later, with its descriptor.
        self.desc = desc = Signal(VirtqDesc)
        self.goes_on = Signal()
        self.head = head = Signal(g.head)
        self.emit = emit = Signal()
        head_r = Signal(g.head)
        emit_r = Signal()
        chains = Signal()
        m.d.comb += [
            desc.eq(self.cell_row),
            self.goes_on.eq((desc.flags & (VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_INDIRECT)) != 0),
            chains.eq(emit_r & ~head_r.marker & self.goes_on),
            head.slot.batch.eq(visit.entry.batch), head.slot.index.eq(entries.now),
            head.bad.eq(entries.bad | visit.failed), head.packet.eq(packet),
            head.upto.eq(entries.now),
            self.heads.valid.eq(emit_r), self.heads.payload.eq(head_r),
            self.heads.p.desc.eq(desc), self.save.row.chains.eq(visit.row.chains | chains),
        ]
        m.d.sync += [emit_r.eq(emit), head_r.eq(head)]
        with m.If(chains):
            m.d.sync += visit.row.chains.eq(1)
        self.drop = Signal()
        m.d.sync += [self.dropped.valid.eq(self.drop),
                     self.dropped.row.eq(g.row_of(g.function_of(visit.queue)))]

        with m.If(begin):
            m.d.comb += [entries.begin.eq(1), entries.batch.eq(visits.p.entry.batch),
                         entries.first.eq(visits.p.row.first),
                         entries.position.eq(visits.p.row.position)]
        self._serve(m)
        return m

    def _serve(self, m):
        visits, visit, entries = self.visits, self.now, self.entries
        packet, head, emit, drop = self.packet_row, self.head, self.emit, self.drop
        self.held = held = Signal(4)  # entries of the frame that an earlier batch holds back
        whole = Signal()              # all entries of the batch were handed out
        waits = Signal()
        fresh = Signal()              # entries that no marker told of
        m.d.comb += [whole.eq(entries.now == visit.count), waits.eq(visit.came != visit.taken),
                     fresh.eq(entries.now != visit.row.marked), head.before.eq(held)]
        marks = [emit.eq(1), head.marker.eq(1)]
        gives = [emit.eq(1), entries.step.eq(1), self.passes.eq(1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [visits.ready.eq(1), self.begin.eq(visits.valid)]
                m.d.sync += [visit.eq(visits.payload), held.eq(0)]
                with m.If(visits.valid):
                    m.next = "GO"
            with m.State("GO"):
                with m.If(visit.there & whole):
                    with m.If(self.room):
                        m.d.comb += [*marks, head.final.eq(1)]
                        m.next = "NEXT"
                with m.Elif(waits & (~visit.alive | visit.dry & ~visit.placed
                                     | visit.there & packet.drop)):
                    m.d.comb += [self.discards.valid.eq(1), self.passes.eq(self.discards.ready),
                                 drop.eq(self.discards.ready & visit.alive)]
                with m.Elif(waits & visit.there & visit.merges):
                    m.next = "FIT"
                with m.Elif(waits & visit.there):
                    with m.If(self.room):
                        m.d.comb += gives
                        m.d.sync += visit.used.eq(visit.used + 1)
                with m.Elif(visit.there & ~visit.alive):
                    with m.If(self.room):
                        m.d.comb += [*marks, head.skip.eq(1), head.final.eq(1)]
                        m.d.sync += visit.used.eq(visit.used + visit.count - entries.now)
                        m.next = "NEXT"
                with m.Elif(visit.there & visit.flush & fresh):
                    with m.If(self.room):
                        m.d.comb += marks
                        m.d.sync += [visit.row.marked.eq(entries.now), visit.flush.eq(0),
                                     held.eq(0)]
                with m.Else():
                    # Elements that wait for more ask for the timer.
                    m.d.comb += self.save.enable.eq(1)
                    with m.If(visit.there & fresh & ~visit.row.timed):
                        m.d.comb += [self.timer.eq(1), self.save.row.timed.eq(1)]
                    m.next = "IDLE"
            with m.State("NEXT"):
                # The next batch, in the queue's next turn.
                row = self.save.row
                m.d.comb += [
                    self.again.eq(1), self.save.enable.eq(1), row.seq.eq(visit.row.seq + 1),
                    row.position.eq(0), row.first.eq(0), row.marked.eq(0), row.chains.eq(0),
                    row.behind.eq(visit.row.chains), row.older.eq(visit.row.timed)]
                with m.If(self.again_taken):
                    m.next = "IDLE"
            self._merge(m, marks, gives, fresh)

    def _merge(self, m, marks, gives, fresh):
        """A frame for several buffers: measured first, then handed out."""
        visit, entries, desc, head = self.now, self.entries, self.desc, self.head
        saved  = Signal(self.visit)   # where the frame begins
        giving = Signal()             # measured already
        sum_   = Signal(17)           # octets that the buffers so far hold
        number = Signal(5)            # buffers
        left   = Signal(5)            # that are still to be handed out
        depth  = Signal(4)            # batches behind the first
        limit  = Signal(15)
        fits   = Signal()
        drops  = Signal()
        end    = Signal(17)
        first  = Signal()
        m.d.comb += [
            limit.eq(self.packet_row.length + NET_HDR_OCTETS),
            end.eq(Mux(first, 0, sum_) + Mux(desc.len[15:].any(), 1 << 15, desc.len[:15])),
            fits.eq((end >= limit) | head.bad),
            self.seek.payload.eq(visit.row.seq + 1 + Mux(giving, 0, depth)),
        ]
        with m.State("FIT"):
            m.d.comb += first.eq(1)
            with m.If(fits | self.goes_on):
                with m.If(self.room):
                    m.d.comb += gives
                    m.d.sync += visit.used.eq(visit.used + 1)
                    m.next = "GO"
            with m.Elif(fresh):
                # What is complete is shown before a frame that may have to wait.
                with m.If(self.room):
                    m.d.comb += marks
                    m.d.sync += [visit.row.marked.eq(entries.now), self.held.eq(0)]
            with m.Elif(self.late & (visit.row.waits != 0)):
                m.next = "WAIT"
                with m.If(visit.row.waits == WAITS_MAX):
                    m.next = "DROP"
            with m.Else():
                m.d.sync += [
                    saved.eq(visit), saved.row.position.eq(entries.now),
                    saved.row.first.eq(entries.run_first), giving.eq(0), sum_.eq(end),
                    number.eq(1), depth.eq(0), drops.eq(0)]
                m.next = "ADVANCE"
        with m.State("ADVANCE"):
            with m.If(entries.now + 1 != visit.count):
                m.d.comb += entries.step.eq(1)
                m.next = "CELL"
            with m.Elif(giving):
                with m.If(self.room):
                    m.d.comb += [*marks, head.upto.eq(visit.count), head.final.eq(1),
                                 head.holds.eq(1)]
                    m.d.sync += [self.held.eq(self.held + visit.count - visit.row.marked),
                                 visit.row.marked.eq(0)]
                    m.next = "SEEK"
            with m.Elif(visit.row.chains | (depth == BATCHES_MAX)):
                m.d.sync += drops.eq(1)
                m.next = "BACK"
            with m.Else():
                m.next = "SEEK"
        with m.State("SEEK"):
            m.d.comb += self.seek.valid.eq(1)
            with m.If(self.seek.ready):
                m.next = "SOUGHT"
        with m.State("SOUGHT"):
            found = self.sought
            with m.If(found.valid):
                with m.If(found.there):
                    m.d.comb += [entries.begin.eq(1), entries.batch.eq(found.entry.batch)]
                    m.d.sync += [visit.entry.eq(found.entry), visit.count.eq(found.count),
                                 visit.failed.eq(found.failed), depth.eq(depth + 1)]
                    with m.If(giving):
                        m.d.sync += visit.row.seq.eq(visit.row.seq + 1)
                    m.next = "CELL"
                with m.Else():
                    m.d.sync += drops.eq(visit.dry & ~found.placed)
                    m.next = "BACK"
        with m.State("CELL"):
            m.next = "LENGTH"
        with m.State("LENGTH"):
            with m.If(giving):
                m.d.comb += [head.start.eq(sum_), head.more.eq(left != 1),
                             head.buffers.eq(number - 1)]
                with m.If(self.room):
                    m.d.comb += self.emit.eq(1)
                    m.d.sync += [visit.used.eq(visit.used + 1), sum_.eq(end), left.eq(left - 1)]
                    m.next = "ADVANCE"
                    with m.If(left == 1):
                        m.d.comb += [entries.step.eq(1), self.passes.eq(1)]
                        m.d.sync += visit.flush.eq(1)
                        m.next = "GO"
            with m.Else():
                m.d.sync += [sum_.eq(end), number.eq(number + 1), left.eq(number + 1)]
                m.next = "ADVANCE"
                with m.If(fits):
                    m.d.sync += [giving.eq(1), sum_.eq(0)]
                    m.next = "BACK"
                with m.Elif(self.goes_on | (number == BUFFERS_MAX - 1)):
                    m.d.sync += drops.eq(1)
                    m.next = "BACK"
        with m.State("BACK"):
            m.d.comb += [entries.begin.eq(1), entries.batch.eq(saved.entry.batch),
                         entries.first.eq(saved.row.first),
                         entries.position.eq(saved.row.position)]
            m.d.sync += [visit.entry.eq(saved.entry), visit.count.eq(saved.count),
                         visit.failed.eq(saved.failed)]
            m.next = "WAIT"
            with m.If(drops):
                m.next = "DROP"
            with m.Elif(giving):
                m.next = "CELL"
        with m.State("DROP"):
            m.d.comb += [self.discards.valid.eq(1), self.passes.eq(self.discards.ready),
                         self.drop.eq(self.discards.ready)]
            with m.If(self.discards.ready):
                m.next = "GO"
        with m.State("WAIT"):
            tells = Signal()
            m.d.comb += [tells.eq(self.late | (visit.row.waits == 0)),
                         self.save.row.waits.eq(visit.row.waits + tells),
                         self.save.row.timed.eq(1), self.hungers.valid.eq(1)]
            m.d.comb += self.waits.eq(1)
            with m.If(self.hungers.ready):
                m.d.comb += [self.save.enable.eq(1), self.timer.eq(~visit.row.timed)]
                m.next = "IDLE"
