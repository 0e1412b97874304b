"""Ids of batches, and how much the functions whose memory is slow may hold of them."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import promptness
from .table import Pool, Table

__all__ = ["Confine", "BatchIds", "Slow", "NEW_READS", "PENANCE_READS"]

NEW_READS     = 16   # that must be answered in time before a function is trusted
PENANCE_READS = 512  # the same, once one was late


class Slow(wiring.Component):
    """Remember of each function whether its memory answers in time.

    A function is slow until ``NEW_READS`` of its reads were answered in time, and after one that
    was late until ``PENANCE_READS`` were. Resets do not change that: who gets the function next
    inherits it.

    Timing
    ------
    Known 1 cycle after ``look``; news count 2 cycles later.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    told : ``In(promptness(...))``
        News of reads.
    look : ``In``; slow : ``Out(1)``
        Row of a function, and 1 cycle later what is known of it.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            "told": In(promptness(function_id_width=g.id_width)),
            "look": In(g.row_bits),
            "slow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.rows = rows = memory.Memory(
            shape=range(PENANCE_READS + 1), depth=1 << g.row_bits,
            init=[NEW_READS] * (1 << g.row_bits))
        write = rows.write_port()
        own, other = (rows.read_port(transparent_for=(write,)) for _ in range(2))
        valid, late, row = Signal(), Signal(), Signal(g.row_bits)
        m.d.sync += [
            valid.eq(self.told.valid & (self.told.function_id < g.functions)),
            late.eq(self.told.late), row.eq(g.row_of(self.told.function_id))]
        m.d.comb += [
            own.addr.eq(g.row_of(self.told.function_id)),
            write.addr.eq(row), write.en.eq(valid & (late | (own.data != 0))),
            write.data.eq(Mux(late, PENANCE_READS, own.data - 1)),
            other.addr.eq(self.look), self.slow.eq(other.data != 0),
        ]
        return m


class Confine(wiring.Component):
    """A small part of the reads, for all slow functions together.

    Each of their batches is charged what it may ask for at once. They hold no more than ``share``,
    or one batch if that is more: so the narrowest card lets one through, and it gives all back when
    it ends, for a read that nobody answers ends by the completion timeout.

    Timing
    ------
    A charge counts in the next cycle, an end 1 cycle later. ``room`` and ``loose`` are of this
    cycle.

    Parameters
    ----------
    batches : int
        Number of batches.
    most, share : int
        The greatest charge; what all may hold.

    Members
    -------
    begin : ``In``
        A batch that has an id, with its charge; 0 if its function is not slow. Only if ``room``.
    ends : ``In(...).array(2)``
        Ids that come home, each once.
    cost : ``In``; room : ``Out(1)``; loose : ``Out(1)``
        So much may be charged; and so may anything.
    """

    # What a mutant changes: give back what was charged.
    _returns = True

    def __init__(self, *, batches, most, share):
        if most < 1:
            raise ValueError(f"`most` must be at least 1, not {most!r}")
        self.batches, self.most, self.share = batches, most, share
        end = data.StructLayout({"valid": 1, "batch": range(batches)})
        super().__init__({
            "begin": In(data.StructLayout({
                "valid": 1, "batch": range(batches), "cost": range(most + 1)})),
            "ends":  In(end).array(2),
            "cost":  In(range(most + 1)),
            "room":  Out(1),
            "loose": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.costs = costs = Table(range(self.most + 1), depth=self.batches, readers=2)
        held = Signal(range(max(self.share, self.most) + 1))
        back = []
        for number, end in enumerate(self.ends):
            ended = Signal(name=f"ended_{number}")
            m.d.sync += ended.eq(end.valid & self._returns)
            m.d.comb += costs.addresses[number].eq(end.batch)
            back.append(Mux(ended, costs.rows[number], 0))
        m.d.comb += [
            costs.enable.eq(self.begin.valid), costs.address.eq(self.begin.batch),
            costs.row.eq(self.begin.cost),
            self.room.eq((held == 0) | (held + self.cost <= self.share)),
            self.loose.eq((held == 0) | (held + self.most <= self.share)),
        ]
        m.d.sync += held.eq(held + Mux(self.begin.valid, self.begin.cost, 0) - back[0] - back[1])
        return m


class BatchIds(wiring.Component):
    """Ids of batches, those that were given back unused first, and their confinement.

    Timing
    ------
    As of :class:`~.table.Pool` and :class:`Confine`.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    o : ``Out(stream)``
        An id to be taken; ``kept`` : ``Out(1)``, ``second`` : ``In(1)``: it is one that was given
        back unused, and it was when it was looked at.
    returned : ``In(stream, always_ready)``, unused : ``In``
        Ids of batches that ended; of one that was not used.
    free : ``Out``
        Ids at home, but for those that were given back unused.
    begins : ``In(1)``; cost, room, loose
        ``begin`` is the batch ``begin``, charged ``cost``; as of :class:`Confine`.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.confine = Confine(batches=g.batches, most=g.frame_pages, share=g.gather_tags // 4)
        super().__init__({
            "o":        Out(stream.Signature(g.batch_id)),
            "kept":     Out(1),
            "second":   In(1),
            "returned": In(stream.Signature(g.batch_id, always_ready=True)),
            "unused":   In(data.StructLayout({"valid": 1, "id": g.batch_id})),
            "free":     Out(range(g.batches + 1)),
            "begins":   In(1),
            "begin":    In(range(g.batches)),
            "slow":     In(1),
            "cost":     In(range(g.frame_pages + 1)),
            "room":     Out(1),
            "loose":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.pool    = pool    = Pool(count=g.batches, generation=True)
        m.submodules.unused  = unused  = Queue(Shape.cast(g.batch_id), depth=g.batches)
        m.submodules.confine = confine = self.confine
        wiring.connect(m, wiring.flipped(self.returned), pool.i)
        m.d.comb += [
            unused.i.payload.eq(self.unused.id), unused.i.valid.eq(self.unused.valid),
            self.kept.eq(unused.o.valid), self.free.eq(pool.free),
            self.o.valid.eq(unused.o.valid | pool.o.valid),
            self.o.payload.eq(Mux(unused.o.valid, unused.o.payload, pool.o.payload)),
            unused.o.ready.eq(self.o.ready & self.second),
            pool.o.ready.eq(self.o.ready & ~self.second),
            confine.begin.valid.eq(self.begins), confine.begin.batch.eq(self.begin),
            confine.begin.cost.eq(Mux(self.slow, self.cost, 0)),
            confine.ends[0].valid.eq(self.returned.valid),
            confine.ends[0].batch.eq(self.returned.p.batch),
            confine.ends[1].valid.eq(self.unused.valid),
            confine.ends[1].batch.eq(self.unused.id.batch),
            confine.cost.eq(self.cost), self.room.eq(confine.room), self.loose.eq(confine.loose),
        ]
        return m
