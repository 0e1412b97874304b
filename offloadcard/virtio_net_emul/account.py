"""Receive chains that ended, gathered to used elements; and pages on their way home."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Queue
from .layouts import PAGE_OCTETS
from .table import Table

__all__ = ["Account", "Recycle"]


class Account(wiring.Component):
    """Say which entries of a batch may be used: those up to a marker, when all of them ended.

    A batch that is given up waits until every write handed over before was answered, so that its
    end is the end of all its writes.

    Chains that go on end late, so a batch could overtake the one before; ``finals`` tells the walk
    how many batches of a queue came to their last job, and it begins none too early.

    Timing
    ------
    One event per cycle.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    end : shape
        As :class:`Scatter` reports.

    Members
    -------
    ends : ``In(stream(end))``
        Chains that ended, and markers.
    issued : ``In(8)``, accepted : ``In(1)``
        Writes handed over; one was answered.
    length_write : ``Out``
        Lengths of used elements, one lane an entry.
    jobs : ``Out(stream(used_job))``
        Entries to be used.
    batch, batch_row
        Address of the batch table's row, which follows by 1 cycle.
    queue : ``In``; finals : ``Out(4)``
        Address, and 1 cycle later: batches of that queue whose last job was given, modulo 16.
    final : ``Out(stream, always_ready)``
        Queues of which a batch came to its last job.
    """

    # What a mutant changes: wait for every chain below a marker.
    _waits = True

    def __init__(self, geometry, *, end):
        self.geometry = g = geometry
        super().__init__({
            "ends":         In(stream.Signature(end)),
            "issued":       In(8),
            "accepted":     In(1),
            "length_write": Out(data.StructLayout({
                "enable": g.batch, "batch": range(g.batches), "row": 14 * g.batch})),
            "jobs":         Out(stream.Signature(g.used_job)),
            "batch":        Out(range(g.batches)),
            "batch_row":    In(g.batch_row),
            "queue":        In(g.queue_bits),
            "finals":       Out(4),
            "final":        Out(stream.Signature(g.queue_bits, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.rows = rows = Table(data.StructLayout({
            "ended": g.batch, "target": range(g.batch + 1), "flushed": range(g.batch + 1),
            "final": 1, "skip": 1, "holds": 1, "before": 4}), depth=g.batches)
        m.submodules.jobs = jobs = Queue(data.StructLayout({
            "job": g.used_job, "issued": 8}), depth=8)

        # First stage: look the batch up. The second never waits: room for its job is kept.
        valid = Signal()
        end   = Signal.like(self.ends.payload)
        row   = Signal.like(rows.row)
        mask  = Signal(g.batch)
        whole = Signal()
        gives = Signal()
        old   = rows.rows[0]
        m.d.comb += [self.ends.ready.eq(jobs.level < jobs.depth - 1),
                     rows.addresses[0].eq(self.ends.p.slot.batch)]
        m.d.sync += [valid.eq(self.ends.valid & self.ends.ready), end.eq(self.ends.payload)]

        # Second stage: what ended, and what a marker asked for.
        target = Signal(g.batch)   # entries below the marker
        before = Signal(4)         # of a packet that the batch before began
        m.d.comb += [
            rows.address.eq(end.slot.batch), rows.enable.eq(valid),
            mask.eq(Mux(end.marker, 0, 1 << end.slot.index)),
            row.ended.eq(old.ended | mask),
            row.target.eq(Mux(end.marker, end.upto, old.target)),
            row.final.eq(old.final | end.marker & end.final),
            row.skip.eq(old.skip | end.skip | end.error),
            row.holds.eq(old.holds | end.marker & end.holds),
            row.before.eq(Mux(gives, 0, before)),
            before.eq(old.before | Mux(end.marker, end.before, 0)),
            target.eq((1 << row.target) - 1),
            whole.eq(((row.ended & target) == target) | (not self._waits)),
            row.flushed.eq(Mux(gives, row.target, old.flushed)),
            gives.eq(whole & (row.final | (row.target != old.flushed))),
            jobs.i.valid.eq(valid & gives),
            jobs.i.p.job.batch.eq(end.slot.batch),
            jobs.i.p.job.start.eq(old.flushed),
            jobs.i.p.job.count.eq(row.target - old.flushed),
            jobs.i.p.job.final.eq(row.final), jobs.i.p.job.skip.eq(row.skip),
            jobs.i.p.job.holds.eq(row.holds), jobs.i.p.job.before.eq(before),
            jobs.i.p.issued.eq(self.issued),
            self.length_write.batch.eq(end.slot.batch),
            self.length_write.row.eq(end.length.replicate(g.batch)),
            self.length_write.enable.eq(Mux(valid, mask, 0)),
        ]
        with m.If(~(gives & row.final)):
            m.d.comb += rows.row.eq(row)

        # How far each queue is.
        m.submodules.finals = finals = Table(4, depth=g.queues, readers=2)
        final = Signal()
        queue = Signal(g.queue_bits)
        m.d.comb += [self.batch.eq(self.ends.p.slot.batch), self.finals.eq(finals.rows[1])]
        m.d.sync += [final.eq(valid & gives & row.final), queue.eq(self.batch_row.queue)]
        m.d.sync += [self.final.valid.eq(final), self.final.payload.eq(queue)]
        m.d.comb += [
            finals.addresses[0].eq(self.batch_row.queue), finals.addresses[1].eq(self.queue),
            finals.address.eq(queue), finals.row.eq(finals.rows[0] + 1), finals.enable.eq(final),
        ]

        answered = Signal(8)
        behind   = Signal(8)
        m.d.sync += answered.eq(answered + self.accepted)
        m.d.comb += behind.eq(answered - jobs.o.p.issued)
        held = Signal()
        m.d.comb += [
            held.eq(jobs.o.p.job.skip & behind[-1]),
            self.jobs.valid.eq(jobs.o.valid & ~held),
            self.jobs.payload.eq(jobs.o.p.job),
            jobs.o.ready.eq(self.jobs.ready & ~held),
        ]

        return m


class Recycle(wiring.Component):
    """Give the pages of frames back, following their links.

    Timing
    ------
    One page per cycle.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    packets : ``In(stream(packet)).array(2)``
        Frames that are no longer needed.
    page, link_row
        Address of the links, and the row which follows by 1 cycle.
    freed : ``Out(stream, always_ready)``
        Their pages.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            "packets":  In(stream.Signature(g.packet)).array(2),
            "page":     Out(g.page_bits),
            "link_row": In(g.page_bits),
            "freed":    Out(stream.Signature(g.page_bits, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.merge = merge = Merge(g.packet, count=2)
        for port, packets in zip(merge.i, self.packets):
            m.d.comb += [port.valid.eq(packets.valid), port.payload.eq(packets.payload),
                         packets.ready.eq(port.ready)]
        page  = Signal(g.page_bits)
        left  = Signal(14)
        begun = Signal()
        m.d.comb += [
            page.eq(Mux(begun, self.link_row, merge.o.p.page)), self.page.eq(page),
            self.freed.payload.eq(page), self.freed.valid.eq(begun | merge.o.valid),
        ]
        rest = Signal(14)
        m.d.comb += rest.eq(Mux(begun, left, merge.o.p.length))
        m.d.comb += merge.o.ready.eq(~begun)
        m.d.sync += [begun.eq((begun | merge.o.valid) & (rest > PAGE_OCTETS)),
                     left.eq(rest - PAGE_OCTETS)]

        return m
