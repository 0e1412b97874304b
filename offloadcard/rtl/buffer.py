"""Places where a stream rests: register slices and a queue."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Buffer", "Skid", "Queue"]


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


class Skid(wiring.Component):
    """Cut the combinational path of ``ready`` only: where a register stands before or behind.

    Timing
    ------
    Latency 0 cycles; one payload per cycle.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Payloads in; ``ready`` is a register.
    o : ``Out(stream.Signature(shape))``
        The same payloads, in order.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()

        spare = Signal(self.shape)
        some  = Signal()  # `spare` is what could not go on
        m.d.comb += [
            self.i.ready.eq(~some),
            self.o.valid.eq(some | self.i.valid),
            self.o.payload.eq(Mux(some, spare, self.i.payload)),
        ]
        m.d.sync += some.eq(self.o.valid & ~self.o.ready)
        with m.If(~some):
            m.d.sync += spare.eq(self.i.payload)

        return m


class Queue(wiring.Component):
    """Payloads wait in memory, in order.

    What finds the queue empty may go past the memory: through a register, or at once, and into
    that register if it is not taken.

    Timing
    ------
    Latency 0, 1 or 2 cycles when empty; one payload per cycle. ``o`` depends on ``i`` in the same
    cycle with latency 0 only, ``i.ready`` never on ``o``.

    Parameters
    ----------
    shape : shape-castable
        Shape of the payload.
    depth : int
        Payloads that fit; at least 2.
    latency : int
        Of an empty queue; 2 is that of a memory with a registered output, and costs nothing more.

    Members
    -------
    i : ``In(stream.Signature(shape))``
        Payloads in; ``ready`` while there is room.
    o : ``Out(stream.Signature(shape))``
        The same payloads, in order.
    level : ``Out(range(depth + 1))``
        Payloads inside.
    """

    # What a mutant changes: nothing passes what waits in memory.
    _waits_its_turn = True

    def __init__(self, shape, *, depth, latency=2):
        if depth < 2:
            raise ValueError(f"`depth` must be at least 2, not {depth!r}")
        if latency not in (0, 1, 2):
            raise ValueError(f"`latency` must be 0, 1 or 2, not {latency!r}")
        self.shape   = shape
        self.depth   = depth
        self.latency = latency
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
        m.d.comb += store.w_data.eq(
            payload.as_value() if isinstance(payload, data.View) else payload)
        if self.latency == 2:
            m.d.comb += [
                store.w_en.eq(self.i.valid),
                self.i.ready.eq(store.w_rdy),
                self.o.valid.eq(store.r_rdy),
                self.o.payload.eq(store.r_data),
                store.r_en.eq(self.o.ready),
                self.level.eq(store.level),
            ]
            return m

        first  = Signal(width)
        some   = Signal()  # `first` is the first of all
        stored = Signal()  # something waits in memory, or did a cycle ago
        inside = Signal(range(self.depth + 1))
        moves, leaves, stays, at_once = (Signal(name=name) for name in (
            "moves", "leaves", "stays", "at_once"))
        m.d.sync += stored.eq((store.w_en | (store.level != 0)) & self._waits_its_turn)
        m.d.comb += [
            at_once.eq(~some & ~stored & (self.latency == 0)),
            self.i.ready.eq((inside != self.depth) & store.w_rdy),
            moves.eq(self.i.valid & self.i.ready),
            # What comes stays in `first` if nothing else is inside after this cycle.
            stays.eq(~stored & Mux(some, self.o.ready, ~at_once | ~self.o.ready)),
            store.w_en.eq(moves & (stored | some & ~self.o.ready)),
            self.o.valid.eq(some | store.r_rdy | at_once & self.i.valid),
            self.o.payload.eq(Mux(some, first, Mux(at_once, store.w_data, store.r_data))),
            store.r_en.eq(self.o.ready & ~some),
            leaves.eq(self.o.valid & self.o.ready),
            self.level.eq(inside),
        ]
        m.d.sync += [
            some.eq(moves & stays | some & ~self.o.ready),
            inside.eq(inside + moves - leaves),
        ]
        with m.If(stays):
            m.d.sync += first.eq(store.w_data)

        return m
