"""What the control plane is told of flows whose packets went on: once for each kind and flow."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from .spec import Event, EventKind

__all__ = ["Events"]

DEPTH = 64


class Events(wiring.Component):
    """Raise each event of a flow once, until the engine writes the flow's row again.

    A flow that is met at line rate would fill the ring with itself and keep the events of all
    others out; so a row remembers what was told of it. What finds the ring full is not told: the
    flow's next packet tries again.

    Timing
    ------
    An event is in the ring 2 cycles after its packet; one packet per cycle, never stalls.

    Parameters
    ----------
    row_width : int
        log2 of the rows.

    Members
    -------
    row, notify, soft, tcp_flags : ``In``
        A packet's row, and what there is to tell of it; nothing if neither.
    wrote, wrote_row : ``In(1)``, ``In(row_width)``
        The engine writes a row.
    o : ``Out(stream.Signature(Event))``
        The ring.
    waiting : ``Out(8)``
        Events in it.
    lost : ``Out(1)``
        An event found no room.
    """

    # What a mutant changes: a row remembers what was told.
    _remembers = True

    def __init__(self, *, row_width):
        if row_width < 1:
            raise ValueError(f"`row_width` must be positive, not {row_width!r}")
        self.row_width = row_width
        super().__init__({
            "row":       In(row_width),
            "notify":    In(1),
            "soft":      In(1),
            "tcp_flags": In(3),
            "wrote":     In(1),
            "wrote_row": In(row_width),
            "o":         Out(stream.Signature(Event)),
            "waiting":   Out(8),
            "lost":      Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        told_shape = data.StructLayout({"notify": 1, "soft": 1})
        m.submodules.told = told = memory.Memory(shape=told_shape, depth=1 << self.row_width,
                                                 init=[])
        w_port = told.write_port()
        r_port = told.read_port(transparent_for=(w_port,))
        m.submodules.ring = ring = Queue(Event, depth=DEPTH)
        wiring.connect(m, ring.o, wiring.flipped(self.o))
        m.d.comb += self.waiting.eq(ring.level)

        # Cycle 1: what was told of the row.
        row, notify, soft, flags = Signal(self.row_width), Signal(), Signal(), Signal(3)
        m.d.comb += r_port.addr.eq(self.row)
        m.d.sync += [row.eq(self.row), notify.eq(self.notify), soft.eq(self.soft),
                     flags.eq(self.tcp_flags)]
        wrote, wrote_row = Signal(), Signal(self.row_width)
        m.d.sync += [wrote.eq(self.wrote), wrote_row.eq(self.wrote_row)]
        tells, told_now = Signal(), Signal(told_shape)
        m.d.comb += [
            told_now.notify.eq(notify & ~r_port.data.notify),
            told_now.soft.eq(soft & ~r_port.data.soft & ~told_now.notify),
            # The engine has the port first: the flow's next packet tells.
            tells.eq((told_now.notify | told_now.soft) & ~wrote),
            ring.i.valid.eq(tells),
            ring.i.p.valid.eq(1),
            ring.i.p.kind.eq(Mux(told_now.notify, EventKind.TCP_FLAGS, EventKind.GENERATION)),
            ring.i.p.tcp_flags.eq(flags),
            ring.i.p.handle.eq(row),
            w_port.addr.eq(Mux(wrote, wrote_row, row)),
            w_port.en.eq(wrote | tells & ring.i.ready & self._remembers),
            w_port.data.as_value().eq(Mux(
                wrote, 0, r_port.data.as_value() | told_now.as_value())),
        ]
        m.d.sync += self.lost.eq(tells & ~ring.i.ready)

        return m
