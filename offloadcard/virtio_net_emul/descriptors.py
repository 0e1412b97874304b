"""The first descriptors of a batch: fetched in runs, kept in the order of the available ring."""

# Ref: virtio-1.2, 2.7.5 (The Virtqueue Descriptor Table)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaReadPort
from .table import Pool, Table

__all__ = ["Descriptors"]


class Descriptors(wiring.Component):
    """Fetch the descriptors that a batch's ring entries name; neighbours with one read.

    A run of entries whose ids rise or fall by one is one read: drivers hand ids out in either
    direction. A run's octets are kept as they come, from the cell of its first entry on; a falling
    run thus lies mirrored, and its record says so. An id from nowhere is a run of its own, fetched
    from descriptor 0 (so that every entry is answered alike) and marked ``bad``.

    Timing
    ------
    One entry per cycle into runs; 2 cycles a batch more. A run's arrival takes 2 cycles.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    arrived : ``In(stream)``
        Batches whose ring entries are there.
    batch, batch_row, ring_row
        Address of the two tables' rows, which follow by 1 cycle.
    reads : ``Out(DmaReadPort(...))``
        DMA.
    cell_write : ``Out``
        Descriptors as they come in: lines of 64 octets, 8 octets an enable bit.
    run_write : ``Out``
        Records of runs, by slot of their first entry.
    ready_write : ``Out``
        Batches of which all descriptors are there: generation and ``error`` (DMA).
    ready : ``Out(stream)``
        Their queues.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.tag_width = (g.desc_tags - 1).bit_length()
        self.run = data.StructLayout({"count": range(g.batch + 1), "falls": 1, "bad": 1})
        super().__init__({
            "arrived":     In(stream.Signature(data.StructLayout({
                "batch": range(g.batches), "error": 1}))),
            "batch":       Out(range(g.batches)),
            "batch_row":   In(g.batch_row),
            "ring_row":    In(16 * g.batch),
            "reads":       Out(DmaReadPort(function_id_width=g.id_width,
                                           tag_width=self.tag_width, data_width=g.data_width)),
            "cell_write":  Out(data.StructLayout({
                "enable": 8, "line": range(g.batches * g.batch // 4), "row": 512})),
            "run_write":   Out(data.StructLayout({
                "enable": 1, "slot": g.slot, "row": self.run})),
            "ready_write": Out(data.StructLayout({
                "enable": 1, "batch": range(g.batches),
                "row": data.StructLayout({"generation": 1, "error": 1})})),
            "ready":       Out(stream.Signature(g.queue_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        self.job = data.StructLayout({
            "slot": g.slot, "run": self.run, "least": 16, "queue": g.queue_bits, "desc": 64,
            "generation": 1})
        m.submodules.jobs = jobs = Queue(self.job, depth=4, latency=1)
        self._scan(m, jobs.i)
        self._ask(m, jobs.o)
        return m

    def _scan(self, m, jobs):
        """Ring entries into runs, one a cycle."""
        g = self.geometry
        m.d.comb += self.batch.eq(self.arrived.p.batch)
        ids    = Signal(16 * g.batch)
        left   = Signal(range(g.batch + 1))
        index  = Signal(range(g.batch + 1))
        failed = Signal()
        job    = Signal(self.job)
        last   = Signal(16)
        size   = Signal(16)
        rises  = Signal()
        falls  = Signal()
        bad    = Signal()
        id_    = Signal(16)
        m.d.comb += [
            id_.eq(ids[:16]),
            bad.eq(failed | (id_ >= size)),
            rises.eq(~bad & ~job.run.bad & (id_ == (last + 1)[:16])
                     & ((job.run.count == 1) | ~job.run.falls)),
            falls.eq(~bad & ~job.run.bad & (id_ == (last - 1)[:16])
                     & ((job.run.count == 1) | job.run.falls)),
            jobs.payload.eq(job),
        ]

        def begin(at, number, wrong):
            """A run begins with entry ``at``."""
            m.d.sync += [job.slot.index.eq(at), job.run.count.eq(1), job.run.falls.eq(0),
                         job.run.bad.eq(wrong), job.least.eq(Mux(wrong, 0, number))]

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.arrived.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                row, number, wrong = self.batch_row, self.ring_row[:16], Signal()
                m.d.comb += wrong.eq(self.arrived.p.error | (number >= row.size))
                m.d.sync += [
                    ids.eq(self.ring_row >> 16), left.eq(row.count - 1), size.eq(row.size),
                    index.eq(1), failed.eq(self.arrived.p.error), last.eq(number),
                    job.queue.eq(row.queue), job.desc.eq(row.desc),
                    job.slot.batch.eq(self.arrived.p.batch), job.generation.eq(row.generation)]
                begin(0, number, wrong)
                m.d.comb += self.arrived.ready.eq(1)
                m.next = "SCAN"
            with m.State("SCAN"):
                joins, step = Signal(), Signal()
                m.d.comb += joins.eq((rises | falls) & (left != 0))
                m.d.comb += jobs.valid.eq(~joins)
                m.d.comb += step.eq(joins | jobs.ready)
                with m.If(step):
                    m.d.sync += [ids.eq(ids >> 16), last.eq(id_)]
                    with m.If(left != 0):
                        m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
                        with m.If(joins):
                            m.d.sync += [job.run.count.eq(job.run.count + 1),
                                         job.run.falls.eq(falls)]
                            with m.If(falls):
                                m.d.sync += job.least.eq(id_)
                        with m.Else():
                            begin(index, id_, bad)
                    with m.Else():
                        m.next = "IDLE"

    def _ask(self, m, jobs):
        """Runs into reads, their answers into cells, and the batch's account of them."""
        g = self.geometry
        m.submodules.tags    = tags    = Pool(count=g.desc_tags)
        m.submodules.records = records = Table(data.StructLayout({
            "slot": g.slot, "count": range(g.batch + 1), "queue": g.queue_bits,
            "generation": 1}), depth=g.desc_tags)
        request = self.reads.requests
        job = jobs.p
        octets = Signal(10)
        m.d.comb += [
            octets.eq(Mux(job.run.bad, 1, job.run.count) << 4),
            request.valid.eq(jobs.valid & tags.o.valid),
            request.p.tag.eq(tags.o.payload),
            request.p.function_id.eq(g.function_of(job.queue)),
            request.p.address.eq(job.desc + (job.least << 4)),
            request.p.length.eq(octets),
            request.p.lane.eq((job.slot.index << 4)[:len(request.p.lane)]),
            jobs.ready.eq(request.ready & tags.o.valid),
            tags.o.ready.eq(request.ready & jobs.valid),
            records.address.eq(tags.o.payload),
            records.row.slot.eq(job.slot),
            records.row.count.eq(job.run.count),
            records.row.queue.eq(job.queue),
            records.row.generation.eq(job.generation),
            records.enable.eq(jobs.valid & jobs.ready),
            self.run_write.slot.eq(job.slot),
            self.run_write.row.eq(job.run),
            self.run_write.enable.eq(jobs.valid & jobs.ready),
        ]

        # Answers: look up the record, then write the beat where it belongs.
        beats  = self.reads.beats
        beat   = Signal.like(beats.payload)
        valid  = Signal()
        number = Signal(range(g.batch * 16 // g.octets + 2))
        now    = Signal.like(number)
        m.d.comb += records.addresses[0].eq(beats.p.tag)
        m.d.sync += [valid.eq(beats.valid), beat.eq(beats.payload)]
        record = records.rows[0]
        m.d.comb += now.eq(Mux(beat.first, 0, number))
        with m.If(valid):
            m.d.sync += number.eq(now + 1)
        # In units of a beat: the batch's cells, the run's place in them, the beat in the run.
        beats_a_line = 512 // g.data_width
        place = Signal(range(g.batches * g.batch * 16 // g.octets))
        first = Signal.like(place)
        octet_bits = (g.octets - 1).bit_length()
        m.d.comb += first.eq(Cat(Const(0, 4), record.slot)[octet_bits:])
        m.d.comb += place.eq(first + now)
        line_bits = (beats_a_line - 1).bit_length()
        part = place[:line_bits] if line_bits else Const(0, 1)
        m.d.comb += self.cell_write.line.eq(place[line_bits:])
        m.d.comb += self.cell_write.row.eq(beat.data.as_value().replicate(beats_a_line))
        strobes = Cat(beat.strobe[8 * n] for n in range(g.octets // 8))
        with m.If(valid):
            for n in range(beats_a_line):
                width = 8 // beats_a_line
                with m.If(part == n):
                    m.d.comb += self.cell_write.enable[n * width:(n + 1) * width].eq(strobes)

        # The account: how many of a batch's descriptors have come.
        m.submodules.ends = ends = Queue(data.StructLayout({
            "batch": range(g.batches), "count": range(g.batch + 1), "queue": g.queue_bits,
            "generation": 1, "error": 1}), depth=g.desc_tags, latency=0)
        m.d.comb += [
            tags.i.valid.eq(valid & beat.last), tags.i.payload.eq(beat.tag),
            ends.i.valid.eq(valid & beat.last),
            ends.i.p.batch.eq(record.slot.batch), ends.i.p.count.eq(record.count),
            ends.i.p.queue.eq(record.queue), ends.i.p.generation.eq(record.generation),
            ends.i.p.error.eq(beat.error),
        ]
        m.d.sync += Assert(~ends.i.valid | ends.i.ready)  # none is lost
        m.submodules.sums = sums = Table(data.StructLayout({
            "count": range(g.batch + 1), "error": 1}), depth=g.batches)
        m.submodules.sizes = sizes = Table(range(g.batch + 1), depth=g.batches)
        total  = Signal(range(g.batch + 1))
        error  = Signal()
        whole  = Signal()
        second = Signal()
        m.d.comb += [
            sizes.address.eq(self.arrived.p.batch),
            sizes.row.eq(self.batch_row.count),
            sizes.enable.eq(self.arrived.ready),
            sizes.addresses[0].eq(ends.o.p.batch),
            sums.addresses[0].eq(ends.o.p.batch),
            sums.address.eq(ends.o.p.batch),
            total.eq(sums.rows[0].count + ends.o.p.count),
            error.eq(sums.rows[0].error | ends.o.p.error),
            whole.eq(total == sizes.rows[0]),
            sums.row.count.eq(Mux(whole, 0, total)),
            sums.row.error.eq(error & ~whole),
            self.ready.payload.eq(ends.o.p.queue),
            self.ready.valid.eq(ends.o.valid & second & whole),
            ends.o.ready.eq(second & (~whole | self.ready.ready)),
            sums.enable.eq(ends.o.valid & ends.o.ready),
            self.ready_write.enable.eq(ends.o.valid & ends.o.ready & whole),
            self.ready_write.batch.eq(ends.o.p.batch),
            self.ready_write.row.generation.eq(ends.o.p.generation),
            self.ready_write.row.error.eq(error),
        ]
        m.d.sync += second.eq(ends.o.valid & ~ends.o.ready)
