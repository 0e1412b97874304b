"""The used ring: elements of a whole batch in one write, then its index, then the interrupt."""

# Ref: virtio-1.2, 2.7.7 (Used Buffer Notification Suppression), 2.7.8 (The Virtqueue Used Ring)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaReadPort, DmaWritePort
from .spec import VIRTQ_AVAIL_F_NO_INTERRUPT, VirtqUsedElem
from .table import Pool, Table

__all__ = ["Used"]


class Used(wiring.Component):
    """Give chains back to the driver, each exactly once.

    Every available entry becomes one used element at the same place, so a batch, or a part of it,
    is one write of the ring. When the write of the index was accepted the available ring's flags
    are read (not before: the driver looks at the index after it allowed interrupts), and the
    interrupt follows unless they forbid it; with EVENT_IDX it is ``used_event`` that is read, and
    the interrupt follows if the index went past it. Only then a batch has ended.

    Timing
    ------
    3 cycles a job, 1 a beat of elements; several jobs are under way at a time.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    jobs : ``In(stream(used_job))``
        What to give back.
    batch, batch_row, ring_row, lengths_row
        Address of three tables, and their rows which follow by 1 cycle.
    writes, reads
        DMA.
    interrupts : ``Out(stream)``
        Function and vector.
    interrupted : ``In(1)``
        An interrupt of ours was accepted; in order.
    ended : ``Out(stream)``
        Queues of which a batch ended.
    returned : ``Out(stream, always_ready)``
        Ids of batches that ended.
    done_queue : ``In``; done : ``Out(4)``; settled : ``Out(1)``
        Address, and 1 cycle later: batches of that queue that ended; no update is under way.
    failures : ``Out(stream)``
        Functions whose memory did not answer.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        self.tag_width = (g.used_slots - 1).bit_length()
        ports = {"function_id_width": g.id_width, "tag_width": self.tag_width,
                 "data_width": g.data_width}
        self.interrupt = data.StructLayout({"function_id": g.id_width, "vector": 16})
        super().__init__({
            "jobs":        In(stream.Signature(g.used_job)),
            "batch":       Out(range(g.batches)),
            "batch_row":   In(g.batch_row),
            "ring_row":    In(16 * g.batch),
            "lengths_row": In(14 * g.batch),
            "writes":      Out(DmaWritePort(**ports)),
            "reads":       Out(DmaReadPort(**{**ports, "tag_width": self.tag_width + 1})),
            "interrupts":  Out(stream.Signature(self.interrupt)),
            "interrupted": In(1),
            "ended":       Out(stream.Signature(g.queue_bits)),
            "returned":    Out(stream.Signature(g.batch_id, always_ready=True)),
            "done_queue":  In(g.queue_bits),
            "done":        Out(4),
            "settled":     Out(1),
            "failures":    Out(stream.Signature(g.id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        update = data.StructLayout({
            "queue": g.queue_bits, "batch": range(g.batches), "generation": 1, "final": 1,
            "vector": 16, "flags": 64, "event_idx": 1, "before": 16, "after": 16})
        m.submodules.slots   = slots   = Pool(count=g.used_slots)
        m.submodules.updates = updates = Table(update, depth=g.used_slots, readers=2)
        m.submodules.skipped = skipped = Queue(update, depth=4)
        m.submodules.begun   = self.begun = Table(5, depth=g.queues, readers=2)
        self._write(m, slots, updates, skipped.i)
        self._finish(m, slots, updates, skipped.o)
        return m

    def _write(self, m, slots, updates, skipped):
        """Elements, then the index."""
        g = self.geometry
        m.d.comb += [self.batch.eq(self.jobs.p.batch),
                     self.begun.addresses[0].eq(self.batch_row.queue)]
        job    = Signal(g.used_job)
        row    = Signal(g.batch_row)
        ids    = Signal(16 * g.batch)
        sizes  = Signal(14 * g.batch)
        left   = Signal(range(g.batch + 1))
        first  = Signal()
        per_beat = g.data_width // 64
        number = Signal(self.tag_width)
        place  = Signal(16)
        address = Signal(64)
        flags   = Signal(64)   # address of what tells whether to interrupt
        shown   = Signal(16)   # the index before this job, and after it
        shows   = Signal(16)
        m.d.comb += [
            shown.eq(place - job.before),
            # [virtio-1.2: 5.1.6.4] all buffers of one packet become visible at once.
            shows.eq(Mux(job.holds, shown, place + job.count)),
            updates.address.eq(number),
            updates.row.queue.eq(row.queue), updates.row.batch.eq(job.batch),
            updates.row.generation.eq(row.generation), updates.row.final.eq(job.final),
            updates.row.vector.eq(row.vector), updates.row.flags.eq(flags),
            updates.row.event_idx.eq(row.features.event_idx),
            updates.row.before.eq(shown), updates.row.after.eq(shows),
            skipped.payload.eq(updates.row),
        ]
        beat = self.writes.beats
        elements = Signal(data.ArrayLayout(VirtqUsedElem, per_beat))
        for n in range(min(per_beat, g.batch)):
            m.d.comb += [elements[n].id.eq(ids[16 * n:16 * n + 16]),
                         elements[n].len.eq(sizes[14 * n:14 * n + 14])]
        m.d.comb += [
            beat.p.function_id.eq(g.function_of(row.queue)),
            beat.p.tag.eq(number),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.jobs.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [
                    job.eq(self.jobs.payload), row.eq(self.batch_row),
                    ids.eq(self.ring_row >> (self.jobs.p.start << 4)),
                    sizes.eq(self.lengths_row >> (self.jobs.p.start * 14)),
                    left.eq(self.jobs.p.count), number.eq(slots.o.payload), first.eq(1),
                ]
                with m.If(self.jobs.p.skip | (self.jobs.p.count == 0)):
                    m.d.comb += self.jobs.ready.eq(1)
                    m.next = "SKIP"
                with m.Elif(slots.o.valid):
                    m.d.comb += [self.jobs.ready.eq(1), slots.o.ready.eq(1)]
                    m.next = "PLACE"
            with m.State("SKIP"):
                m.d.comb += skipped.valid.eq(job.final)
                with m.If(~job.final | skipped.ready):
                    m.next = "IDLE"
            with m.State("PLACE"):
                m.d.comb += [self.begun.enable.eq(1), self.begun.address.eq(row.queue),
                             self.begun.row.eq(self.begun.rows[0] + 1)]
                m.d.sync += [place.eq(row.position + job.start), flags.eq(
                    row.driver + Mux(row.features.event_idx, (row.size << 1) + 4, 0))]
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += updates.enable.eq(1)
                m.d.sync += address.eq(row.device + 4 + ((place & (row.size - 1)) << 3))
                m.next = "ELEMENTS"
            with m.State("ELEMENTS"):
                last = Signal()
                m.d.comb += [
                    last.eq(left <= per_beat),
                    beat.valid.eq(1), beat.p.data.as_value().eq(elements.as_value()),
                    beat.p.address.eq(address), beat.p.length.eq(job.count << 3),
                    beat.p.first.eq(first), beat.p.last.eq(last)]
                with m.If(beat.ready):
                    m.d.sync += [first.eq(0), left.eq(left - per_beat),
                                 ids.eq(ids >> 16 * per_beat), sizes.eq(sizes >> 14 * per_beat)]
                    with m.If(last):
                        m.d.sync += [address.eq(row.device + 2), place.eq(shows)]
                        m.next = "INDEX"
            with m.State("INDEX"):
                # [virtio-1.2: 2.7.8.2] the index after the elements: one port is one order.
                m.d.comb += [
                    beat.valid.eq(1), beat.p.data.as_value().eq(place),
                    beat.p.address.eq(address), beat.p.length.eq(2),
                    beat.p.first.eq(1), beat.p.last.eq(1)]
                with m.If(beat.ready):
                    m.next = "IDLE"
                    with m.If(self.jobs.valid):
                        m.next = "LOAD"

    def _finish(self, m, slots, updates, skipped):
        """Answers of writes, then the flags, then the interrupt, then the end of the update."""
        g = self.geometry
        answer = data.StructLayout({"slot": self.tag_width, "error": 1})
        m.submodules.written = written = Queue(answer, depth=2 * g.used_slots)
        m.submodules.looked  = looked  = Queue(
            data.StructLayout({"slot": self.tag_width, "word": 16, "error": 1}),
            depth=g.used_slots)
        answers = self.writes.answers
        # Two writes an update: elements and index; the second answer counts, an error sticks.
        odd   = Signal()
        wrong = Signal()
        m.d.comb += [
            written.i.valid.eq(answers.valid & odd),
            written.i.p.slot.eq(answers.p.tag),
            written.i.p.error.eq(answers.p.error | wrong),
        ]
        with m.If(answers.valid):
            m.d.sync += [odd.eq(~odd), wrong.eq(answers.p.error & ~odd)]

        # Flags.
        request = self.reads.requests
        row     = updates.rows[0]
        fresh   = Signal()
        m.d.sync += fresh.eq(written.o.valid & ~written.o.ready)
        m.d.comb += [
            updates.addresses[0].eq(written.o.p.slot),
            request.valid.eq(written.o.valid & fresh),
            request.p.tag.eq(written.o.payload),
            request.p.function_id.eq(g.function_of(row.queue)),
            request.p.address.eq(row.flags), request.p.length.eq(2),
            written.o.ready.eq(fresh & request.ready),
        ]
        beats = self.reads.beats
        m.d.comb += [
            looked.i.valid.eq(beats.valid & beats.p.last),
            looked.i.p.slot.eq(beats.p.tag), looked.i.p.error.eq(beats.p.error | beats.p.tag[-1]),
            looked.i.p.word.eq(beats.p.data.as_value()[:16]),
        ]

        # Interrupt, if any; its update waits until it was accepted.
        m.submodules.pending = pending = Queue(updates.row.shape(), depth=g.used_slots)
        m.submodules.quiet   = quiet   = Queue(updates.row.shape(), depth=g.used_slots)
        m.submodules.failures = failures = Queue(unsigned(g.id_width), depth=4)
        wiring.connect(m, failures.o, wiring.flipped(self.failures))
        read = Signal()   # the update is there
        seen = Signal()   # and what its driver wants is known
        m.d.sync += [read.eq(looked.o.valid & ~looked.o.ready),
                     seen.eq(read & looked.o.valid & ~looked.o.ready)]
        found  = updates.rows[1]
        passed = Signal(16)   # entries since the one that the driver asked for, itself included
        fresh  = Signal(16)   # entries of this update
        wanted = Signal()
        raises = Signal()
        moves  = Signal()
        m.d.comb += [passed.eq(found.after - looked.o.p.word - 1),
                     fresh.eq(found.after - found.before)]
        # [virtio-1.2: 2.7.7.2] with EVENT_IDX the flags count for nothing.
        m.d.sync += wanted.eq(Mux(found.event_idx, passed < fresh,
                                  (looked.o.p.word & VIRTQ_AVAIL_F_NO_INTERRUPT) == 0)
                              & (fresh != 0))
        m.d.comb += [
            updates.addresses[1].eq(looked.o.p.slot),
            raises.eq(wanted & ~looked.o.p.error),
            failures.i.payload.eq(g.function_of(found.queue)),
            self.interrupts.p.function_id.eq(g.function_of(found.queue)),
            self.interrupts.p.vector.eq(found.vector),
            pending.i.payload.eq(found), quiet.i.payload.eq(found),
            self.interrupts.valid.eq(seen & looked.o.valid & raises),
            failures.i.valid.eq(seen & looked.o.valid & looked.o.p.error & moves),
            moves.eq(seen & looked.o.valid
                     & Mux(raises, self.interrupts.ready,
                           ~looked.o.p.error | failures.i.ready)),
            looked.o.ready.eq(moves),
            slots.i.valid.eq(moves), slots.i.payload.eq(looked.o.p.slot),
            pending.i.valid.eq(moves & raises),
            quiet.i.valid.eq(moves & ~raises),
        ]
        # Interrupts that were accepted and not yet booked.
        accepted = Signal(range(g.used_slots + 1))
        booked   = Signal()
        m.d.sync += accepted.eq(accepted + self.interrupted - booked)

        # The end of an update; a final one ends its batch.
        m.submodules.rows = rows = Table(
            data.StructLayout({"done": 4, "updates": 5}), depth=g.queues, readers=2)
        m.submodules.ended = ended = Queue(unsigned(g.queue_bits), depth=8)
        wiring.connect(m, ended.o, wiring.flipped(self.ended))
        m.d.comb += [rows.addresses[1].eq(self.done_queue), self.done.eq(rows.rows[1].done),
                     self.begun.addresses[1].eq(self.done_queue),
                     self.settled.eq(self.begun.rows[1] == rows.rows[1].updates)]
        book   = Signal.like(updates.row)
        source = Signal(2)
        some   = Signal()
        second = Signal()
        now    = Signal(2)
        with m.If((accepted != 0) & pending.o.valid):
            m.d.comb += now.eq(1)
        with m.Elif(quiet.o.valid):
            m.d.comb += now.eq(2)
        with m.Elif(skipped.valid):
            m.d.comb += now.eq(3)
        m.d.comb += some.eq(ended.i.ready & (second | (now != 0)))
        chosen = Signal(2)
        m.d.comb += chosen.eq(Mux(second, source, now))
        with m.Switch(chosen):
            with m.Case(1):
                m.d.comb += book.eq(pending.o.payload)
            with m.Case(2):
                m.d.comb += book.eq(quiet.o.payload)
            with m.Default():
                m.d.comb += book.eq(skipped.payload)
        m.d.sync += [second.eq(some & ~second), source.eq(now)]
        ends = Signal()
        m.d.comb += [
            rows.addresses[0].eq(book.queue), rows.address.eq(book.queue),
            ends.eq(second & book.final),
            rows.row.done.eq(rows.rows[0].done + ends),
            rows.row.updates.eq(rows.rows[0].updates + (source != 3)),
            rows.enable.eq(second),
            ended.i.valid.eq(ends), ended.i.payload.eq(book.queue),
            self.returned.valid.eq(ends), self.returned.p.batch.eq(book.batch),
            self.returned.p.generation.eq(~book.generation),
            booked.eq(second & (source == 1)),
            pending.o.ready.eq(second & (source == 1)),
            quiet.o.ready.eq(second & (source == 2)),
            skipped.ready.eq(second & (source == 3)),
        ]
