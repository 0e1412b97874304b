"""Several streams into one, fairly."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin", "Merge"]


class RoundRobin(wiring.Component):
    """Grant one of ``count`` requests; the last one granted comes last next time.

    For a handful of ports known when the card is built; for functions and queues see
    :class:`offloadcard.rtl.worklist.WorkList`.

    Timing
    ------
    Latency 0 cycles (combinational from ``requests`` to ``grant``).

    Parameters
    ----------
    count : int
        Number of requesters.

    Members
    -------
    requests : ``In(count)``
        Who wants.
    grant : ``Out(range(count))``
        Who may; valid when any request is set.
    taken : ``In(1)``
        The grant is used in this cycle.
    """

    def __init__(self, *, count):
        if count < 1:
            raise ValueError(f"`count` must be at least 1, not {count!r}")
        self.count = count
        super().__init__({"requests": In(count), "grant": Out(range(count)), "taken": In(1)})

    def elaborate(self, platform):
        m = Module()

        last = Signal(range(self.count), init=self.count - 1)
        with m.Switch(last):
            for after in range(self.count):
                with m.Case(after):
                    # The nearest requester after `last` wins: assigned last.
                    for distance in reversed(range(1, self.count + 1)):
                        port = (after + distance) % self.count
                        with m.If(self.requests[port]):
                            m.d.comb += self.grant.eq(port)
        with m.If(self.taken):
            m.d.sync += last.eq(self.grant)

        return m


class Merge(wiring.Component):
    """Several streams of packets into one, packet by packet, round robin.

    A packet is from ``first`` to ``last`` if the payload has a field ``last``, else one payload.

    Timing
    ------
    Latency 0 cycles, one payload per cycle; put a ``Buffer`` behind it at a house's border.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.
    count : int
        Number of inputs.

    Members
    -------
    i : ``In(stream.Signature(shape)).array(count)``
        Streams in.
    o : ``Out(stream.Signature(shape))``
        One stream out; packets are never interleaved.
    index : ``Out(range(count))``
        Which input the present payload came from.
    """

    def __init__(self, shape, *, count):
        self.shape = shape
        self.count = count
        super().__init__({
            "i":     In(stream.Signature(shape)).array(count),
            "o":     Out(stream.Signature(shape)),
            "index": Out(range(count)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.arbiter = arbiter = RoundRobin(count=self.count)
        held   = Signal()
        held_r = Signal(range(self.count))
        has_last = hasattr(self.shape, "members") and "last" in self.shape.members

        m.d.comb += [
            arbiter.requests.eq(Cat(port.valid for port in self.i)),
            self.index.eq(Mux(held, held_r, arbiter.grant)),
            # The same as `valid` of `index`, known before the grant is.
            self.o.valid.eq(Mux(held, arbiter.requests.bit_select(held_r, 1),
                                arbiter.requests.any())),
        ]
        with m.Switch(self.index):
            for number, port in enumerate(self.i):
                with m.Case(number):
                    m.d.comb += [
                        self.o.payload.eq(port.payload),
                        port.ready.eq(self.o.ready),
                    ]
        last = self.o.p.last if has_last else Const(1)
        # A stream that was offered stays chosen until it moves, as the stream rules want.
        with m.If(self.o.valid):
            m.d.sync += [held.eq(~(self.o.ready & last)), held_r.eq(self.index)]
        m.d.comb += arbiter.taken.eq(self.o.valid & self.o.ready & last)

        return m
