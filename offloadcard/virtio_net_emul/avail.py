"""The available ring: which queue has something, how much, and the reads of its entries."""

# Ref: virtio-1.2, 2.7.6 (The Virtqueue Available Ring), 2.7.10 (Available Buffer Notification
#      Suppression), 2.7.13 (Supplying Buffers to The Device)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaReadPort, DmaWritePort
from ..rtl.worklist import WorkList
from .confine import BatchIds
from .ring_answers import RingAnswers
from .side import USED_TAG
from .table import Table

__all__ = ["Avail"]


class Avail(wiring.Component):
    """Turn doorbells into batches: visit queues that have work in turn; read the index, or the ring
    when something is known to be there.

    A visit costs a queue at most one batch, so queues share the card round robin. A batch is as
    large as its frames' pages allow, and a quarter of that when things are scarce. A queue gets
    more than one batch only while half of them are free and, if it sends, no ``crowd`` is in
    flight: others would wait for the link behind it; buffers ahead of its frames only while three
    quarters are free. Merged and early buffers come in whole batches. One index read of a queue is
    in flight at most; its ring reads do not wait.

    Functions whose memory is slow get one batch of one entry each, and all together a small part
    of the reads (:class:`~.confine.Confine`); their queues wait for it apart from the others.

    Where EVENT_IDX was negotiated, the driver notifies only for the entry named in ``avail_event``.
    It is written when the ring was seen empty, and the index is read again behind that write (the
    driver may have looked before it); until then the index is read when a batch ended.

    Timing
    ------
    4 cycles a visit or index answer. Doorbell to read of the index: 5 cycles; index to ring: 4.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    limited : bool
        Fetch no more than ``limit`` asks for (receive); else all that there is (transmit).

    Members
    -------
    doorbells : ``In(stream, always_ready)``; looks : ``In(stream)``
        Queues whose driver, or whose packets, ask for a look; the latter in gaps of the former.
    completions : ``In(stream)``
        Queues of which a batch ended.
    queue : ``Out``
        The queue looked at: address of the rows that follow by 1 cycle.
    setup, alive, frame_pages : ``In``
        What is set up of that queue; whether its function may go on; pages of a frame.
    done : ``In(4)``
        Batches of it that ended, modulo 16.
    limit : ``In(16)``
        Entries that may be asked for since power-up, modulo 2**16.
    scarce : ``In(1)``
        Batches shall be small.
    wanted : ``In(1)``
        Frames wait for that queue's entries; used where ``limited``.
    slow : ``In(1)``
        Its function's memory is slow.
    quiet : ``In(1)``
        Nothing but batches stands against the end of that queue.
    reads : ``Out(DmaReadPort(...))``, writes : ``Out(DmaWritePort(...))``
        DMA.
    batch_write, order_write, ring_write : ``Out``
        A new row of the batch table, of the queue's order; ring entries as they come in.
    arrived : ``Out(stream)``
        Batches whose ring entries are there, or not (``error``).
    returned : ``In(stream, always_ready)``
        Batches that ended: their ids.
    dry : ``Out(stream)``
        Queues of which the ring was seen empty.
    failures : ``Out(stream)``
        Functions whose driver broke the rules, or whose memory did not answer.
    checks : ``In(stream)``
        Queues to be ended: is it idle? If so its row is cleared.
    idle, checked : ``Out(1)``
        The answer, while ``checked``, one cycle a check.
    """

    def __init__(self, geometry, *, limited):
        self.geometry = g = geometry
        self.limited  = limited
        self.tag_width = Shape.cast(g.batch_id).width  # a batch, and which of its two reads
        queue = unsigned(g.queue_bits)
        self.answers = RingAnswers(g, tag_width=self.tag_width, write_tag=USED_TAG)
        self.granule = self.answers.granule
        super().__init__({
            "doorbells":   In(stream.Signature(queue, always_ready=True)),
            "looks":       In(stream.Signature(queue)),
            "completions": In(stream.Signature(queue)),
            "queue":       Out(queue),
            "setup":       In(g.setup),
            "alive":       In(1),
            "frame_pages": In(range(g.frame_pages + 1)),
            "done":        In(4),
            "limit":       In(16),
            "scarce":      In(1),
            "wanted":      In(1),
            "slow":        In(1),
            "quiet":       In(1),
            "reads":       Out(DmaReadPort(function_id_width=g.id_width,
                                           tag_width=self.tag_width, data_width=g.data_width)),
            "writes":      Out(DmaWritePort(function_id_width=g.id_width, tag_width=USED_TAG,
                                            data_width=g.data_width)),
            "batch_write": Out(data.StructLayout({
                "enable": 1, "batch": range(g.batches), "row": g.batch_row})),
            "order_write": Out(data.StructLayout({
                "enable": 1, "place": g.queue_bits + 3, "entry": g.order_entry})),
            "ring_write":  Out(self.answers.ring_write.shape()),
            "arrived":     Out(self.answers.arrived.signature),
            "returned":    In(stream.Signature(g.batch_id, always_ready=True)),
            "dry":         Out(stream.Signature(queue)),
            "failures":    Out(stream.Signature(g.id_width)),
            "checks":      In(stream.Signature(queue)),
            "idle":        Out(1),
            "checked":     Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry

        m.submodules.called = called = WorkList(count=g.queues)
        m.submodules.more   = more   = WorkList(count=g.queues)
        m.submodules.parked = parked = WorkList(count=g.queues)
        m.submodules.ids    = ids    = BatchIds(g)
        m.submodules.rows   = rows   = Table(data.StructLayout({
            "next": 16, "known": 16, "total": 16, "issued": 4, "busy": 1, "again": 1,
            "blocked": 1, "armed": 1}), depth=g.queues)
        m.submodules.answers = answers = self.answers
        m.submodules.dry      = dry      = Queue(unsigned(g.queue_bits), depth=4)
        m.submodules.failures = failures = Queue(unsigned(g.id_width), depth=4)
        m.submodules.owners   = owners   = Table(g.queue_bits + 1, depth=g.batches)
        wiring.connect(m, dry.o, wiring.flipped(self.dry))
        wiring.connect(m, failures.o, wiring.flipped(self.failures))
        indices = answers.indices
        wiring.connect(m, answers.arrived, wiring.flipped(self.arrived))
        m.d.comb += [
            answers.beats.valid.eq(self.reads.beats.valid),
            answers.beats.payload.eq(self.reads.beats.payload),
            answers.answers.valid.eq(self.writes.answers.valid),
            answers.answers.payload.eq(self.writes.answers.payload),
            self.ring_write.eq(answers.ring_write),
        ]

        # --- who is looked at ---
        visit, index, check, by_call = (Signal(name=name) for name in (
            "visit", "index", "check", "by_call"))
        queue    = Signal(g.queue_bits)
        queue_r  = Signal(g.queue_bits)
        id_r     = Signal(g.batch_id)
        armed    = Signal()
        idx_r    = Signal(16)
        error_r  = Signal()
        idle     = Signal()
        # An index answer knows its batch, the batch its queue: a cycle to look that up.
        seen     = Signal()
        m.d.comb += owners.addresses[0].eq(indices.p.batch)
        m.d.sync += seen.eq(indices.valid & ~indices.ready)

        row = rows.rows[0]
        m.d.comb += [self.queue.eq(queue), rows.addresses[0].eq(queue)]
        wiring.connect(m, wiring.flipped(self.returned), ids.returned)

        again_call, again_more = Signal(), Signal()
        m.d.comb += [
            called.i.payload.eq(Mux(self.doorbells.valid, self.doorbells.payload,
                                    Mux(again_call, queue_r, self.looks.payload))),
            called.i.valid.eq(self.doorbells.valid | again_call | self.looks.valid),
            self.looks.ready.eq(~self.doorbells.valid & ~again_call),
            more.i.payload.eq(Mux(again_more, queue_r, self.completions.payload)),
            more.i.valid.eq(again_more | self.completions.valid),
            self.completions.ready.eq(~again_more),
        ]

        # --- the machine ---
        size, have  = Signal(16), Signal(16)
        room, spare = Signal(signed(16)), Signal(7)
        enough = Signal()  # entries are ahead: rather none now than a small batch
        known, small = Signal(16), Signal()  # less than a batch holds, of what leaves
        next_, ring, row_r = Signal.like(row), Signal(), Signal.like(row)
        mask, setup = Signal(16), Signal(g.setup)
        most  = Signal(range(g.batch + 1))   # entries of a batch
        usual = Signal.like(most)
        plenty, ample = Signal(), Signal()
        few = g.batches // 2 if self.limited else min(g.batches // 2, g.crowd)
        m.d.sync += [plenty.eq(ids.free > g.batches - few),
                     ample.eq(ids.free > 3 * g.batches // 4)]
        m.d.comb += usual.eq(1)
        for bits in range(1, g.batch_bits + 1):
            with m.If(self.frame_pages <= g.pages >> 2 + bits):
                m.d.comb += usual.eq(1 << bits)
        if self.limited:
            with m.If(self.setup.features.mrg_rxbuf):
                m.d.comb += usual.eq(g.batch)
        pages = Signal.like(self.frame_pages)
        m.d.comb += [enough.eq(room <= spare), small.eq(0 if self.limited else have < most),
                     next_.eq(row_r), rows.address.eq(queue_r), rows.row.eq(next_)]
        request, beat = self.reads.requests, self.writes.beats
        m.d.comb += [
            request.p.function_id.eq(g.function_of(queue_r)),
            request.p.tag.eq(Cat(id_r.batch, ring)),
            self.batch_write.batch.eq(id_r.batch),
            self.batch_write.row.queue.eq(queue_r),
            self.batch_write.row.position.eq(row_r.next),
            self.batch_write.row.generation.eq(id_r.generation),
            *(self.batch_write.row[name].eq(setup[name])
              for name in ("desc", "driver", "device", "size", "vector", "features")),
            self.batch_write.row.frame_pages.eq(pages),
            self.order_write.place.eq(Cat(row_r.issued[:3], queue_r)),
            self.order_write.entry.batch.eq(id_r.batch),
            self.order_write.entry.lap.eq(~row_r.issued[3]),
            owners.address.eq(id_r.batch),
            owners.row.eq(Cat(queue_r, id_r.generation)),
            failures.i.payload.eq(g.function_of(queue_r)),
            dry.i.payload.eq(queue_r),
            beat.p.function_id.eq(g.function_of(queue_r)), beat.p.length.eq(2),
            beat.p.address.eq(setup.device + 4 + (setup.size << 3)),
            beat.p.data.as_value().eq(row_r.next), beat.p.first.eq(1), beat.p.last.eq(1),
            answers.wrote.valid.eq(beat.valid & beat.ready),
            answers.wrote.payload.eq(id_r.batch),
        ]
        give_back, count = Signal(), Signal(range(g.batch + 1))
        m.d.comb += self.batch_write.row.count.eq(count)
        # What a slow function may not begin now waits apart, and goes before others when it may.
        slow, waited, take_id, passes = (Signal(name=name) for name in (
            "slow", "waited", "take_id", "passes"))
        m.d.comb += [
            parked.i.payload.eq(queue_r), passes.eq(parked.o.valid & ids.loose),
            ids.unused.valid.eq(give_back), ids.unused.id.eq(id_r), ids.o.ready.eq(take_id),
            ids.begins.eq(take_id), ids.begin.eq(id_r.batch), ids.slow.eq(slow),
            ids.cost.eq(pages),
        ]

        with m.FSM():
            with m.State("IDLE"):
                with m.If(seen & indices.valid):
                    m.d.comb += [queue.eq(owners.rows[0]), indices.ready.eq(1)]
                    m.d.sync += [
                        index.eq(1), visit.eq(0), check.eq(0), id_r.batch.eq(indices.p.batch),
                        id_r.generation.eq(owners.rows[0][-1]), armed.eq(indices.p.armed),
                        idx_r.eq(indices.p.idx), error_r.eq(indices.p.error)]
                    m.next = "LOOK"
                with m.Elif(self.checks.valid):
                    m.d.comb += [queue.eq(self.checks.payload), self.checks.ready.eq(1)]
                    m.d.sync += [index.eq(0), visit.eq(0), check.eq(1)]
                    m.next = "LOOK"
                with m.Elif(ids.o.valid & dry.i.ready & (called.o.valid | more.o.valid | passes)):
                    m.d.comb += [
                        queue.eq(Mux(passes, parked.o.payload,
                                     Mux(more.o.valid, more.o.payload, called.o.payload))),
                        parked.o.ready.eq(passes), more.o.ready.eq(~passes),
                        called.o.ready.eq(~passes & ~more.o.valid)]
                    m.d.sync += [index.eq(0), visit.eq(1), check.eq(0), waited.eq(passes),
                                 by_call.eq(~passes & ~more.o.valid), id_r.eq(ids.o.payload),
                                 ids.second.eq(ids.kept)]
                    m.next = "LOOK"
                m.d.sync += queue_r.eq(queue)
            with m.State("LOOK"):
                m.d.comb += known.eq(Mux(index & ~armed, idx_r, row.known))
                m.d.sync += [
                    row_r.eq(row), row_r.known.eq(known), have.eq(known - row.next),
                    setup.eq(self.setup), pages.eq(self.frame_pages), slow.eq(self.slow),
                    mask.eq(self.setup.size - 1),
                    most.eq(Mux(self.slow, 1,
                                Mux(self.scarce & (usual > 4), usual >> 2, usual))),
                    room.eq(self.limit - row.total),
                    spare.eq(Mux(self.wanted, 4 * g.batch - 16, g.batch // 2)),
                    idle.eq((row.issued == self.done) & ~row.busy & self.quiet),
                ]
                runs, full, flying = Signal(), Signal(), Signal(4)
                lots = Mux(self.wanted, plenty, ample) if self.limited else plenty
                m.d.comb += [runs.eq(self.alive & self.setup.enable),
                             flying.eq((row.issued - self.done)[:4]),
                             full.eq((flying == g.per_queue)
                                     | (flying != 0) & (~lots | self.slow))]
                m.next = "CHECK"
                with m.If(visit):
                    with m.If(~runs):
                        m.next = "IDLE"
                        if self.limited:
                            # What waits for a queue that was never enabled waits in vain.
                            with m.If(self.alive):
                                m.next = "EMPTY"
                    with m.Elif(row.busy | full):
                        m.next = "LATER"
                with m.Elif(index & ~runs):
                    m.next = "STOPPED"
                m.d.sync += size.eq(self.setup.size - (row.next & (self.setup.size - 1)))
            with m.State("LATER"):
                m.d.comb += [next_.again.eq(row_r.again | row_r.busy & by_call),
                             next_.blocked.eq(row_r.blocked | ~row_r.busy & by_call),
                             rows.enable.eq(1)]
                m.next = "IDLE"
            if self.limited:
                with m.State("EMPTY"):
                    m.d.comb += dry.i.valid.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):
                m.d.comb += [next_.busy.eq(0), next_.again.eq(0), next_.known.eq(row_r.next),
                             next_.armed.eq(0), rows.enable.eq(1), give_back.eq(1)]
                m.next = "IDLE"
            with m.State("CHECK"):
                with m.If(check):
                    m.d.comb += [
                        next_.next.eq(0), next_.known.eq(0), next_.again.eq(0),
                        next_.blocked.eq(0), next_.armed.eq(0), rows.enable.eq(idle),
                        self.checked.eq(1), self.idle.eq(idle)]
                    m.next = "IDLE"
                with m.Elif(visit & slow & (~ids.room | parked.o.valid & ~waited)):
                    m.d.comb += parked.i.valid.eq(1)
                    m.next = "LATER"
                with m.Elif(index & (error_r | (have > setup.size))):
                    # [virtio-1.2: 2.7.6] more entries than the ring holds: not a driver's index.
                    m.d.comb += failures.i.valid.eq(1)
                    with m.If(failures.i.ready):
                        m.next = "STOPPED"
                with m.Elif(index & armed):
                    # [virtio-1.2: 2.7.10] what came before the driver could see it.
                    m.next = "ASK"
                with m.Elif(index & (have == 0) & setup.features.event_idx & ~row_r.armed):
                    m.next = "ARM"
                with m.Elif(index & (have == 0)):
                    m.d.comb += [next_.busy.eq(0), next_.again.eq(0), rows.enable.eq(1),
                                 give_back.eq(1), again_call.eq(row_r.again),
                                 dry.i.valid.eq(~row_r.again)]
                    # A doorbell in this very cycle is remembered instead, by waiting for it.
                    with m.If(row_r.again & self.doorbells.valid | ~dry.i.ready):
                        m.d.comb += [rows.enable.eq(0), give_back.eq(0), dry.i.valid.eq(0)]
                    with m.Else():
                        m.next = "IDLE"
                with m.Elif(visit & ((have == 0) | small & (by_call | row_r.blocked))):
                    ask = Signal()  # who called may know of more: rather that than a part
                    m.d.comb += ask.eq(by_call | row_r.blocked
                                       | setup.features.event_idx & ~row_r.armed)
                    if self.limited:
                        with m.If(enough):  # the next frame asks again
                            m.d.comb += ask.eq(0)
                    m.next = "IDLE"
                    with m.If(ask):
                        m.next = "ASK"
                with m.Else():
                    least, wrap = Signal(16), Signal(16)
                    m.d.comb += [wrap.eq(Mux(have < size, have, size)),
                                 least.eq(Mux(wrap < most, wrap, most))]
                    m.next = "RING"
                    if self.limited:
                        # An index answer holds a batch and takes what it came for.
                        m.d.sync += count.eq(Mux((room > 0) & (room < least), room, least))
                        with m.If(visit & enough & ((room < most) | (have < most))):
                            m.next = "IDLE"
                        with m.If((room <= 0) & index):
                            m.d.sync += count.eq(1)
                    else:
                        m.d.sync += count.eq(least)
            with m.State("ASK"):
                m.d.comb += [
                    ring.eq(0), request.valid.eq(1),
                    request.p.address.eq(setup.driver), request.p.length.eq(4)]
                with m.If(request.ready):
                    m.d.comb += [take_id.eq(visit), owners.enable.eq(1), rows.enable.eq(1),
                                 next_.busy.eq(1), next_.blocked.eq(0)]
                    m.next = "IDLE"
            with m.State("ARM"):
                with m.If(beat.ready):
                    m.d.comb += [rows.enable.eq(1), next_.armed.eq(1)]
                    m.next = "IDLE"
                m.d.comb += beat.valid.eq(1)
            with m.State("RING"):
                offset, after = Signal(17), Signal(16)
                m.d.comb += [
                    offset.eq((row_r.next & mask) << 1), ring.eq(1), request.valid.eq(1),
                    request.p.address.eq(setup.driver + 4 + offset),
                    request.p.length.eq(count << 1),
                    after.eq(row_r.next + count)]
                # Who called meanwhile, or this time, may know of more than the index that we know.
                again = Signal()
                m.d.comb += again.eq(row_r.blocked | row_r.again & index | by_call & visit)
                with m.If(request.ready):
                    m.d.comb += [
                        take_id.eq(visit), rows.enable.eq(1), next_.next.eq(after),
                        next_.total.eq(row_r.total + count), next_.issued.eq(row_r.issued + 1),
                        next_.blocked.eq(again), next_.armed.eq(0), self.batch_write.enable.eq(1),
                        self.order_write.enable.eq(1),
                        again_more.eq((after != row_r.known) | again)]
                    with m.If(index):
                        m.d.comb += [next_.busy.eq(0), next_.again.eq(0)]
                    m.next = "IDLE"

        return m
