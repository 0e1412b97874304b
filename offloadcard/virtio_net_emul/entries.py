"""The entries of a batch in turn: where the first descriptor of each lies."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Entries"]


class Entries(wiring.Component):
    """Go through the entries of a batch, and name the cell of each.

    A record of a run stands at the run's first entry only. The record of the entry after the
    present one is always read ahead, so a new run costs nothing. A falling run lies mirrored.

    Timing
    ------
    One entry per cycle; the first 1 cycle after ``begin``.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    run : shape
        Record of a run, as :class:`Descriptors` writes it.

    Members
    -------
    begin, batch, first, position : ``In``
        Begin at entry ``position`` of ``batch``, which belongs to the run that begins at ``first``.
    step : ``In(1)``
        The present entry is taken.
    slot : ``Out(slot)``; run_row : ``In(run)``
        Address of the records, and the row which follows by 1 cycle.
    cell : ``Out(slot)``
        Cell of the present entry.
    now, run_first : ``Out``
        The present entry, and the first of its run.
    bad : ``Out(1)``
        Its id is from nowhere.
    """

    def __init__(self, geometry, *, run):
        self.geometry = g = geometry
        super().__init__({
            "begin":     In(1),
            "batch":     In(range(g.batches)),
            "first":     In(range(g.batch + 1)),
            "position":  In(range(g.batch + 1)),
            "step":      In(1),
            "slot":      Out(g.slot),
            "run_row":   In(run),
            "cell":      Out(g.slot),
            "now":       Out(range(g.batch + 1)),
            "run_first": Out(range(g.batch + 1)),
            "bad":       Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        batch  = Signal.like(self.batch)
        fresh  = Signal()                   # the record is just read
        kept   = Signal.like(self.run_row)
        run    = Signal.like(self.run_row)
        after  = Signal.like(self.now)      # the entry after the present one
        mirror = Signal.like(self.now)      # what the present entry's cell is in a falling run
        m.d.comb += [
            run.eq(Mux(fresh, self.run_row, kept)),
            after.eq(self.now + 1),
            mirror.eq((self.run_first << 1) + run.count - after),
            self.bad.eq(run.bad),
            self.slot.batch.eq(Mux(self.begin, self.batch, batch)),
            self.slot.index.eq(Mux(self.begin, self.first, after)),
            self.cell.batch.eq(batch),
            self.cell.index.eq(Mux(run.falls, mirror, self.now)),
        ]
        m.d.sync += [kept.eq(run), fresh.eq(self.begin)]
        with m.If(self.begin):
            m.d.sync += [batch.eq(self.batch), self.now.eq(self.position),
                         self.run_first.eq(self.first)]
        with m.Elif(self.step):
            m.d.sync += self.now.eq(after)
            with m.If(after == (self.run_first + run.count)[:len(after)]):
                m.d.sync += [self.run_first.eq(after), fresh.eq(1)]
        return m
