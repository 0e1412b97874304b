"""One stream into several, by a field of its payload."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Demux"]


class Demux(wiring.Component):
    """Send each payload to the output that ``select`` names.

    Timing
    ------
    Latency 0 cycles; one payload per cycle.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.
    count : int
        Number of outputs.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Stream in.
    select : ``In(range(count))``
        The output for the present payload; a number over ``count - 1`` swallows the payload.
    o : ``Out(stream.Signature(shape)).array(count)``
        Streams out.
    """

    def __init__(self, shape, *, count):
        self.shape = shape
        self.count = count
        super().__init__({
            "i":      In(stream.Signature(shape)),
            "select": In(range(count)),
            "o":      Out(stream.Signature(shape)).array(count),
        })

    def elaborate(self, platform):
        m = Module()

        for port in self.o:
            m.d.comb += port.payload.eq(self.i.payload)
        with m.Switch(self.select):
            for number, port in enumerate(self.o):
                with m.Case(number):
                    m.d.comb += [port.valid.eq(self.i.valid), self.i.ready.eq(port.ready)]
            with m.Default():
                m.d.comb += self.i.ready.eq(1)

        return m
