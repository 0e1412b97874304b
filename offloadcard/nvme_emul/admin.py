"""The admin command set, one command at a time."""

# Ref: nvme-base-1.4c, 5 (Admin Command Set)

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.ports import DmaWritePort

from .admin_checks import AdminChecks
from .admin_events import abort_states, event_states
from .features import Features
from .layouts import (
    abort_row,
    admin_command,
    admin_row,
    command,
    error_row,
    function_record,
    journal_row,
    named_command,
    queue_record,
    queue_update,
    result,
    volume_row,
    volume_update,
)
from .pages import PageWriter
from .spec import VOLUMES, AdminOpcode, LogPage, Status

__all__ = ["Admin"]


class Admin(wiring.Component):
    """Carry out admin commands of all functions, in order of arrival.

    Nothing here waits for a guest: a command that has to wait for commands in flight (Delete I/O
    Submission Queue) goes to the end of the line and looks again; data is only written, never
    read. Asynchronous Event Requests are held in memory, without a slot, until an event is due:
    then the event queue is visited, which reserves a place in the completion queue.

    Timing
    ------
    8 to 12 cycles a command; Identify and Get Log Page take one cycle more per word of 4 octets.

    Parameters
    ----------
    function_id_width, qid_width, slot_width, data_width, count_width : int
        Widths in bits.
    io_queues, queue_size : int
        I/O queues a function has, and entries of the largest.
    mdts : int
        Identify Controller's MDTS.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; kept by slot.
    i : ``In(stream.Signature(slot_width))``
        Commands to be carried out here.
    events : ``In(stream.Signature(function_id_width))``
        Functions with an error event; ``cause_address``, ``cause`` tell which.
    clears : ``In(stream.Signature(function_id_width))``
        Functions whose rows shall be as after power-up; taken when they are.
    volumes : ``In(stream.Signature(volume_update(...), always_ready=True))``
        Rows of the volume table.
    updates : ``Out(stream.Signature(queue_update(...)))``
        Queues that begin or end.
    visits : ``Out(stream.Signature(function_id_width))``
        Functions whose event queue shall be visited.
    results : ``Out(stream.Signature(result(...)))``
        Commands that are over.
    writes : ``Out(DmaWritePort(...))``
        Pages, to the guests.
    aborts, found, abort_address, aborted :
        As of :class:`~offloadcard.nvme_emul.abort.Abort`.
    function_address, entry_address, counters, entry :
        As of :class:`~offloadcard.nvme_emul.pages.PageWriter`.
    queue_address, fetched, ended :
        Looks up how many commands of a queue were fetched, and how many have ended.
    """

    _BEGINS = {
        AdminOpcode.CREATE_CQ:    "CREATE-CQ",
        AdminOpcode.CREATE_SQ:    "CREATE-SQ",
        AdminOpcode.DELETE_CQ:    "DELETE-CQ",
        AdminOpcode.DELETE_SQ:    "DELETE-SQ",
        AdminOpcode.GET_FEATURES: "FEATURE",
        AdminOpcode.SET_FEATURES: "FEATURE",
        AdminOpcode.ASYNC_EVENT:  "HOLD",
        AdminOpcode.IDENTIFY:     "PAGE",
        AdminOpcode.GET_LOG_PAGE: "PAGE",
        AdminOpcode.ABORT:        "ABORT",
    }

    def __init__(self, *, function_id_width, qid_width, slot_width, data_width, count_width,
                 io_queues, queue_size, mdts):
        self.function_id_width, self.qid_width = function_id_width, qid_width
        self.slot_width, self.data_width = slot_width, data_width
        self.io_queues, self.queue_size, self.mdts = io_queues, queue_size, mdts
        self.queue = {"function_id_width": function_id_width, "qid_width": qid_width}
        super().__init__({
            "commands": In(stream.Signature(command(slot_width=slot_width, **self.queue),
                                            always_ready=True)),
            "i":        In(stream.Signature(slot_width)),
            "events":   In(stream.Signature(function_id_width)),
            "clears":   In(stream.Signature(function_id_width)),
            "volumes":  In(stream.Signature(
                volume_update(function_id_width=function_id_width), always_ready=True)),
            "updates":  Out(stream.Signature(queue_update(**self.queue))),
            "visits":   Out(stream.Signature(function_id_width)),
            "results":  Out(stream.Signature(result(slot_width=slot_width))),
            "writes":   Out(DmaWritePort(function_id_width=function_id_width, tag_width=1,
                                         data_width=data_width)),
            "aborts":        Out(stream.Signature(named_command(**self.queue))),
            "found":         In(1),
            "abort_address": Out(function_id_width),
            "aborted":       In(abort_row()),
            "function_address": Out(function_id_width),
            "entry_address":    Out(function_id_width + 2),
            "counters":         In(journal_row()),
            "entry":            In(error_row()),
            "cause_address": Out(function_id_width),
            "cause":         In(1),
            "queue_address": Out(function_id_width + qid_width),
            "fetched":       In(count_width),
            "ended":         In(count_width),
        })

    def elaborate(self, platform):
        m = Module()

        functions = 1 << self.function_id_width
        given_shape = admin_row(**self.queue)
        function_shape = function_record(slot_width=self.slot_width)
        queue_shape = queue_record(qid_width=self.qid_width)

        def rows(name, shape, depth):
            m.submodules[name] = store = memory.Memory(shape=shape, depth=depth, init=[])
            write = store.write_port()
            return write, store.read_port(transparent_for=(write,))

        given_w, given_r       = rows("given", given_shape, 1 << self.slot_width)
        function_w, function_r = rows("of_function", function_shape, functions)
        queue_w, queue_r       = rows("queues", queue_shape, functions << self.qid_width)
        held_w, held_r         = rows("held", 16, functions * 4)
        volume_w, volume_r     = rows("volumes", volume_row(), functions * VOLUMES)
        m.d.comb += [
            given_w.addr.eq(self.commands.p.slot),
            *(given_w.data[name].eq(self.commands.p[name]) for name in given_shape.members),
            given_w.en.eq(self.commands.valid),
            volume_w.addr.eq(Cat(self.volumes.p.volume, self.volumes.p.function_id)),
            volume_w.data.eq(self.volumes.p.row), volume_w.en.eq(self.volumes.valid),
        ]

        # New commands, and those that have to look again.
        line_shape = admin_command(slot_width=self.slot_width)
        m.submodules.line = line = Queue(line_shape, depth=1 << self.slot_width)
        slot, again, returns = Signal(self.slot_width), Signal(), Signal()
        # What looks again goes first: it is one command in 5 cycles or more.
        m.d.comb += [
            line.i.valid.eq(self.i.valid | returns),
            line.i.p.slot.eq(Mux(returns, slot, self.i.payload)), line.i.p.again.eq(returns),
            self.i.ready.eq(line.i.ready & ~returns),
        ]

        m.submodules.features = features = Features(
            function_id_width=self.function_id_width, io_queues=self.io_queues)
        m.submodules.pages = pages = PageWriter(
            function_id_width=self.function_id_width, data_width=self.data_width, mdts=self.mdts)
        wiring.connect(m, pages.writes, wiring.flipped(self.writes))
        m.d.comb += [
            volume_r.addr.eq(pages.volume_address), pages.volume.eq(volume_r.data),
            self.function_address.eq(pages.function_address), pages.counters.eq(self.counters),
            self.entry_address.eq(pages.entry_address), pages.entry.eq(self.entry),
        ]

        c        = Signal(given_shape)
        function = Signal(function_shape)
        function_id = Signal(self.function_id_width)
        queue, other = Signal(queue_shape), Signal(queue_shape)
        named    = Signal(self.qid_width)  # queue of `queue`
        answer   = Signal(self.results.p.shape())
        finish   = Signal(self.updates.p.shape())
        walk     = Signal(max(self.qid_width, 4))
        cqid     = c.cdw11[16:]
        m.submodules.checks = checks = AdminChecks(
            io_queues=self.io_queues, queue_size=self.queue_size, **self.queue)
        m.d.comb += [
            checks.command.eq(c), checks.queue.eq(queue), checks.other.eq(other),
            pages.i.payload.eq(checks.page),
            named.eq(c.cdw10[:self.qid_width]),
            given_r.addr.eq(line.o.p.slot),
            function_r.addr.eq(function_id),
            function_w.addr.eq(function_id), function_w.data.eq(function),
            queue_r.addr.eq(Cat(named, function_id)), queue_w.data.eq(queue),
            queue_w.addr.eq(Cat(named, function_id)),
            held_r.addr.eq(Cat((function.held - 1)[:2], function_id)),
            held_w.addr.eq(Cat(function.held[:2], function_id)), held_w.data.eq(c.cid),
            self.queue_address.eq(Cat(named, function_id)),
            self.cause_address.eq(function_id), self.abort_address.eq(function_id),
            self.aborts.p.function_id.eq(function_id),
            self.aborts.p.qid.eq(c.cdw10[:self.qid_width]), self.aborts.p.cid.eq(c.cdw10[16:]),
            self.results.payload.eq(answer), self.updates.payload.eq(finish),
            self.visits.payload.eq(function_id),
            features.function_id.eq(function_id), features.cdw10.eq(c.cdw10),
            features.cdw11.eq(c.cdw11), features.set.eq(c.opcode == AdminOpcode.SET_FEATURES),
            features.queues_exist.eq(function.io_queues != 0), features.clear_row.eq(walk),
        ]

        def unless(status, state):
            """On to ``state`` if ``status`` is 0; else it is the answer."""
            m.d.sync += answer.status.eq(status)
            m.next = "RESULT"
            with m.If(status == 0):
                m.next = state

        with m.FSM(name="admin"):
            with m.State("IDLE"):
                m.d.sync += [walk.eq(0), answer.eq(0), slot.eq(line.o.p.slot),
                             again.eq(line.o.p.again)]
                with m.If(self.clears.valid):
                    m.d.sync += function_id.eq(self.clears.payload)
                    m.next = "CLEAR"
                with m.Elif(line.o.valid):
                    m.next = "GIVEN"
                with m.Elif(self.events.valid):
                    m.d.sync += function_id.eq(self.events.payload)
                    m.d.comb += self.events.ready.eq(1)
                    m.next = "EVENT-ROW"
            with m.State("GIVEN"):
                m.d.sync += [c.eq(given_r.data), function_id.eq(given_r.data.function_id)]
                m.d.comb += line.o.ready.eq(1)
                m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += answer.slot.eq(slot)
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [function.eq(function_r.data), queue.eq(queue_r.data)]
                m.next = "DECODE"
            with m.State("DECODE"):
                unless(checks.general, "BEGIN")
                with m.If(c.qid.all()):
                    m.next = "POST-EVENT"

            with m.State("BEGIN"):
                m.d.sync += function.awake.eq(1)
                m.d.comb += [function_w.data.awake.eq(1), function_w.en.eq(~function.awake)]
                with m.Switch(c.opcode):
                    for opcode, state in self._BEGINS.items():
                        with m.Case(opcode):
                            m.next = state

            # --- queues -------------------------------------------------------------------
            with m.State("CREATE-CQ"):
                unless(checks.create_cq, "UPDATE")
                m.d.sync += [queue.cq_valid.eq(1), queue.cq_users.eq(0),
                             function.io_queues.eq(function.io_queues + 1)]
            with m.State("CREATE-SQ"):
                # The row of the completion queue comes after that of the queue itself.
                m.d.comb += queue_r.addr.eq(Cat(cqid[:self.qid_width], function_id))
                m.next = "CREATE-SQ-CQ"
            with m.State("CREATE-SQ-CQ"):
                m.d.sync += other.eq(queue_r.data)
                m.next = "CREATE-SQ-JUDGE"
            with m.State("CREATE-SQ-JUDGE"):
                m.next = "CREATE-SQ-CHECK"
            with m.State("CREATE-SQ-CHECK"):
                unless(checks.create_sq, "USERS")
                m.d.sync += [
                    queue.sq_valid.eq(1), queue.sq_ending.eq(0), queue.sq_cqid.eq(cqid),
                    other.cq_users.eq(other.cq_users + 1),
                    function.io_queues.eq(function.io_queues + 1),
                ]
            with m.State("DELETE-CQ"):
                unless(checks.delete_cq, "UPDATE")
                m.d.sync += [queue.cq_valid.eq(0), function.io_queues.eq(function.io_queues - 1)]
            with m.State("DELETE-SQ"):
                with m.If(again):
                    # Its commands end by themselves; until then this one waits in line.
                    with m.If(self.fetched == self.ended):
                        m.d.sync += [queue.sq_valid.eq(0), queue.sq_ending.eq(0),
                                     function.io_queues.eq(function.io_queues - 1)]
                        m.next = "DELETE-SQ-CQ"
                    with m.Else():
                        m.next = "AGAIN"
                with m.Elif(~checks.qid_ok | ~queue.sq_valid | queue.sq_ending):
                    m.d.sync += answer.status.eq(Status.INVALID_QUEUE_ID)
                    m.next = "RESULT"
                with m.Else():
                    m.d.sync += queue.sq_ending.eq(1)
                    m.next = "UPDATE"
            with m.State("DELETE-SQ-CQ"):
                m.d.comb += [queue_w.en.eq(1),
                             queue_r.addr.eq(Cat(queue.sq_cqid, function_id))]
                m.next = "DELETE-SQ-USERS"
            with m.State("DELETE-SQ-USERS"):
                m.d.comb += [
                    queue_w.addr.eq(Cat(queue.sq_cqid, function_id)),
                    queue_w.data.eq(queue_r.data),
                    queue_w.data.cq_users.eq(queue_r.data.cq_users - 1),
                    queue_w.en.eq(1), function_w.en.eq(1),
                ]
                m.next = "RESULT"
            with m.State("USERS"):
                # Before the queue's own row: they may be rows of one number.
                m.d.comb += [queue_w.addr.eq(Cat(cqid[:self.qid_width], function_id)),
                             queue_w.data.eq(other), queue_w.en.eq(1)]
                with m.If(cqid[:self.qid_width] == named):
                    m.d.sync += queue.cq_users.eq(other.cq_users)
                m.next = "UPDATE"
            with m.State("UPDATE"):
                m.d.comb += self.updates.valid.eq(1)
                with m.If(self.updates.ready):
                    m.d.comb += [queue_w.en.eq(1), function_w.en.eq(1)]
                    m.next = "RESULT"
                    with m.If(c.opcode == AdminOpcode.DELETE_SQ):
                        m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.comb += returns.eq(1)
                with m.If(line.i.ready):
                    m.next = "IDLE"

            # --- pages and features -------------------------------------------------------
            with m.State("PAGE"):
                m.d.comb += pages.i.valid.eq(1)
                with m.If(pages.i.ready):
                    m.d.sync += answer.status.eq(pages.status)
                    with m.If((c.opcode == AdminOpcode.GET_LOG_PAGE) & (pages.status == 0)
                              & (c.cdw10[:8] == LogPage.ERROR) & ~c.cdw10[15]):
                        # The guest has seen the log: events of its kind may come again.
                        m.d.sync += function.masked.eq(0)
                        m.next = "EVENT"
                    with m.Else():
                        m.next = "RESULT"
            with m.State("FEATURE"):
                m.next = "FEATURE-JUDGED"
            with m.State("FEATURE-JUDGED"):
                m.d.sync += [answer.status.eq(features.status),
                             answer.dw0.eq(Mux(features.status == 0, features.result, 0))]
                m.d.comb += features.store.eq(features.status == 0)
                m.next = "RESULT"

            abort_states(m, self, slot=slot, function=function, function_w=function_w,
                         answer=answer, qid_ok=checks.qid_ok)
            event_states(m, self, c=c, function=function, function_r=function_r,
                         function_w=function_w, held_r=held_r, held_w=held_w, answer=answer)

            with m.State("RESULT"):
                m.d.comb += self.results.valid.eq(1)
                with m.If(self.results.ready):
                    m.next = "IDLE"
            with m.State("CLEAR"):
                m.d.comb += [
                    function_w.en.eq(1), function_w.data.eq(0), features.clear.eq(1),
                    queue_w.en.eq(1), queue_w.data.eq(0),
                    queue_w.addr.eq(Cat(walk[:self.qid_width], function_id)),
                ]
                m.d.sync += walk.eq(walk + 1)
                with m.If(walk.all()):
                    m.d.comb += self.clears.ready.eq(1)
                    m.next = "IDLE"

        # What an update says: of the command's queue, from the command.
        m.d.comb += [
            finish.function_id.eq(function_id), finish.qid.eq(named),
            finish.completion.eq((c.opcode == AdminOpcode.CREATE_CQ)
                                 | (c.opcode == AdminOpcode.DELETE_CQ)),
            finish.valid.eq((c.opcode == AdminOpcode.CREATE_CQ)
                            | (c.opcode == AdminOpcode.CREATE_SQ)),
            finish.size.eq(c.cdw10[16:]), finish.base.eq(c.prp1), finish.cqid.eq(cqid),
            finish.vector.eq(c.cdw11[16:]), finish.interrupts.eq(c.cdw11[1]),
        ]

        return m
