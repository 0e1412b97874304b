"""Tags are lent and taken back, each to one owner at a time."""

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arbiter import Merge
from .buffer import Queue

__all__ = ["TagPool", "returned_tag"]


def returned_tag(*, count):
    """A tag that comes back, and the port that had it."""
    return data.StructLayout({"tag": range(count), "port": 1})


class TagPool(wiring.Component):
    """Lend tags to two ports; each keeps a reserve that the other cannot take.

    Tags wait in queues, so the one that was idle longest is lent first. The first ``low`` tags
    stand apart, for owners that may not use greater ones. Whoever returns a tag must have had it:
    the pool trusts its owner, and its asserts see a tag too many.

    Timing
    ------
    One tag per cycle out, one per cycle and source in. All tags are there ``count`` cycles after
    power-up.

    Parameters
    ----------
    count : int
        Number of tags; at least 4.
    low : int
        Tags below this one may be lent to anybody.
    reserve : int
        Tags that each port is sure of; at most ``count // 2``.

    Members
    -------
    extended : ``In(2)``
        Per port: it may be lent a tag of any size.
    offered : ``Out(2)``
        Per port: a tag could be lent.
    port : ``In(1)``, ``tag`` : ``Out(range(count))``, ``taken`` : ``In(1)``
        The port that takes; what it gets; it is taken, and was offered.
    returns : ``In(stream.Signature(returned_tag(...), always_ready=True)).array(2)``
        Tags that come back, from two sources.
    free : ``Out(range(count + 1))``
        Tags that nobody has.
    """

    def __init__(self, *, count, low=32, reserve):
        if count < 4:
            raise ValueError(f"`count` must be at least 4, not {count!r}")
        if not 1 <= reserve <= count // 2:
            raise ValueError(f"`reserve` must be 1 to {count // 2}, not {reserve!r}")
        self.count   = count
        self.low     = min(low, count)
        self.reserve = reserve
        back = stream.Signature(returned_tag(count=count), always_ready=True)
        super().__init__({
            "extended": In(2),
            "offered":  Out(2),
            "port":     In(1),
            "tag":      Out(range(count)),
            "taken":    In(1),
            "returns":  In(back).array(2),
            "free":     Out(range(count + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        count, tag = self.count, range(self.count)
        shape = returned_tag(count=count)
        # A queue of two rests between two entries; three and more never refuse while not full.
        m.submodules.low  = low  = Queue(tag, depth=max(3, self.low))
        m.submodules.high = high = Queue(tag, depth=max(3, count - self.low))

        # What comes back waits a moment, since one tag a cycle goes home. Each source's queue
        # holds all tags, so it is never full.
        m.submodules.home = home = Merge(shape, count=2)
        for number, source in enumerate(self.returns):
            m.submodules[f"waiting_{number}"] = waiting = Queue(shape, depth=count)
            m.d.comb += [
                waiting.i.payload.eq(source.payload),
                waiting.i.valid.eq(source.valid),
                home.i[number].payload.eq(waiting.o.payload),
                home.i[number].valid.eq(waiting.o.valid),
                waiting.o.ready.eq(home.i[number].ready),
            ]

        # At power-up all tags walk in.
        walked  = Signal(range(count + 1))
        walking = Signal(init=1)
        enter   = Signal()
        entrant = Signal(tag)
        m.d.comb += [
            home.o.ready.eq(~walking),
            enter.eq(walking | home.o.valid),
            entrant.eq(Mux(walking, walked, home.o.p.tag)),
        ]
        with m.If(walking):
            m.d.sync += [walked.eq(walked + 1), walking.eq(walked != count - 1)]
        m.d.comb += [low.i.payload.eq(entrant), high.i.payload.eq(entrant)]
        with m.If(entrant < self.low):
            m.d.comb += low.i.valid.eq(enter)
        with m.Else():
            m.d.comb += high.i.valid.eq(enter)

        # A port takes of its own reserve first, and gives back to it first.
        used   = [Signal(range(count + 1), name=f"used_{n}") for n in range(2)]
        claim  = [Signal(range(self.reserve + 1), init=self.reserve, name=f"claim_{n}")
                  for n in range(2)]
        # Free tags beyond both reserves, once all are in.
        shared = Signal(range(count + 1), init=count - 2 * self.reserve)
        some   = Signal(init=count > 2 * self.reserve)  # of them are left
        took, gave = Signal(2), Signal(2)
        borrows, repays = Signal(2), Signal(2)
        for port in range(2):
            m.d.comb += [
                took[port].eq(self.taken & (self.port == port)),
                gave[port].eq(home.o.valid & home.o.ready & (home.o.p.port == port)),
                self.offered[port].eq(
                    ~walking & (low.o.valid | (high.o.valid & self.extended[port]))
                    & ((claim[port] != 0) | some)),
            ]
            m.d.comb += [
                borrows[port].eq(took[port] & ~gave[port] & (claim[port] == 0)),
                repays[port].eq(gave[port] & ~took[port] & (used[port] > self.reserve)),
            ]
            with m.If(took[port] & ~gave[port]):
                m.d.sync += used[port].eq(used[port] + 1)
                with m.If(claim[port] != 0):
                    m.d.sync += claim[port].eq(claim[port] - 1)
            with m.If(gave[port] & ~took[port]):
                m.d.sync += used[port].eq(used[port] - 1)
                with m.If(used[port] <= self.reserve):
                    m.d.sync += claim[port].eq(claim[port] + 1)
        # One tag moves each way in a cycle, at most.
        with m.If(borrows.any() & ~repays.any()):
            m.d.sync += [shared.eq(shared - 1), some.eq(shared != 1)]
        with m.Elif(repays.any() & ~borrows.any()):
            m.d.sync += [shared.eq(shared + 1), some.eq(1)]

        pick_high = Signal()
        with m.If(self.port):
            m.d.comb += pick_high.eq(high.o.valid & self.extended[1])
        with m.Else():
            m.d.comb += pick_high.eq(high.o.valid & self.extended[0])
        m.d.comb += [
            self.tag.eq(Mux(pick_high, high.o.payload, low.o.payload)),
            low.o.ready.eq(self.taken & ~pick_high),
            high.o.ready.eq(self.taken & pick_high),
        ]
        m.d.sync += self.free.eq(self.free + enter - self.taken)

        m.d.sync += Assert(~(low.i.valid & ~low.i.ready) & ~(high.i.valid & ~high.i.ready))
        return m
