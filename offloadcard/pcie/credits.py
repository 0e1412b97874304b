"""Flow control: what may be sent, and what the other side may send."""

# Ref: pcie-5.0, 2.6.1 (Flow Control Rules)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .spec import credit, credits

__all__ = ["CreditGate", "CreditReturn"]


class CreditGate(wiring.Component):
    """Say whether the other side has room for one more TLP of a class.

    Timing
    ------
    ``enough`` is combinational from ``data``; a TLP per cycle. A limit counts one cycle after it
    came.

    Parameters
    ----------
    data_max : int
        Greatest number of data credits of one TLP.

    Members
    -------
    headers, payload : ``In(credit(...))``
        CREDIT_LIMIT of the class.
    data : ``In(range(data_max + 1))``
        Data credits that the TLP needs.
    enough : ``Out(1)``
        It may leave.
    taken : ``In(1)``
        It leaves; only where ``enough``.
    reset : ``In(1)``
        The link is down: the counters begin again.
    """

    def __init__(self, *, data_max):
        if not 0 <= data_max <= 256:
            raise ValueError(f"`data_max` must be 0 to 256, not {data_max!r}")
        super().__init__({
            "headers": In(credit(width=8)),
            "payload": In(credit(width=12)),
            "data":    In(range(data_max + 1)),
            "enough":  Out(1),
            "taken":   In(1),
            "reset":   In(1),
        })

    slack = 0  # credits beyond the limit; never anything else in a card

    def elaborate(self, platform):
        m = Module()

        enough = []
        for limit, need in ((self.headers, Const(1)), (self.payload, self.data)):
            width    = len(limit.count)
            consumed = Signal(width)
            left     = Signal(width)  # of the limit of a cycle ago, which is no greater
            infinite = Signal()
            # [pcie-5.0: 2.6.1.2] limit - (consumed + need), modulo, within half of the range. The
            # other side grants less than half ahead [2.6.1], so one bit tells.
            required = Signal(width)
            m.d.comb += required.eq(left - need + self.slack)
            enough.append(infinite | ~required[-1])
            with m.If(self.reset):
                m.d.sync += [consumed.eq(0), left.eq(0), infinite.eq(0)]
            with m.Else():
                # Both differences are ready when `taken` comes.
                m.d.sync += [
                    left.eq(Mux(self.taken, limit.count - (consumed + need),
                                limit.count - consumed)),
                    infinite.eq(limit.infinite),
                ]
                with m.If(self.taken):
                    m.d.sync += consumed.eq(consumed + need)
        # No payload needs no data credit, whatever the limit says.
        m.d.comb += self.enough.eq(enough[0] & (enough[1] | (self.data == 0)))

        return m


class CreditReturn(wiring.Component):
    """Count the room granted to the other side: CREDITS_ALLOCATED.

    Completions are infinite, as an endpoint must advertise [pcie-5.0: 2.6.1].

    Timing
    ------
    What is released counts one cycle later.

    Parameters
    ----------
    initial : dict of str to int
        Credits at the start, for ``ph``, ``pd``, ``nph`` and ``npd``.

    Members
    -------
    released_ph, released_pd, released_nph, released_npd : ``In``
        Credits that come free in this cycle.
    reset : ``In(1)``
        The link is down: begin again.
    allocated : ``Out(credits())``
        Running counts.
    """

    def __init__(self, *, initial):
        self.initial = initial
        super().__init__({
            "released_ph":  In(8),
            "released_pd":  In(12),
            "released_nph": In(8),
            "released_npd": In(12),
            "reset":        In(1),
            "allocated":    Out(credits()),
        })

    def elaborate(self, platform):
        m = Module()

        for kind in ("ph", "pd", "nph", "npd"):
            count  = self.allocated[kind].count
            amount = Signal(len(count), init=self.initial[kind], name=f"{kind}_count")
            with m.If(self.reset):
                m.d.sync += amount.eq(self.initial[kind])
            with m.Else():
                m.d.sync += amount.eq(amount + getattr(self, f"released_{kind}"))
            m.d.comb += count.eq(amount)
        m.d.comb += [self.allocated.cplh.infinite.eq(1), self.allocated.cpld.infinite.eq(1)]

        return m
