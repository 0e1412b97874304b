"""Who has work: ids of functions or queues, each at most once, in order of arrival."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import Queue

__all__ = ["WorkList"]


class WorkList(wiring.Component):
    """Remember which of ``count`` ids have work, in memory; hand them out round robin.

    An id that is set while it waits is remembered once. An id that is set in the cycle in which it
    is handed out, or later, is handed out again or its cause is visible to who took it: write the
    cause (a doorbell's value, say) no later than the cycle of the set, read it after the id was
    taken, and no work is ever lost.

    The waiting ids stand in a queue of ``count`` entries, which therefore never overflows; whether
    an id waits is the difference of two bits in two memories, each with one writer.

    Timing
    ------
    One set per cycle, never back-pressured; an id comes out 2 cycles after its set; one id per
    cycle.

    Parameters
    ----------
    count : int
        Number of ids.

    Members
    -------
    i : ``In(stream.Signature(range(count), always_ready=True))``
        Ids that have work.
    o : ``Out(stream.Signature(range(count)))``
        Ids to be served.
    """

    # What a mutant changes: a set in the cycle of the taking is no double.
    _sees_its_taker = True

    def __init__(self, *, count):
        if count < 2:
            raise ValueError(f"`count` must be at least 2, not {count!r}")
        self.count = count
        super().__init__({
            "i": In(stream.Signature(range(count), always_ready=True)),
            "o": Out(stream.Signature(range(count))),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.entered = entered = memory.Memory(shape=1, depth=self.count, init=[])
        m.submodules.left    = left    = memory.Memory(shape=1, depth=self.count, init=[])
        entered_w = entered.write_port()
        entered_r = entered.read_port(transparent_for=(entered_w,))
        left_w    = left.write_port()
        left_r    = left.read_port(transparent_for=(left_w,))
        left_own  = left.read_port(transparent_for=(left_w,))
        # A queue of two refuses while it moves its first entry; three and more do not.
        m.submodules.waiting = waiting = Queue(range(self.count), depth=max(3, self.count),
                                                   latency=1)

        wiring.connect(m, waiting.o, wiring.flipped(self.o))

        # Serve: invert the own bit in the cycle after the id was taken.
        taken  = Signal()
        took   = Signal(range(self.count))
        m.d.sync += [taken.eq(self.o.valid & self.o.ready), took.eq(self.o.payload)]
        m.d.comb += [
            left_own.addr.eq(self.o.payload),
            left_w.addr.eq(took),
            left_w.data.eq(~left_own.data),
            left_w.en.eq(taken),
        ]

        # Set: read both bits, then enter if they are equal, or are to be so now.
        set_r = Signal()
        id_r  = Signal(range(self.count))
        again = Signal()  # it was taken in the cycle in which it was set
        new   = Signal()
        m.d.comb += [
            entered_r.addr.eq(self.i.payload),
            left_r.addr.eq(self.i.payload),
            again.eq(taken & (took == id_r) & self._sees_its_taker),
            new.eq(set_r & ((entered_r.data == left_r.data) ^ again)),
            waiting.i.valid.eq(new),
            waiting.i.payload.eq(id_r),
            entered_w.addr.eq(id_r),
            entered_w.data.eq(~entered_r.data),
            entered_w.en.eq(new),
        ]
        m.d.sync += [set_r.eq(self.i.valid), id_r.eq(self.i.payload)]

        return m
