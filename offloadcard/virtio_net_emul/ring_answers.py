"""What guest memory answers about the available ring: indices to be judged, entries to be kept."""

# Ref: virtio-1.2, 2.7.6 (The Virtqueue Available Ring)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import dma_read_beat, dma_write_answer
from .spec import VirtqAvailHeader

__all__ = ["RingAnswers"]


class RingAnswers(wiring.Component):
    """Sort the answers of :class:`~.avail.Avail`'s requests, whose tag is a batch and a kind.

    Timing
    ------
    A beat per cycle; an answer goes on with its last beat if none waits.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    tag_width : int
        Width of a read's tag: the batch, and above it 1 for ring entries, 0 for an index.
    write_tag : int
        Width of a write's tag, which says nothing: writes are answered in order.

    Members
    -------
    beats : ``In(stream(dma_read_beat), always_ready)``
        Answers of reads.
    answers : ``In(stream(dma_write_answer), always_ready)``; wrote : ``In(stream, always_ready)``
        Answers of writes of ``avail_event``, and the batches that stand for them, when handed over.
    indices : ``Out(stream)``
        Index read, or (``armed``) ``avail_event`` written, for a batch.
    arrived : ``Out(stream)``
        Batches whose ring entries are there, or not (``error``).
    ring_write : ``Out``
        Ring entries as they come in.
    """

    def __init__(self, geometry, *, tag_width, write_tag):
        self.geometry = g = geometry
        ids = {"function_id_width": g.id_width}
        ring_bits = 16 * g.batch
        self.granule = min(g.data_width, ring_bits)
        super().__init__({
            "beats":      In(stream.Signature(dma_read_beat(
                tag_width=tag_width, data_width=g.data_width, **ids), always_ready=True)),
            "answers":    In(stream.Signature(dma_write_answer(
                tag_width=write_tag, **ids), always_ready=True)),
            "wrote":      In(stream.Signature(range(g.batches), always_ready=True)),
            "indices":    Out(stream.Signature(data.StructLayout({
                "batch": range(g.batches), "idx": 16, "error": 1, "armed": 1}))),
            "arrived":    Out(stream.Signature(data.StructLayout({
                "batch": range(g.batches), "error": 1}))),
            "ring_write": Out(data.StructLayout({
                "enable": ring_bits // self.granule, "batch": range(g.batches),
                "row": ring_bits})),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        beat  = self.beats.p
        valid = self.beats.valid
        ring  = Signal()
        index = Signal()
        header = Signal(VirtqAvailHeader)
        m.d.comb += [ring.eq(beat.tag[-1]), header.eq(beat.data.as_value()[:32]),
                     index.eq(valid & beat.last & ~ring)]

        # Of a queue at most one index is asked for or armed, so these never overflow.
        m.submodules.indices = indices = Queue(self.indices.payload.shape(), depth=g.batches,
                                                     latency=0)
        m.submodules.rings   = rings   = Queue(self.arrived.payload.shape(), depth=g.batches,
                                                     latency=0)
        m.submodules.writing = writing = Queue(range(g.batches), depth=g.batches)
        m.submodules.armed   = armed   = Queue(data.StructLayout({
            "batch": range(g.batches), "error": 1}), depth=g.batches)
        wiring.connect(m, indices.o, wiring.flipped(self.indices))
        wiring.connect(m, rings.o, wiring.flipped(self.arrived))
        m.d.comb += [
            writing.i.valid.eq(self.wrote.valid), writing.i.payload.eq(self.wrote.payload),
            writing.o.ready.eq(self.answers.valid),
            armed.i.valid.eq(self.answers.valid), armed.i.p.batch.eq(writing.o.payload),
            armed.i.p.error.eq(self.answers.p.error), armed.o.ready.eq(~index),
            indices.i.valid.eq(index | armed.o.valid),
            indices.i.p.batch.eq(Mux(index, beat.tag[:-1], armed.o.p.batch)),
            indices.i.p.idx.eq(header.idx),
            indices.i.p.error.eq(Mux(index, beat.error, armed.o.p.error)),
            indices.i.p.armed.eq(~index),
            rings.i.valid.eq(valid & beat.last & ring),
            rings.i.p.batch.eq(beat.tag[:-1]), rings.i.p.error.eq(beat.error),
            self.ring_write.batch.eq(beat.tag[:-1]),
        ]
        parts  = len(self.ring_write.enable)
        number = Signal(range(max(parts, 2)))
        now    = Signal.like(number)
        m.d.comb += now.eq(Mux(beat.first, 0, number))
        with m.If(valid):
            m.d.sync += number.eq(now + 1)
        m.d.comb += self.ring_write.row.eq(beat.data.as_value()[:self.granule].replicate(parts))
        with m.If(valid & ring):
            for part in range(parts):
                m.d.comb += self.ring_write.enable[part].eq(now == part)
        return m
