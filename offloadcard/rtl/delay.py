"""A value some cycles later."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Delay"]


class Delay(wiring.Component):
    """Carry what a pipeline needs only at its end past the stages between, in memory.

    Timing
    ------
    Latency ``cycles`` cycles, one value per cycle; never stalls. Up to 2 cycles in registers, more
    in a memory that is written and read round and round.

    Parameters
    ----------
    shape : shape-castable
        Shape of the value.
    cycles : int
        At least 1.

    Members
    -------
    i : ``In(shape)``
        The value.
    o : ``Out(shape)``
        What ``i`` was ``cycles`` cycles ago; 0 before.
    """

    def __init__(self, shape, *, cycles):
        if cycles < 1:
            raise ValueError(f"`cycles` must be at least 1, not {cycles!r}")
        self.shape  = shape
        self.cycles = cycles
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()

        value, out = Value.cast(self.i), Value.cast(self.o)
        if self.cycles <= 2:
            for number in range(self.cycles):
                stage = Signal(len(value), name=f"stage_{number}")
                m.d.sync += stage.eq(value)
                value = stage
            m.d.comb += out.eq(value)
            return m

        # Written at `place`, read again when `place` has gone round: registers at both ends.
        depth = self.cycles - 1
        m.submodules.store = store = memory.Memory(shape=len(value), depth=depth, init=[])
        w_port, r_port = store.write_port(), store.read_port()
        place = Signal(range(depth))
        ahead = Signal(range(depth))
        m.d.comb += ahead.eq(Mux(place == depth - 1, 0, place + 1))
        m.d.sync += place.eq(ahead)
        early = Signal(len(value))
        m.d.sync += early.eq(value)
        m.d.comb += [
            w_port.addr.eq(place), w_port.data.eq(early), w_port.en.eq(1),
            r_port.addr.eq(ahead), out.eq(r_port.data),
        ]

        return m
