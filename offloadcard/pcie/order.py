"""Posted order: what may not pass an earlier write waits until that has left."""

# Ref: pcie-5.0, 2.4.1 (Transaction Ordering Rules)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue

__all__ = ["COUNT_WIDTH", "Fence", "LinkGuard", "Stragglers"]

COUNT_WIDTH = 32  # of the counts of writes; at 250 M writes a second 2**31 of them take 8 s


class Fence(wiring.Component):
    """A stream whose payloads leave only after every write that was accepted before they came.

    Writes never wait for what stands here, so the wait is bounded by theirs.

    Timing
    ------
    Latency 1 cycle without writes; one payload per cycle.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.
    depth : int
        Payloads that may wait; at least 2.
    count_width : int
        Width of the counts; a payload may be passed by less than half of their range.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Payloads in.
    o : ``Out(stream.Signature(shape))``
        The same payloads, in order.
    accepted : ``In(count_width)``
        Writes accepted so far, modulo; those of earlier cycles.
    departed : ``In(count_width)``
        Writes that have left so far, modulo.
    """

    def __init__(self, shape, *, depth, count_width=COUNT_WIDTH):
        self.shape = shape
        self.depth = depth
        self.count_width = count_width
        super().__init__({
            "i":        In(stream.Signature(shape)),
            "o":        Out(stream.Signature(shape)),
            "accepted": In(count_width),
            "departed": In(count_width),
        })

    def elaborate(self, platform):
        m = Module()

        width = Shape.cast(self.shape).width
        entry = data.StructLayout({"accepted": self.count_width, "payload": width})
        m.submodules.waiting = waiting = Queue(entry, depth=self.depth, latency=1)
        payload = self.i.payload
        m.d.comb += [
            waiting.i.p.payload.eq(
                payload.as_value() if isinstance(payload, data.View) else payload),
            waiting.i.p.accepted.eq(self.accepted),
            waiting.i.valid.eq(self.i.valid),
            self.i.ready.eq(waiting.i.ready),
        ]

        ahead  = Signal(self.count_width)
        passed = Signal()
        m.d.comb += [
            ahead.eq(self.departed - waiting.o.p.accepted),
            passed.eq(~ahead[-1]),
            self.o.payload.eq(waiting.o.p.payload),
            self.o.valid.eq(waiting.o.valid & passed),
            waiting.o.ready.eq(self.o.ready & passed),
        ]

        return m


class LinkGuard(wiring.Component):
    """Discard what would leave while the link is down, so that nothing behind it stands still.

    A TLP whose beats were discarded in part is discarded to its end. An offer is withdrawn when the
    link goes down, and only then.

    Timing
    ------
    Latency 0 cycles.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Beats in.
    o : ``Out(stream.Signature(shape))``
        The same beats, while the link is up.
    last : ``In(1)``
        The present beat ends its TLP.
    link_up : ``In(1)``
        A register.
    """

    def __init__(self, shape):
        super().__init__({
            "i":       In(stream.Signature(shape)),
            "o":       Out(stream.Signature(shape)),
            "last":    In(1),
            "link_up": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        tail = Signal()  # of a TLP that was discarded in part
        drop = Signal()
        m.d.comb += [
            drop.eq(~self.link_up | tail),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & ~drop),
            self.i.ready.eq(self.o.ready | drop),
        ]
        with m.If(drop & self.i.valid):
            m.d.sync += tail.eq(~self.last)

        return m


class Stragglers(wiring.Component):
    """Whether any of those is still inside that had come before the last news.

    Who comes later never makes it longer: they leave in the order in which they came.

    Timing
    ------
    One may come and one leave in a cycle. ``passing`` counts those that came in the cycle of the
    news, from the next cycle on.

    Parameters
    ----------
    most : int
        How many are inside at once.

    Members
    -------
    came, left : ``In(1)``
        One has come; one has left.
    news : ``In(1)``
        From here on the new rule holds.
    passing : ``Out(1)``
        One of an earlier rule is inside.
    """

    def __init__(self, *, most):
        self.most = most
        super().__init__({"came": In(1), "left": In(1), "news": In(1), "passing": Out(1)})

    def elaborate(self, platform):
        m = Module()

        inside, owed = Signal(range(self.most + 1)), Signal(range(self.most + 1))
        after = Signal.like(inside)
        m.d.comb += [after.eq(inside + self.came - self.left), self.passing.eq(owed != 0)]
        m.d.sync += inside.eq(after)
        with m.If(self.news):
            m.d.sync += owed.eq(after)
        with m.Elif(self.left & (owed != 0)):
            m.d.sync += owed.eq(owed - 1)

        return m
