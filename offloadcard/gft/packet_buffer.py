"""Where a packet's octets wait for the decision about it: cells in memory, named by handles."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.rotate import rotate_left
from .records import CELL_OCTETS, read_job

__all__ = ["PacketBuffer", "CellPool"]


class CellPool(wiring.Component):
    """Free cells: each is lent once until it is given back.

    Timing
    ------
    One cell lent and one given back per cycle; a cell can be lent again 2 cycles later.

    Parameters
    ----------
    cells : int
        Number of cells; a power of two.

    Members
    -------
    lent : ``Out(stream.Signature(range(cells)))``
        The next free cell.
    back : ``In(stream.Signature(range(cells), always_ready=True))``
        A cell that is free again.
    used : ``Out(1)``
        Some cell was lent a cycle ago.
    """

    def __init__(self, *, cells):
        if cells < 4 or cells & (cells - 1):
            raise ValueError(f"`cells` must be a power of two, 4 or more, not {cells!r}")
        self.cells = cells
        super().__init__({
            "lent": Out(stream.Signature(range(cells))),
            "back": In(stream.Signature(range(cells), always_ready=True)),
            "used": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        # Cells that were never lent are counted, not listed: nothing to fill after reset.
        unused = Signal(range(self.cells + 1))
        m.submodules.queue = queue = Queue(range(self.cells), depth=self.cells)
        fresh = Signal(init=1)
        m.d.comb += [
            queue.i.valid.eq(self.back.valid), queue.i.payload.eq(self.back.payload),
            self.lent.valid.eq(fresh | queue.o.valid),
            self.lent.payload.eq(Mux(fresh, unused, queue.o.payload)),
            queue.o.ready.eq(self.lent.ready & ~fresh),
        ]
        lent = Signal(range(self.cells + 1))
        m.d.sync += [lent.eq(lent + (self.lent.valid & self.lent.ready) - self.back.valid),
                     self.used.eq(lent != 0)]
        with m.If(self.lent.ready & fresh):
            m.d.sync += [unused.eq(unused + 1), fresh.eq(unused != self.cells - 1)]

        return m


class PacketBuffer(wiring.Component):
    """Write packets into linked cells; read them later, in any order, by handle.

    Timing
    ------
    One beat in and one out per cycle, also if every packet is one beat. A beat read leaves,
    rotated, 3 cycles after its job was offered. Cells not read cost 2 cycles each.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    cells : int
        Cells of 256 octets; a power of two.

    Members
    -------
    i : ``In(stream.Signature({data, first, last}))``
        Beats in; ``ready`` falls when a beat needs a cell and none is free.
    handle : ``Out(range(cells))``
        With each beat: the first cell of its packet.
    starts_cell : ``Out(1)``
        With each beat: it takes a new cell.
    jobs : ``In(stream.Signature(read_job(...)))``
        What to read. A packet that is not read (``take`` 0) gives its cells back all the same.
    o : ``Out(stream.Signature(data_width))``
        The beats read.
    dropped : ``Out(1)``
        A job that ``drops`` ended in the cycle before.
    used : ``Out(1)``
        Some cell held a packet a cycle ago.
    """

    def __init__(self, *, data_width, cells):
        self.data_width = data_width
        self.cells      = cells
        self.beat = data.StructLayout({"data": data_width, "first": 1, "last": 1})
        self.job  = read_job(cell_width=(cells - 1).bit_length(), data_width=data_width)
        super().__init__({
            "i":           In(stream.Signature(self.beat)),
            "handle":      Out(range(cells)),
            "starts_cell": Out(1),
            "jobs":        In(stream.Signature(self.job)),
            "o":           Out(stream.Signature(data_width)),
            "dropped":     Out(1),
            "used":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        per_cell = CELL_OCTETS // (self.data_width // 8)
        m.submodules.pool  = pool = CellPool(cells=self.cells)
        m.submodules.beats = beats = memory.Memory(shape=self.data_width,
                                                   depth=self.cells * per_cell, init=[])
        m.submodules.links = links = memory.Memory(shape=range(self.cells), depth=self.cells,
                                                   init=[])
        m.d.comb += self.used.eq(pool.used)
        self._write(m, pool, beats.write_port(), links.write_port(), per_cell)
        self._read(m, pool, beats.read_port(), links.read_port(), per_cell)

        return m

    def _write(self, m, pool, beats, links, per_cell):
        cell, place = Signal(range(self.cells)), Signal(range(per_cell))
        first_cell = Signal(range(self.cells))
        moves, fresh = Signal(), Signal()
        m.d.comb += [
            fresh.eq(self.i.p.first | (place == 0)),
            self.starts_cell.eq(fresh),
            self.i.ready.eq(~fresh | pool.lent.valid),
            moves.eq(self.i.valid & self.i.ready),
            pool.lent.ready.eq(self.i.valid & fresh),
            self.handle.eq(Mux(self.i.p.first, pool.lent.payload, first_cell)),
            beats.addr.eq(Cat(Mux(self.i.p.first, 0, place),
                              Mux(fresh, pool.lent.payload, cell))),
            beats.data.eq(self.i.p.data),
            beats.en.eq(moves),
            links.addr.eq(cell),
            links.data.eq(pool.lent.payload),
            links.en.eq(moves & fresh & ~self.i.p.first),
        ]
        with m.If(moves):
            m.d.sync += place.eq(Mux(self.i.p.first, 1, place + 1))
            with m.If(fresh):
                m.d.sync += cell.eq(pool.lent.payload)
            with m.If(self.i.p.first):
                m.d.sync += first_cell.eq(pool.lent.payload)

    def _read(self, m, pool, beats, links, per_cell):
        job = self.jobs.p
        going  = Signal()                     # inside a job, past its first step
        cell_r = Signal(range(self.cells))
        place_r = Signal(range(per_cell))
        left_r, cells_r = Signal.like(job.take), Signal.like(job.cells)
        linked = Signal()                     # the memory of links shows the next of `cell_r`
        # What the next step of the job does, known a cycle before: it reads, leaves the cell, and
        # with it ends the job.
        reads_r, leaves_r, ends_r = (Signal(name=name) for name in (
            "reads_r", "leaves_r", "ends_r"))

        cell, place = Signal.like(cell_r), Signal.like(place_r)
        left, cells = Signal.like(left_r), Signal.like(cells_r)
        m.d.comb += [
            cell.eq(Mux(going, cell_r, job.handle)),
            place.eq(Mux(going, place_r, job.skip)),
            left.eq(Mux(going, left_r, job.take)),
            cells.eq(Mux(going, cells_r, job.cells)),
        ]

        # Two places behind the memory: its own output, and the rotated beat.
        fetched, rotate_r, room = Signal(), Signal.like(job.rotate), Signal()
        rotated, rotated_valid = Signal(self.data_width), Signal()
        advance = Signal()
        m.d.comb += [
            advance.eq(~rotated_valid | self.o.ready),
            room.eq(~fetched | advance),
            self.o.valid.eq(rotated_valid),
            self.o.payload.eq(rotated),
        ]
        turned = rotate_left(m, beats.data, rotate_r, name="turned")
        with m.If(advance):
            m.d.sync += [rotated_valid.eq(fetched), rotated.eq(turned)]
        with m.If(room):
            m.d.sync += fetched.eq(0)

        step, reads, leaves_cell, ends, stuck = (Signal(name=name) for name in (
            "step", "reads", "leaves_cell", "ends", "stuck"))
        leaves_first = Signal()
        m.d.comb += [
            leaves_first.eq(~job.reads | job.one),
            reads.eq(Mux(going, reads_r, job.reads)),
            # Of a cell that is left, the link must have been read. No job skips a whole cell.
            leaves_cell.eq(Mux(going, leaves_r, leaves_first)),
            ends.eq(Mux(going, ends_r, leaves_first & job.one_cell)),
            stuck.eq(Mux(going, leaves_r & ~ends_r & ~linked, leaves_first & ~job.one_cell)),
            beats.addr.eq(Cat(place, cell)),
            beats.en.eq(room),
            links.addr.eq(cell),
            step.eq(self.jobs.valid & (~reads | room) & ~stuck),
            self.jobs.ready.eq(step & ends),
        ]
        # Cells and credits go back a cycle later.
        m.d.sync += [
            pool.back.valid.eq(step & leaves_cell), pool.back.payload.eq(cell),
            self.dropped.eq(step & ends & job.drops),
            linked.eq(self.jobs.valid),  # `cell` stays, unless it is left below
        ]

        def then(*, more, one, edge, one_cell):
            m.d.sync += [reads_r.eq(more), leaves_r.eq(~more | one | edge),
                         ends_r.eq((~more | one | edge) & one_cell)]

        with m.If(self.jobs.valid & stuck):
            m.d.sync += [going.eq(1), cell_r.eq(cell), place_r.eq(place),
                         left_r.eq(left), cells_r.eq(cells)]
            then(more=reads, one=left == 1, edge=place == per_cell - 1, one_cell=cells == 1)
        with m.If(step):
            m.d.sync += [going.eq(~ends), cell_r.eq(cell), place_r.eq(place + 1),
                         left_r.eq(left - reads), cells_r.eq(cells)]
            then(more=left > 1, one=left == 2, edge=place == per_cell - 2, one_cell=cells == 1)
            with m.If(leaves_cell):
                m.d.sync += [cell_r.eq(links.data), place_r.eq(0), cells_r.eq(cells - 1),
                             linked.eq(0)]
                then(more=left > 1, one=left == 2, edge=0, one_cell=cells == 2)
            with m.If(reads):
                m.d.sync += [fetched.eq(1), rotate_r.eq(job.rotate)]
