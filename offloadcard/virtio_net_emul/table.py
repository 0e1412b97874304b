"""Rows in memory with one writer, and a pool of ids."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue

__all__ = ["Table", "Pool"]


class Table(wiring.Component):
    """A memory of rows: one block writes, several read.

    Timing
    ------
    ``rows`` follow ``addresses`` by 1 cycle; a row written in that cycle is read as written.

    Parameters
    ----------
    shape : shape-castable
        Shape of a row.
    depth : int
        Number of rows.
    readers : int
        Number of read ports.
    granularity : int
        Bits that one enable bit writes; the whole row if None. ``shape`` must be unsigned then.

    Members
    -------
    address, row, enable : ``In``
        The write port.
    addresses : ``In(range(depth)).array(readers)``
        What to read.
    rows : ``Out(shape).array(readers)``
        What was read.
    """

    def __init__(self, shape, *, depth, readers=1, granularity=None):
        if readers < 1:
            raise ValueError(f"`readers` must be at least 1, not {readers!r}")
        self.shape       = shape
        self.depth       = depth
        self.granularity = granularity
        parts = 1 if granularity is None else Shape.cast(shape).width // granularity
        super().__init__({
            "address":   In(range(depth)),
            "row":       In(shape),
            "enable":    In(parts),
            "addresses": In(range(depth)).array(readers),
            "rows":      Out(shape).array(readers),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(
            shape=Shape.cast(self.shape), depth=self.depth, init=[])
        w_port = store.write_port(granularity=self.granularity)
        row = self.row
        m.d.comb += [
            w_port.addr.eq(self.address),
            w_port.data.eq(row.as_value() if isinstance(row, data.View) else row),
            w_port.en.eq(self.enable),
        ]
        for address, value in zip(self.addresses, self.rows):
            r_port = store.read_port(transparent_for=(w_port,))
            m.d.comb += [r_port.addr.eq(address), value.eq(r_port.data)]
        return m


class Pool(wiring.Component):
    """Lend ids; take each back.

    Timing
    ------
    One id per cycle both ways; an id that came back is lent again after 2 cycles.

    Parameters
    ----------
    count : int
        Number of ids; at least 2.
    generation : bool
        Ids carry one more bit, 1 at first; who gives an id back says what it shall be next.

    Members
    -------
    o : ``Out(stream.Signature(shape))``
        Ids to be taken.
    i : ``In(stream.Signature(shape, always_ready=True))``
        Ids that come back.
    free : ``Out(range(count + 1))``
        Ids at home.
    """

    # What a mutant changes: hand out new ids once only.
    _forgets = False

    def __init__(self, *, count, generation=False):
        if count < 2:
            raise ValueError(f"`count` must be at least 2, not {count!r}")
        self.count      = count
        self.generation = generation
        self.id_bits    = (count - 1).bit_length()
        width = self.id_bits + generation
        super().__init__({
            "o":    Out(stream.Signature(width)),
            "i":    In(stream.Signature(width, always_ready=True)),
            "free": Out(range(count + 1), init=count),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.back = back = Queue(len(self.o.payload), depth=self.count)
        fresh = Signal(range(self.count + 1))
        new   = Signal()
        moves = Signal()
        m.d.comb += [
            new.eq((fresh != self.count) | self._forgets),
            self.o.valid.eq(new | back.o.valid),
            self.o.payload.eq(Mux(new, Cat(fresh[:self.id_bits], Const(1, 1)), back.o.payload)),
            back.o.ready.eq(self.o.ready & ~new),
            back.i.valid.eq(self.i.valid),
            back.i.payload.eq(self.i.payload),
            moves.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += self.free.eq(self.free - moves + self.i.valid)
        with m.If(self.o.ready & new):
            m.d.sync += fresh.eq(fresh + 1)
        return m
