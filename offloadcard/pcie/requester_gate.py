"""Who may use DMA: a copy of one bit of the function table."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .functions import function_row

__all__ = ["Gate"]


class Gate(wiring.Component):
    """Say whether a function is alive and bus master.

    Timing
    ------
    The answer comes one cycle after the question and knows all rows sent before it. One question
    and one row per cycle.

    Parameters
    ----------
    function_id_width : int
        Width of ``function_id``.

    Members
    -------
    rows : ``In(stream.Signature(function_row(...), always_ready=True))``
        News of the function table.
    function_id : ``In(function_id_width)``
        The question.
    open : ``Out(1)``
        The answer, one cycle later.
    """

    def __init__(self, *, function_id_width):
        self.function_id_width = function_id_width
        super().__init__({
            "rows":        In(stream.Signature(function_row(function_id_width=function_id_width),
                                               always_ready=True)),
            "function_id": In(function_id_width),
            "open":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.copy = copy = memory.Memory(shape=1, depth=1 << self.function_id_width,
                                                 init=[])
        write = copy.write_port()
        read  = copy.read_port(transparent_for=(write,))
        m.d.comb += [
            write.addr.eq(self.rows.p.function_id),
            write.data.eq(self.rows.p.alive & self.rows.p.bus_master),
            write.en.eq(self.rows.valid),
            read.addr.eq(self.function_id),
            self.open.eq(read.data),
        ]

        return m
