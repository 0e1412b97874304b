"""Blocks travel from the store to the guest."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Buffer, Queue
from offloadcard.rtl.ports import (
    DmaWritePort,
    dma_read_beat,
    dma_read_request,
    dma_write_beat,
)

from .cut import Cut
from .layouts import piece, piece_done, segment, volume_update
from .spec import Status
from .volume import Media, Translate

__all__ = ["TransferRead"]


class TransferRead(wiring.Component):
    """Read each piece from the store and write it to the guest, beat by beat, without a buffer.

    A piece ends when its write was accepted in posted order, so a CQE sent after it comes after
    its data.

    Timing
    ------
    5 cycles from a segment to the store's request; 2 cycles from the store's beat to the guest's;
    one beat per cycle.

    Parameters
    ----------
    function_id_width, slot_width, data_width : int
        Widths in bits.
    tag_width : int
        Width of the tags of pieces in flight, on both sides.

    Members
    -------
    volumes : ``In(stream.Signature(volume_update(...), always_ready=True))``
        Rows of the volume table.
    segments : ``In(stream.Signature(segment(...)))``
        What to move.
    reads, beats : the reading half of a ``DramPort``
        The store.
    writes : ``Out(DmaWritePort(...))``
        The guests.
    done : ``Out(stream.Signature(piece_done(...)))``
        Pieces that are over.
    latency, rate : ``In(20)``
        As of :class:`~offloadcard.nvme_emul.volume.Media`.
    octets : ``Out(64)``
        Octets asked of the store since power-up.
    """

    def __init__(self, *, function_id_width, slot_width, tag_width, data_width):
        self.widths = {"function_id_width": function_id_width, "slot_width": slot_width}
        self.port = {"function_id_width": function_id_width, "tag_width": tag_width,
                     "data_width": data_width}
        self.tag_width = tag_width
        super().__init__({
            "volumes":  In(stream.Signature(
                volume_update(function_id_width=function_id_width), always_ready=True)),
            "segments": In(stream.Signature(segment(**self.widths))),
            "reads":    Out(stream.Signature(dma_read_request(**self.port))),
            "beats":    In(stream.Signature(dma_read_beat(**self.port))),
            "writes":   Out(DmaWritePort(**self.port)),
            "done":     Out(stream.Signature(piece_done(slot_width=slot_width))),
            "latency":  In(20),
            "rate":     In(20),
            "octets":   Out(64),
        })

    def elaborate(self, platform):
        m = Module()

        tags   = 1 << self.tag_width
        widths = {"tag_width": self.tag_width, **self.widths}
        shape  = piece(**widths)
        m.submodules.cut       = cut       = Cut(**widths)
        m.submodules.translate = translate = Translate(**widths)
        m.submodules.media     = media     = Media(shape, depth=tags)
        wiring.connect(m, wiring.flipped(self.segments), cut.i)
        wiring.connect(m, cut.o, translate.i)
        wiring.connect(m, translate.o, media.i)
        m.d.comb += [
            translate.volumes.valid.eq(self.volumes.valid),
            translate.volumes.payload.eq(self.volumes.payload),
            media.latency.eq(self.latency), media.rate.eq(self.rate),
        ]

        # What is known of a piece while it is under way.
        record_shape = data.StructLayout({
            "slot": self.widths["slot_width"], "function_id": self.widths["function_id_width"],
            "address": 64, "length": range(513)})
        m.submodules.records = records = memory.Memory(shape=record_shape, depth=tags, init=[])
        records_w = records.write_port()
        record_b  = records.read_port(transparent_for=(records_w,))
        record_d  = records.read_port(transparent_for=(records_w,))
        m.d.comb += [
            records_w.addr.eq(cut.o.p.tag),
            *(records_w.data[name].eq(cut.o.p[name]) for name in record_shape.members),
            records_w.en.eq(cut.o.valid & cut.o.ready),
        ]

        # To the store; a refused piece ends here.
        p = media.o.p
        ended_shape = data.StructLayout({"tag": self.tag_width, "refused": 1, "error": 1})
        m.submodules.ended = ended = Queue(ended_shape, depth=tags)
        answer = self.writes.answers
        refuse = Signal()
        m.d.comb += [
            self.reads.valid.eq(media.o.valid & ~p.refused),
            self.reads.p.function_id.eq(p.function_id),
            self.reads.p.address.eq(p.offset),
            self.reads.p.length.eq(p.length),
            self.reads.p.tag.eq(p.tag),
            refuse.eq(media.o.valid & p.refused & ~answer.valid),
            media.o.ready.eq(Mux(p.refused, refuse, self.reads.ready)),
            ended.i.valid.eq(answer.valid | refuse),
            ended.i.p.tag.eq(Mux(answer.valid, answer.p.tag, p.tag)),
            ended.i.p.refused.eq(refuse),
            ended.i.p.error.eq(answer.valid & answer.p.error),
        ]
        with m.If(self.reads.valid & self.reads.ready):
            m.d.sync += self.octets.eq(self.octets + p.length)

        # From the store to the guest: the record is read while the beat rests in a register.
        m.submodules.buffer = buffer = Buffer(dma_write_beat(**self.port))
        wiring.connect(m, buffer.o, wiring.flipped(self.writes.beats))
        beat    = Signal.like(self.beats.payload)
        full    = Signal()
        advance = Signal()
        m.d.comb += [
            advance.eq(~full | buffer.i.ready),
            self.beats.ready.eq(advance),
            record_b.addr.eq(self.beats.p.tag),
            record_b.en.eq(advance),
            buffer.i.valid.eq(full),
            *(buffer.i.p[name].eq(record_b.data[name])
              for name in ("function_id", "address", "length")),
            *(buffer.i.p[name].eq(beat[name]) for name in ("data", "tag", "first", "last")),
        ]
        with m.If(advance):
            m.d.sync += [full.eq(self.beats.valid), beat.eq(self.beats.payload)]

        # A fault of the store is remembered until the piece ends.
        m.submodules.faults = faults = memory.Memory(shape=1, depth=tags, init=[])
        faults_w = faults.write_port()
        faults_r = faults.read_port(transparent_for=(faults_w,))
        m.d.comb += [
            faults_w.addr.eq(self.beats.p.tag),
            faults_w.data.eq(self.beats.p.error),
            faults_w.en.eq(self.beats.valid & self.beats.ready & self.beats.p.last),
            faults_r.addr.eq(ended.o.p.tag),
            record_d.addr.eq(ended.o.p.tag),
        ]
        ready = Signal()
        m.d.sync += ready.eq(ended.o.valid & ~ready)
        with m.If(ready & ~self.done.ready):
            m.d.sync += ready.eq(1)
        m.d.comb += [
            self.done.valid.eq(ready),
            self.done.p.slot.eq(record_d.data.slot),
            ended.o.ready.eq(ready & self.done.ready),
            cut.give.valid.eq(ended.o.valid & ended.o.ready),
            cut.give.payload.eq(ended.o.p.tag),
        ]
        with m.If(ended.o.p.refused):
            m.d.comb += self.done.p.status.eq(Status.LBA_OUT_OF_RANGE)
        with m.Elif(faults_r.data):
            m.d.comb += self.done.p.status.eq(Status.UNRECOVERED_READ_ERROR)
        with m.Elif(ended.o.p.error):
            m.d.comb += self.done.p.status.eq(Status.DATA_TRANSFER_ERROR)

        return m
