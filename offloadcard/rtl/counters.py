"""Counters in memory: many rows, each with some counters and a stamp."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters", "counter_row"]


def counter_row(*, widths, stamp_width):
    """A row: one counter of each of ``widths``, and the stamp of its last change."""
    return data.StructLayout({
        **{f"count_{n}": width for n, width in enumerate(widths)},
        "stamp": stamp_width,
    })


class Counters(wiring.Component):
    """Add to the counters of one row per cycle; read any row beside it.

    Timing
    ------
    An addition is in memory 2 cycles later; one per cycle, also to the same row. ``shown`` follows
    ``show`` by 1 cycle and may lag an addition by 2. Counters wrap.

    Parameters
    ----------
    row_width : int
        log2 of the rows.
    widths : sequence of int
        Bits of each counter of a row.
    stamp_width : int
        Bits of the stamp.
    shows : int
        Rows that can be looked at at once.

    Members
    -------
    row : ``In(row_width)``
        The row that changes.
    add : ``In(1)``
        Add ``amounts`` to its counters.
    clear : ``In(1)``
        Set its counters to 0 instead. Either way the row takes ``stamp``.
    amounts : ``In(data.StructLayout({"count_0": ...}))``
        What to add, as wide as the counters.
    stamp : ``In(stamp_width)``
        The stamp.
    show, shown : ``In(row_width).array(shows)``, ``Out(counter_row(...)).array(shows)``
        Rows to look at, each by a port of its own.
    """

    def __init__(self, *, row_width, widths, stamp_width=1, shows=1):
        if row_width < 1 or not widths or stamp_width < 1:
            raise ValueError("`row_width`, `widths` and `stamp_width` must be positive, not "
                             f"{row_width!r}, {widths!r} and {stamp_width!r}")
        self.row_width = row_width
        self.widths    = tuple(widths)
        self.shape     = counter_row(widths=self.widths, stamp_width=stamp_width)
        super().__init__({
            "row":     In(row_width),
            "add":     In(1),
            "clear":   In(1),
            "amounts": In(data.StructLayout({f"count_{n}": width
                                             for n, width in enumerate(self.widths)})),
            "stamp":   In(stamp_width),
            "show":    In(row_width).array(shows),
            "shown":   Out(self.shape).array(shows),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.rows = rows = memory.Memory(shape=self.shape, depth=1 << self.row_width,
                                                 init=[])
        w_port = rows.write_port()
        r_port = rows.read_port(transparent_for=(w_port,))
        for show, shown in zip(self.show, self.shown):
            shower = rows.read_port()
            m.d.comb += [shower.addr.eq(show), shown.eq(shower.data)]
        row_r, add_r, clear_r = Signal(self.row_width), Signal(), Signal()
        amounts_r, stamp_r = Signal.like(self.amounts), Signal.like(self.stamp)
        m.d.comb += [
            r_port.addr.eq(self.row),
            w_port.addr.eq(row_r),
            w_port.en.eq(add_r | clear_r),
            w_port.data.stamp.eq(stamp_r),
        ]
        m.d.sync += [row_r.eq(self.row), add_r.eq(self.add), clear_r.eq(self.clear),
                     amounts_r.eq(self.amounts), stamp_r.eq(self.stamp)]
        for n in range(len(self.widths)):
            name = f"count_{n}"
            m.d.comb += w_port.data[name].eq(
                Mux(clear_r, 0, r_port.data[name] + amounts_r[name]))

        return m
