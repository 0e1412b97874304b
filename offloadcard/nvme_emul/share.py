"""What functions hold of a pool in which each has one place of its own."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .layouts import taken_places

__all__ = ["Share"]


class Share(wiring.Component):
    """Count what is held beyond the first place of each function.

    Whoever holds nothing finds its own place free, whatever others hold and for however long; the
    rest of the pool is shared, and this is the count of its use.

    Timing
    ------
    One take and one return in two cycles, also at once; ``used`` follows 3 or 4 cycles later.

    Parameters
    ----------
    function_id_width, places : int
        Width in bits; places that are shared.

    Members
    -------
    takes, returns : ``In(stream.Signature(taken_places(...), always_ready=True))``
        Places taken and given back.
    used : ``Out(range(places + 1))``
        The sum over all functions of what each holds, less one.
    """

    def __init__(self, *, function_id_width, places):
        self.function_id_width, self.places = function_id_width, places
        shape = taken_places(function_id_width=function_id_width)
        super().__init__({
            "takes":   In(stream.Signature(shape, always_ready=True)),
            "returns": In(stream.Signature(shape, always_ready=True)),
            "used":    Out(range(places + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        width = ceil_log2(self.places + 1) + 1
        m.submodules.held = held = memory.Memory(
            shape=width, depth=1 << self.function_id_width, init=[])
        held_w = held.write_port()
        held_r = held.read_port(transparent_for=(held_w,))

        # A take goes first; a return waits a cycle if it must.
        late    = Signal.like(self.returns.payload)
        waits   = Signal()
        returns = Signal()
        m.d.comb += returns.eq((self.returns.valid | waits) & ~self.takes.valid)
        m.d.sync += waits.eq((self.returns.valid | waits) & self.takes.valid)
        with m.If(self.returns.valid):
            m.d.sync += late.eq(self.returns.payload)

        now = Signal.like(self.takes.payload)
        with m.If(self.takes.valid):
            m.d.comb += now.eq(self.takes.payload)
        with m.Elif(waits):
            m.d.comb += now.eq(late)
        with m.Else():
            m.d.comb += now.eq(self.returns.payload)

        # A row is read, then changed: the next one's read sees it.
        row, change, active = Signal.like(now), Signal(signed(5)), Signal()
        before = Signal(width)
        was_none, is_none, counted = Signal(), Signal(), Signal(signed(5))
        m.d.sync += [
            row.eq(now), active.eq(self.takes.valid | returns),
            change.eq(Mux(self.takes.valid, now.count, -now.count)),
        ]
        m.d.comb += [
            held_r.addr.eq(now.function_id), before.eq(held_r.data),
            held_w.addr.eq(row.function_id), held_w.en.eq(active),
            held_w.data.eq(before + change),
        ]
        m.d.sync += [
            was_none.eq(before == 0), is_none.eq(held_w.data == 0),
            counted.eq(Mux(active, change, 0)),
        ]
        # The first place of a function is its own: the step from 0 and the step to 0 are not.
        with m.If(counted > 0):
            m.d.sync += self.used.eq(self.used + counted - was_none)
        with m.Elif(counted < 0):
            m.d.sync += self.used.eq(self.used + counted + is_none)

        return m
