"""Completion queues: entries with phase and head, combined to lines; then the interrupt."""

# Ref: nvme-base-1.4c, 4.6 (Completion Queue Entry), 7.5 (Interrupts)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Buffer, Queue
from offloadcard.rtl.gearbox import Narrow
from offloadcard.rtl.ports import DmaWritePort, InterruptPort, dma_write_beat

from .layouts import command, posted_row, queue_update, release, result
from .spec import CQE_OCTETS, Cqe

__all__ = ["Completion"]

LINE_CQES = 4


class Completion(wiring.Component):
    """Post a CQE for each result, tell the guest by interrupt, then let the command go.

    Room in the completion queue was reserved when the command was fetched, so nothing waits for a
    guest here. Neighbours in one 64-octet line of one queue share a write, and its interrupt. A
    line is sent when it is full, when another queue's turn comes, when no other command is in
    flight, or when nothing came for ``patience`` cycles.

    A command is released after its CQE was accepted in posted order and its interrupt accepted
    behind it. A CQE that is refused is told as a fault of the function.

    Timing
    ------
    One result in 4 cycles; a line leaves 6 cycles after its last result when nothing else is in
    flight.

    Parameters
    ----------
    function_id_width, qid_width, slot_width, data_width : int
        Widths in bits.
    patience : int
        Cycles that a line waits for neighbours.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; kept by slot.
    updates : ``In(stream.Signature(queue_update(...)))``
        Queues that begin or end.
    results : ``In(stream.Signature(result(...)))``
        Commands that are over.
    writes : ``Out(DmaWritePort(...))``
        CQEs.
    interrupts : ``Out(InterruptPort(...))``
        Interrupts.
    releases : ``Out(stream.Signature(release(...)))``
        Commands that left nothing behind.
    faults : ``Out(stream.Signature(function_id_width, always_ready=True))``
        Functions whose CQE was refused.
    busy : ``In(16)``
        Commands in flight on the card.
    sqhd_address, sqhd : looks up a submission queue's head.
    posted_address : ``In(queue_id_width)``
        Completion queue to look up.
    posted : ``Out(posted_row())``
        Its state, one cycle later.
    completions : ``Out(64)``
        CQEs posted since power-up.
    """

    def __init__(self, *, function_id_width, qid_width, slot_width, data_width, patience=12):
        self.queue = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.slot_width, self.data_width = slot_width, data_width
        self.patience = patience
        width = function_id_width + qid_width
        self.port = {"function_id_width": function_id_width, "tag_width": 1}
        super().__init__({
            "commands":   In(stream.Signature(command(slot_width=slot_width, **self.queue),
                                              always_ready=True)),
            "updates":    In(stream.Signature(queue_update(**self.queue))),
            "results":    In(stream.Signature(result(slot_width=slot_width))),
            "writes":     Out(DmaWritePort(data_width=data_width, **self.port)),
            "interrupts": Out(InterruptPort(function_id_width=function_id_width)),
            "releases":   Out(stream.Signature(release(slot_width=slot_width, **self.queue))),
            "faults":     Out(stream.Signature(function_id_width, always_ready=True)),
            "busy":       In(16),
            "sqhd_address":   Out(width),
            "sqhd":           In(16),
            "posted_address": In(width),
            "posted":         Out(posted_row()),
            "completions":    Out(64),
        })

    def elaborate(self, platform):
        m = Module()

        function_id_width = self.queue["function_id_width"]
        queues = 1 << (function_id_width + self.queue["qid_width"])
        slots  = 1 << self.slot_width
        owner_shape = data.StructLayout({
            "function_id": function_id_width, "qid": self.queue["qid_width"],
            "cqid": self.queue["qid_width"], "cid": 16})
        queue_shape = data.StructLayout({
            "valid": 1, "size": 16, "base": 64, "vector": 11, "interrupts": 1})
        m.submodules.owners = owners = memory.Memory(shape=owner_shape, depth=slots, init=[])
        m.submodules.queues = rows   = memory.Memory(shape=queue_shape, depth=queues, init=[])
        m.submodules.states = states = memory.Memory(shape=posted_row(), depth=queues, init=[])
        owners_w, rows_w, states_w = (store.write_port() for store in (owners, rows, states))
        owners_r = owners.read_port(transparent_for=(owners_w,))
        rows_r   = rows.read_port(transparent_for=(rows_w,))
        states_r = states.read_port(transparent_for=(states_w,))
        states_l = states.read_port(transparent_for=(states_w,))

        given    = Signal.like(self.results.payload)
        owner    = Signal(owner_shape)
        row      = Signal(queue_shape)
        state    = Signal(posted_row())
        sqhd     = Signal(16)
        update   = self.updates
        cq_id    = Signal(range(queues))
        updated  = Signal(range(queues))
        m.d.comb += [
            owners_w.addr.eq(self.commands.p.slot),
            *(owners_w.data[name].eq(self.commands.p[name]) for name in owner_shape.members),
            owners_w.en.eq(self.commands.valid),
            owners_r.addr.eq(self.results.p.slot),
            cq_id.eq(Cat(owners_r.data.cqid, owners_r.data.function_id)),
            rows_r.addr.eq(cq_id), states_r.addr.eq(cq_id),
            # The head of the queue whose command it was; an event's was the admin queue.
            self.sqhd_address.eq(Cat(Mux(owners_r.data.qid.all(), 0, owners_r.data.qid),
                                     owners_r.data.function_id)),
            updated.eq(Cat(update.p.qid, update.p.function_id)),
            rows_w.addr.eq(updated),
            *(rows_w.data[name].eq(update.p[name]) for name in queue_shape.members),
            states_l.addr.eq(self.posted_address), self.posted.eq(states_l.data),
        ]

        # The open line.
        line       = Signal(512)
        line_count = Signal(range(LINE_CQES + 1))
        line_queue = Signal(range(queues))
        line_owner = Signal(function_id_width)
        line_at    = Signal(64)
        line_row   = Signal(queue_shape)
        line_full  = Signal()
        quiet      = Signal(range(self.patience + 1))
        due        = Signal()  # `quiet` is `patience`
        inside     = Signal(16)  # results taken, not yet released
        flush, flushed = Signal(), Signal()
        cqe        = Signal(Cqe)
        own_id     = Signal(range(queues))
        fits       = Signal()
        m.d.comb += [
            own_id.eq(Cat(owner.cqid, owner.function_id)),
            fits.eq((line_count == 0) | ((line_queue == own_id) & ~line_full)),
            cqe.dw0.eq(given.dw0), cqe.sqhd.eq(sqhd),
            cqe.sqid.eq(Mux(given.event, 0, owner.qid)),
            cqe.cid.eq(Mux(given.event, given.cid, owner.cid)),
            cqe.phase.eq(state.phase), cqe.status.eq(given.status),
            cqe.dnr.eq(given.status != 0),
        ]
        wraps = Signal()
        m.d.comb += wraps.eq(state.tail == row.size)

        end_shape = release(slot_width=self.slot_width, **self.queue)
        m.submodules.ends   = ends   = Queue(end_shape, depth=slots)
        m.submodules.merge  = merge  = Merge(end_shape, count=2)
        for port in (ends.i, merge.i[1]):
            m.d.comb += [
                port.p.function_id.eq(owner.function_id), port.p.qid.eq(owner.qid),
                port.p.slot.eq(given.slot), port.p.has_slot.eq(1), port.p.count.eq(1),
            ]

        drop = Signal()  # no CQE: nobody waits for it, or its queue is gone
        with m.FSM(name="post"):
            with m.State("RESULT"):
                m.d.sync += given.eq(self.results.payload)
                with m.If(update.valid):
                    m.next = "UPDATE"
                with m.Elif(self.results.valid):
                    m.d.comb += self.results.ready.eq(1)
                    m.next = "OWNER"
            with m.State("UPDATE"):
                m.d.comb += [
                    update.ready.eq(1), rows_w.en.eq(update.p.completion),
                    states_w.en.eq(update.p.completion), states_w.addr.eq(updated),
                    states_w.data.tail.eq(0), states_w.data.phase.eq(1),
                    states_w.data.finished.eq(0),
                ]
                m.next = "RESULT"
            with m.State("OWNER"):
                m.d.sync += owner.eq(owners_r.data)
                m.next = "QUEUE"
            with m.State("QUEUE"):
                m.d.sync += [row.eq(rows_r.data), state.eq(states_r.data), sqhd.eq(self.sqhd),
                             drop.eq(given.silent | ~rows_r.data.valid)]
                m.next = "POST"
            with m.State("POST"):
                m.d.comb += [
                    states_w.addr.eq(own_id), states_w.data.eq(state),
                    states_w.data.finished.eq(state.finished + 1),
                ]
                with m.If(drop):
                    m.d.comb += merge.i[1].valid.eq(1)
                    with m.If(merge.i[1].ready):
                        m.d.comb += states_w.en.eq(1)
                        m.next = "RESULT"
                with m.Elif(fits & ~flush):
                    m.d.comb += [
                        states_w.en.eq(1), ends.i.valid.eq(1),
                        states_w.data.tail.eq(Mux(wraps, 0, state.tail + 1)),
                        states_w.data.phase.eq(state.phase ^ wraps),
                    ]
                    with m.Switch(line_count):
                        for number in range(LINE_CQES):
                            with m.Case(number):
                                m.d.sync += line[128 * number:][:128].eq(cqe)
                    m.d.sync += [
                        line_count.eq(line_count + 1), line_queue.eq(own_id), line_row.eq(row),
                        line_owner.eq(owner.function_id), quiet.eq(0), due.eq(0),
                        line_full.eq(wraps | (state.tail[:2] == LINE_CQES - 1)),
                        self.completions.eq(self.completions + 1),
                    ]
                    with m.If(line_count == 0):
                        m.d.sync += line_at.eq(row.base + state.tail * CQE_OCTETS)
                    m.next = "RESULT"

        # Send the line: at once if there is a reason, kept until the port has taken it.
        waits = Signal()  # a result that does not fit stands before the line
        asked = Signal()
        alone = Signal()  # nothing else is in flight
        group_shape = data.StructLayout({
            "function_id": function_id_width, "vector": 11, "interrupts": 1,
            "count": range(LINE_CQES + 1)})
        m.submodules.groups = groups = Queue(group_shape, depth=16)
        m.submodules.narrow = narrow = Narrow(data_width=self.data_width, **self.port)
        m.submodules.buffer = buffer = Buffer(
            dma_write_beat(data_width=512, **self.port))
        m.submodules.border = border = Buffer(
            dma_write_beat(data_width=self.data_width, **self.port))
        wiring.connect(m, buffer.o, narrow.i)
        wiring.connect(m, narrow.o, border.i)
        wiring.connect(m, border.o, wiring.flipped(self.writes.beats))
        with m.If((line_count != 0) & ~due):
            m.d.sync += [quiet.eq(quiet + 1), due.eq(quiet == self.patience - 1)]
        m.d.comb += [
            waits.eq(~fits),
            asked.eq(line_full | due | alone),
            flush.eq((line_count != 0) & (asked | waits)),
            flushed.eq(flush & buffer.i.ready & groups.i.ready),
            buffer.i.valid.eq(flush & groups.i.ready),
            groups.i.valid.eq(flush & buffer.i.ready),
            groups.i.p.function_id.eq(line_owner), groups.i.p.count.eq(line_count),
            groups.i.p.vector.eq(line_row.vector),
            groups.i.p.interrupts.eq(line_row.interrupts),
            buffer.i.p.data.eq(line), buffer.i.p.function_id.eq(line_owner),
            buffer.i.p.address.eq(line_at), buffer.i.p.length.eq(line_count * CQE_OCTETS),
            buffer.i.p.first.eq(1), buffer.i.p.last.eq(1),
        ]
        m.d.sync += alone.eq(self.busy <= inside)
        with m.If(flushed):
            m.d.sync += [line_count.eq(0), line_full.eq(0), quiet.eq(0), due.eq(0)]

        # The write was accepted: interrupt, then release.
        m.submodules.accepted = accepted = Queue(1, depth=32)
        left  = Signal(range(LINE_CQES + 1))
        group = groups.o.p
        m.d.comb += [
            accepted.i.valid.eq(self.writes.answers.valid),
            accepted.i.payload.eq(self.writes.answers.p.error),
            self.interrupts.requests.p.function_id.eq(group.function_id),
            self.interrupts.requests.p.vector.eq(group.vector),
            self.faults.payload.eq(group.function_id),
            merge.i[0].payload.eq(ends.o.payload),
        ]
        with m.FSM(name="end"):
            with m.State("WRITE"):
                m.d.sync += left.eq(group.count)
                with m.If(accepted.o.valid & groups.o.valid):
                    m.d.comb += accepted.o.ready.eq(1)
                    with m.If(accepted.o.payload):
                        m.d.comb += self.faults.valid.eq(1)
                        m.next = "RELEASE"
                    with m.Elif(group.interrupts):
                        m.next = "INTERRUPT"
                    with m.Else():
                        m.next = "RELEASE"
            with m.State("INTERRUPT"):
                m.d.comb += self.interrupts.requests.valid.eq(1)
                with m.If(self.interrupts.requests.ready):
                    m.next = "ANSWER"
                    with m.If(self.interrupts.answers.valid):
                        m.next = "RELEASE"
            with m.State("ANSWER"):
                with m.If(self.interrupts.answers.valid):
                    m.next = "RELEASE"
            with m.State("RELEASE"):
                m.d.comb += merge.i[0].valid.eq(ends.o.valid)
                with m.If(merge.i[0].valid & merge.i[0].ready):
                    m.d.comb += ends.o.ready.eq(1)
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.comb += groups.o.ready.eq(1)
                        m.next = "WRITE"
        m.submodules.over = over = Buffer(end_shape)
        wiring.connect(m, merge.o, over.i)
        wiring.connect(m, over.o, wiring.flipped(self.releases))

        took = self.results.valid & self.results.ready
        gone = self.releases.valid & self.releases.ready
        m.d.sync += inside.eq(inside + took - gone)

        return m
