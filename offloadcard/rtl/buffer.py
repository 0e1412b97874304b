"""Places where a stream rests: a register slice and a queue."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Buffer", "Queue"]


class Buffer(wiring.Component):
    """Cut every combinational path of a stream, in both directions.

    Timing
    ------
    Latency 1 cycle; one payload per cycle (two registers, so ``ready`` is a register too).

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Payloads in.
    o : ``Out(stream.Signature(shape))``
        The same payloads, in order.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()

        spare       = Signal(self.shape)
        spare_valid = Signal()

        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(spare_valid | self.i.valid),
                self.o.payload.eq(Mux(spare_valid, spare, self.i.payload)),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare_valid.eq(1), spare.eq(self.i.payload)]

        return m


class Queue(wiring.Component):
    """Payloads wait in memory, in order.

    Timing
    ------
    Latency 2 cycles when empty (memory with a registered output); one payload per cycle.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.
    depth : int
        Payloads that fit; at least 2.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Payloads in; ``ready`` while there is room.
    o : ``Out(stream.Signature(shape))``
        The same payloads, in order.
    level : ``Out(range(depth + 1))``
        Payloads inside.
    """

    def __init__(self, shape, *, depth):
        if depth < 2:
            raise ValueError(f"`depth` must be at least 2, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i":     In(stream.Signature(shape)),
            "o":     Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        width = Shape.cast(self.shape).width
        m.submodules.store = store = fifo.SyncFIFOBuffered(width=width, depth=self.depth)
        payload = self.i.payload
        m.d.comb += [
            store.w_data.eq(payload.as_value() if isinstance(payload, data.View) else payload),
            store.w_en.eq(self.i.valid),
            self.i.ready.eq(store.w_rdy),
            self.o.valid.eq(store.r_rdy),
            self.o.payload.eq(store.r_data),
            store.r_en.eq(self.o.ready),
            self.level.eq(store.level),
        ]

        return m
