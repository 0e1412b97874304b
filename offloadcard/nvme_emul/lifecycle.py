"""Controllers come to life and end: CC.EN, shutdown, function level reset."""

# Ref: nvme-base-1.4c, 3.1.5 (CC), 3.1.6 (CSTS), 7.3 (Resets), 7.6 (initialization and shutdown)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Buffer, Queue
from offloadcard.rtl.ports import LifecyclePort
from offloadcard.rtl.worklist import WorkList

from .layouts import queue_update
from .properties import WORD_ACQ, WORD_AQA, WORD_ASQ, WORD_CC, WORDS
from .spec import (
    CSS_NVM,
    SHST_COMPLETE,
    AdminQueueAttributes,
    ControllerConfiguration,
    ControllerStatus,
)

__all__ = ["Lifecycle"]


class Lifecycle(wiring.Component):
    """Start a function's controller, end it, and say so when it has ended.

    To end: no entry is fetched any more; commands in flight end by themselves, however long that
    takes, while other functions are served; when there are none all rows of the function are
    cleared. Only then CSTS.RDY falls, or ``drained`` is said. A function that is stopped loses its
    registers too.

    Timing
    ------
    A start takes 40 cycles; an end takes about 12 cycles a queue after the last command. A look at
    a function that waits takes 6 cycles, in turn with all others.

    Parameters
    ----------
    function_id_width, qid_width, count_width : int
        Widths in bits.
    queues : int
        Queues a function has, the admin queue included.

    Members
    -------
    changes : ``In(stream.Signature(function_id_width, always_ready=True))``
        Functions whose CC was written.
    lifecycle : ``In(LifecyclePort(...))``
        Functions that shall be stopped.
    faults : ``In(stream.Signature(function_id_width, always_ready=True)).array(2)``
        Functions whose queues could not be reached: CSTS.CFS.
    word_address, word, clears, status_write, status_function_id, status :
        As of :class:`~offloadcard.nvme_emul.properties.Properties`.
    updates : ``Out(stream.Signature(queue_update(...)))``
        Queues that begin or end.
    admin_clears : ``Out(stream.Signature(function_id_width))``
        Functions whose admin rows shall be cleared.
    function_address, fetched, ended :
        Looks up how many commands of a function were fetched, and how many have ended.
    """

    wait_for_commands = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, queues, count_width):
        self.function_id_width, self.qid_width = function_id_width, qid_width
        self.queues = queues
        news = stream.Signature(function_id_width, always_ready=True)
        super().__init__({
            "changes":      In(news),
            "lifecycle":    In(LifecyclePort(function_id_width=function_id_width)),
            "faults":       In(news).array(2),
            "word_address": Out(function_id_width + 2),
            "word":         In(64),
            "clears":       Out(stream.Signature(function_id_width + 2)),
            "status_write": Out(1),
            "status_function_id": Out(function_id_width),
            "status":       Out(ControllerStatus),
            "updates":      Out(stream.Signature(queue_update(
                function_id_width=function_id_width, qid_width=qid_width))),
            "admin_clears": Out(stream.Signature(function_id_width)),
            "function_address": Out(function_id_width),
            "fetched":      In(count_width),
            "ended":        In(count_width),
        })

    def elaborate(self, platform):
        m = Module()

        functions = 1 << self.function_id_width
        event_qid = (1 << self.qid_width) - 1
        shape = data.StructLayout({
            "running":  1,   # queues exist
            "ending":   1,   # commands in flight are awaited
            "stopping": 1,   # by the lifecycle port; its registers go too
            "fatal":    1,
            "shut":     1})
        m.submodules.rows = rows = memory.Memory(shape=shape, depth=functions, init=[])
        rows_w = rows.write_port()
        rows_r = rows.read_port(transparent_for=(rows_w,))

        # What is to be done: four lists, each function at most once in each.
        turn_shape = data.StructLayout({"function_id": self.function_id_width})
        m.submodules.turns = turns = Merge(turn_shape, count=5)
        sources = {"stops": self.lifecycle.stops, "changes": self.changes,
                   "sq_faults": self.faults[0], "cq_faults": self.faults[1]}
        for number, (name, source) in enumerate(sources.items()):
            m.submodules[name] = worklist = WorkList(count=functions)
            payload = source.p.function_id if name == "stops" else source.payload
            m.d.comb += [
                worklist.i.valid.eq(source.valid), worklist.i.payload.eq(payload),
                turns.i[number].valid.eq(worklist.o.valid),
                turns.i[number].p.function_id.eq(worklist.o.payload),
                worklist.o.ready.eq(turns.i[number].ready),
            ]
        m.submodules.enders = enders = Queue(turn_shape, depth=functions)
        m.submodules.next_ender = next_ender = Buffer(turn_shape)
        wiring.connect(m, enders.o, next_ender.i)
        wiring.connect(m, next_ender.o, turns.i[4])

        function_id = Signal(self.function_id_width)
        kind   = Signal(range(5))
        row    = Signal(shape)
        cc     = Signal(ControllerConfiguration)
        aqa    = Signal(AdminQueueAttributes)
        asq, acq = Signal(64), Signal(64)
        word   = Signal(2)
        qid    = Signal(self.qid_width)
        final  = Signal()   # the second walk: nothing was in flight before it
        half   = Signal()   # of a walk: submission queue, then completion queue
        idle   = Signal()
        was_idle = Signal()  # in the cycle before
        m.d.comb += [
            rows_r.addr.eq(function_id),
            rows_w.addr.eq(function_id), rows_w.data.eq(row),
            self.word_address.eq(Cat(word, function_id)),
            self.function_address.eq(function_id),
            idle.eq((self.fetched == self.ended) | int(not self.wait_for_commands)),
            self.status_function_id.eq(function_id),
            self.status_write.eq(rows_w.en),
            self.status.rdy.eq(rows_w.data.running | rows_w.data.ending),
            self.status.cfs.eq(rows_w.data.fatal),
            self.status.shst.eq(Mux(rows_w.data.shut, SHST_COMPLETE, 0)),
            self.admin_clears.payload.eq(function_id),
            self.clears.payload.eq(Cat(word, function_id)),
            self.lifecycle.drained.p.function_id.eq(function_id),
            enders.i.p.function_id.eq(function_id),
        ]
        # Whoever is told of a queue's end or begin is not waited for in the same cycle.
        m.submodules.queue_changes = changes = Buffer(self.updates.payload.shape())
        wiring.connect(m, changes.o, wiring.flipped(self.updates))
        update = changes.i.p
        m.d.comb += update.function_id.eq(function_id)

        m.d.sync += was_idle.eq(idle)
        with m.FSM(name="life"):
            with m.State("TURN"):
                m.d.comb += turns.o.ready.eq(1)
                m.d.sync += [function_id.eq(turns.o.p.function_id), kind.eq(turns.index),
                             word.eq(WORD_CC), qid.eq(0), half.eq(0), final.eq(0)]
                with m.If(turns.o.valid):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [row.eq(rows_r.data), cc.eq(self.word[32:])]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.Switch(kind):
                    with m.Case(0):
                        m.d.sync += row.stopping.eq(1)
                        m.next = "END"
                        with m.If(row.ending):
                            m.next = "STORE"  # it is being looked at already
                    with m.Case(1):
                        m.next = "STORE"
                        with m.If(row.ending | row.stopping):
                            pass  # looked at again when it has ended
                        with m.Elif(row.running & ~cc.en):
                            m.next = "END"
                        with m.Elif(~row.running & cc.en & ~row.fatal):
                            m.d.sync += word.eq(WORD_AQA)
                            m.next = "START-AQA"
                        with m.Elif(~row.running & ~cc.en):
                            m.d.sync += [row.fatal.eq(0), row.shut.eq(cc.shn != 0)]
                        with m.Elif(cc.shn != 0):
                            m.d.sync += row.shut.eq(1)
                    with m.Case(2, 3):
                        m.d.sync += row.fatal.eq(row.fatal | row.running)
                        m.next = "STORE"
                    with m.Case(4):
                        m.next = "WAIT"
                        with m.If(was_idle):
                            m.d.sync += final.eq(1)
                            m.next = "WALK"
            with m.State("STORE"):
                # It is ready when its queues are.
                with m.If(~changes.o.valid):
                    m.d.comb += rows_w.en.eq(1)
                    m.next = "TURN"

            # --- start --------------------------------------------------------------------
            with m.State("START-AQA"):
                m.d.sync += word.eq(WORD_ASQ)
                m.next = "START-ASQ"
            with m.State("START-ASQ"):
                m.d.sync += [aqa.eq(self.word[32:]), word.eq(WORD_ACQ)]
                m.next = "START-ACQ"
            with m.State("START-ACQ"):
                m.d.sync += asq.eq(self.word)
                m.next = "START-CHECK"
            with m.State("START-CHECK"):
                m.d.sync += acq.eq(self.word)
                with m.If((cc.css != CSS_NVM) | (cc.mps != 0) | (cc.ams != 0)
                          | (aqa.asqs == 0) | (aqa.acqs == 0)):
                    m.d.sync += row.fatal.eq(1)
                    m.next = "STORE"
                with m.Else():
                    m.next = "START-CQ"
            with m.State("START-CQ"):
                m.d.comb += [
                    changes.i.valid.eq(1), update.valid.eq(1), update.completion.eq(1),
                    update.size.eq(aqa.acqs), update.base.eq(acq & ~0xFFF),
                    update.interrupts.eq(1),
                ]
                with m.If(changes.i.ready):
                    m.next = "START-SQ"
            with m.State("START-SQ"):
                m.d.comb += [
                    changes.i.valid.eq(1), update.valid.eq(1),
                    update.size.eq(aqa.asqs), update.base.eq(asq & ~0xFFF),
                ]
                with m.If(changes.i.ready):
                    m.next = "START-EVENTS"
            with m.State("START-EVENTS"):
                m.d.comb += [
                    changes.i.valid.eq(1), update.valid.eq(1), update.qid.eq(event_qid)]
                with m.If(changes.i.ready):
                    m.d.sync += [row.running.eq(1), row.shut.eq(0)]
                    m.next = "STORE"

            # --- end ----------------------------------------------------------------------
            with m.State("END"):
                m.d.sync += [row.running.eq(0), row.ending.eq(1)]
                m.next = "WALK"
            with m.State("WALK"):
                # First the submission queues only; when nothing is in flight all that is left.
                m.d.comb += [changes.i.valid.eq(1), update.qid.eq(qid),
                             update.completion.eq(half)]
                with m.If(changes.i.ready):
                    with m.If(final & ~half):
                        m.d.sync += half.eq(1)
                    with m.Else():
                        m.d.sync += [half.eq(0), qid.eq(Mux(qid == self.queues - 1, event_qid,
                                                            qid + 1))]
                        with m.If(qid == event_qid):
                            m.next = "WALKED"
            with m.State("WALKED"):
                # A queue that was created under way may have fetched something: wait again.
                with m.If(~changes.o.valid):
                    m.d.comb += rows_w.en.eq(1)
                    m.next = "EMPTY"
            with m.State("EMPTY"):
                m.next = "WAIT"
                with m.If(final & was_idle):
                    m.next = "CLEAR-ADMIN"
            with m.State("WAIT"):
                m.d.comb += enders.i.valid.eq(1)
                with m.If(enders.i.ready):
                    m.next = "TURN"
            with m.State("CLEAR-ADMIN"):
                m.d.comb += self.admin_clears.valid.eq(1)
                m.d.sync += word.eq(0)
                with m.If(self.admin_clears.ready):
                    m.next = "ENDED"
                    with m.If(row.stopping):
                        m.next = "CLEAR-WORDS"
            with m.State("CLEAR-WORDS"):
                m.d.comb += self.clears.valid.eq(1)
                with m.If(self.clears.ready):
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == WORDS - 1):
                        m.next = "DRAINED"
            with m.State("DRAINED"):
                # The row first, so that whoever hears of it finds it so.
                m.d.comb += [rows_w.en.eq(1), rows_w.data.eq(0)]
                m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += self.lifecycle.drained.valid.eq(1)
                with m.If(self.lifecycle.drained.ready):
                    m.next = "TURN"
            with m.State("ENDED"):
                # CC may have been written meanwhile: judged as if it had been just now.
                m.d.comb += [rows_w.en.eq(1), rows_w.data.eq(0)]
                m.d.sync += [kind.eq(1), word.eq(WORD_CC)]
                m.next = "LOOK"

        return m
