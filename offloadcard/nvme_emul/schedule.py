"""Which submission queue is visited next."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.worklist import WorkList

from .layouts import released_queue

__all__ = ["Schedule"]


class Schedule(wiring.Component):
    """Queues with work, each at most once, in order of arrival.

    Work comes from doorbells, from visits that left something, from events, and from queues that
    starved while their function frees something: then all queues of the function are looked at,
    and those that starve are listed.

    Timing
    ------
    A doorbell's queue is offered 4 cycles later when nothing waits. A look at a function takes 2
    cycles a queue.

    Parameters
    ----------
    function_id_width, qid_width : int
        Widths in bits.
    queues : int
        Queues a function has, the admin queue included.

    Members
    -------
    work, wakes, events, released : as of :class:`~offloadcard.nvme_emul.submission.Submission`
    refills : ``In(stream.Signature(function_id_width))``
        Functions whose allowances let them go on.
    again : ``In(stream.Signature(queue_id_width))``
        A queue that has to be visited again.
    starved_address : ``Out(queue_id_width)``
        Queue to look up.
    starved : ``In(1)``
        Whether it starves, one cycle later.
    o : ``Out(stream.Signature(queue_id_width))``
        Queues to be visited.
    """

    def __init__(self, *, function_id_width, qid_width, queues):
        self.function_id_width, self.qid_width = function_id_width, qid_width
        self.queues = queues
        width = function_id_width + qid_width
        super().__init__({
            "work":            In(stream.Signature(width, always_ready=True)),
            "wakes":           In(stream.Signature(function_id_width, always_ready=True)),
            "events":          In(stream.Signature(function_id_width)),
            "released":        In(stream.Signature(released_queue(
                function_id_width=function_id_width, qid_width=qid_width), always_ready=True)),
            "refills":         In(stream.Signature(function_id_width)),
            "again":           In(stream.Signature(width)),
            "starved_address": Out(width),
            "starved":         In(1),
            "o":               Out(stream.Signature(width)),
        })

    def elaborate(self, platform):
        m = Module()

        width     = self.function_id_width + self.qid_width
        event_qid = (1 << self.qid_width) - 1
        m.submodules.list  = worklist = WorkList(count=1 << width)
        m.submodules.woken = woken = WorkList(count=1 << self.function_id_width)

        # A function that freed something is remembered; a release waits one cycle if it must.
        late, late_id = Signal(), Signal(self.function_id_width)
        m.d.comb += [
            woken.i.valid.eq(self.wakes.valid | late | self.refills.valid),
            woken.i.payload.eq(Mux(self.wakes.valid, self.wakes.payload,
                                   Mux(late, late_id, self.refills.payload))),
            self.refills.ready.eq(~self.wakes.valid & ~late),
        ]
        with m.If(~self.wakes.valid):
            m.d.sync += late.eq(0)
        with m.If(self.released.valid):
            m.d.sync += [late.eq(1), late_id.eq(self.released.p.function_id)]

        # Its queues are looked at one by one: the event queue first, then from the last to 0.
        walk, known, done = Signal(), Signal(), Signal()
        qid    = Signal(self.qid_width)
        walked = Signal(self.function_id_width)
        m.d.comb += [
            self.starved_address.eq(Cat(qid, walked)),
            woken.o.ready.eq(~walk),
        ]
        with m.If(~walk):
            m.d.sync += [walk.eq(woken.o.valid), walked.eq(woken.o.payload), qid.eq(event_qid),
                         known.eq(0)]
        with m.Elif(~known):
            m.d.sync += known.eq(1)
        with m.Elif(done | ~self.starved):
            m.d.sync += [known.eq(0),
                         qid.eq(Mux(qid == event_qid, self.queues - 1, qid - 1))]
            with m.If(qid == 0):
                m.d.sync += walk.eq(0)

        # One entry a cycle; the doorbell cannot wait, the others can.
        m.d.comb += [worklist.i.valid.eq(1), self.again.ready.eq(~self.work.valid)]
        with m.If(self.work.valid):
            m.d.comb += worklist.i.payload.eq(self.work.payload)
        with m.Elif(self.again.valid):
            m.d.comb += worklist.i.payload.eq(self.again.payload)
        with m.Elif(walk & known & self.starved):
            m.d.comb += [worklist.i.payload.eq(self.starved_address), done.eq(1)]
        with m.Elif(self.events.valid):
            m.d.comb += [
                worklist.i.payload.eq(Cat(Const(event_qid, self.qid_width), self.events.payload)),
                self.events.ready.eq(1),
            ]
        with m.Else():
            m.d.comb += worklist.i.valid.eq(0)
        wiring.connect(m, worklist.o, wiring.flipped(self.o))

        return m
