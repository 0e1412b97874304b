"""Rows of the flow table, key and entry, and the comparison that alone makes a hit."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .spec import FlowEntry, Key

__all__ = ["Rows", "LATENCY"]

LATENCY = 3
CHUNK   = 16  # bits of the key that one stage compares together


class Rows(wiring.Component):
    """Read a candidate's row and compare its whole key: a hit is never another flow's.

    Timing
    ------
    Lookup: latency 3 cycles, one per cycle; it sees what was written before its first cycle. The
    engine's own read: 1 cycle.

    Parameters
    ----------
    row_width : int
        log2 of the rows.

    Members
    -------
    key, found, row : ``In(384)``, ``In(1)``, ``In(row_width)``
        A UFID and its candidate, if there is one.
    hit, handle, entry : ``Out``
        3 cycles later: the row's key is the UFID; the row, and its entry.
    engine_row, engine_key, engine_entry : ``In(row_width)``, ``Out(384)``, ``Out(FlowEntry)``
        The engine's row, 1 cycle later.
    write, write_key, write_entry : ``In``
        Write ``engine_row``.
    """

    # What a mutant changes: compare the whole key.
    _compares_key = True

    def __init__(self, *, row_width):
        if row_width < 1:
            raise ValueError(f"`row_width` must be positive, not {row_width!r}")
        self.row_width = row_width
        super().__init__({
            "key":          In(384),
            "found":        In(1),
            "row":          In(row_width),
            "hit":          Out(1),
            "handle":       Out(row_width),
            "entry":        Out(FlowEntry),
            "engine_row":   In(row_width),
            "engine_key":   Out(384),
            "engine_entry": Out(FlowEntry),
            "write":        In(1),
            "write_key":    In(384),
            "write_entry":  In(512),
        })

    def elaborate(self, platform):
        m = Module()

        shape = data.StructLayout({"key": Key, "entry": FlowEntry})
        m.submodules.rows = rows = memory.Memory(shape=Shape.cast(shape).width,
                                                 depth=1 << self.row_width, init=[])
        r_port, engine_r, w_port = rows.read_port(), rows.read_port(), rows.write_port()
        record, engine_record = Signal(shape), Signal(shape)
        m.d.comb += [
            r_port.addr.eq(self.row), record.as_value().eq(r_port.data),
            engine_r.addr.eq(self.engine_row), engine_record.as_value().eq(engine_r.data),
            self.engine_key.eq(engine_record.key), self.engine_entry.eq(engine_record.entry),
            w_port.addr.eq(self.engine_row), w_port.en.eq(self.write),
            w_port.data.eq(Cat(self.write_key, self.write_entry)),
        ]

        # Cycle 1: the row. 2: compared in parts. 3: as a whole.
        key_1, found_1, row_1 = Signal(384), Signal(), Signal(self.row_width)
        same_2  = Signal(384 // CHUNK)
        found_2, row_2, entry_2 = Signal(), Signal(self.row_width), Signal(FlowEntry)
        ours = record.key.as_value()
        m.d.sync += [
            key_1.eq(self.key), found_1.eq(self.found), row_1.eq(self.row),
            same_2.eq(Cat(ours[n:n + CHUNK] == key_1[n:n + CHUNK]
                          for n in range(0, 384, CHUNK))),
            found_2.eq(found_1 & record.entry.valid), row_2.eq(row_1), entry_2.eq(record.entry),
            self.hit.eq(found_2 & (same_2.all() | (not self._compares_key))),
            self.handle.eq(row_2), self.entry.eq(entry_2),
        ]

        return m
