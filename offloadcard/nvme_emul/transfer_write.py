"""Blocks travel from the guest to the store, or are compared with what lies there."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Buffer, Queue
from offloadcard.rtl.ports import (
    DmaReadPort,
    dma_read_beat,
    dma_read_request,
    dma_write_answer,
    dma_write_beat,
)

from .compare import Compare, piece_over
from .cut import Cut
from .layouts import PIECE_OCTETS, piece, piece_done, segment, volume_update
from .spec import Status
from .volume import Media, Translate

__all__ = ["TransferWrite"]

NEW_PIECES     = 16   # that a function's memory must answer before it is trusted
PENANCE_PIECES = 512  # the same, once it did not answer


class TransferWrite(wiring.Component):
    """Read each piece from the guest into a buffer, then write it to the store.

    The buffer holds a piece for each tag, so that answers are never stalled. A piece whose read
    fails never touches the store. Pieces of zeros are written without a read. A piece of a Compare
    changes nothing: the store is read, and each beat compared with the buffer's.

    Timing
    ------
    2 cycles from a segment to the guest's request; 7 cycles from the last beat of a piece to its
    first beat at the store; one beat per cycle, of writes and Compares together.

    Parameters
    ----------
    function_id_width, slot_width, data_width : int
        Widths in bits.
    tag_width : int
        Width of the tags of pieces in flight, on both sides.
    count_width : int
        Width of the counts of pieces, which wrap.

    Members
    -------
    volumes, segments, done, latency, rate, octets :
        As of :class:`~offloadcard.nvme_emul.transfer_read.TransferRead`.
    reads : ``Out(DmaReadPort(...))``
        The guests.
    writes, answers : the writing half of a ``DramPort``
        The store.
    checks, beats : the reading half of a ``DramPort``
        The store, for Compare.
    compared : ``Out(64)``
        Octets asked of the store for Compare since power-up.
    count_address : ``In(function_id_width)``
        Function to look up.
    count, unproven : ``Out(count_width)``, ``Out(1)``
        Its pieces that have ended, one cycle later; whether its memory is still to answer: at first
        ``NEW_PIECES``, and after one that it did not answer ``PENANCE_PIECES``.
    ended, ended_unproven : ``Out(1)``
        A piece has ended; it was ``unproven``.
    """

    def __init__(self, *, function_id_width, slot_width, tag_width, data_width, count_width):
        self.widths = {"function_id_width": function_id_width, "slot_width": slot_width}
        self.port = {"function_id_width": function_id_width, "tag_width": tag_width,
                     "data_width": data_width}
        self.tag_width, self.data_width = tag_width, data_width
        self.count_width = count_width
        super().__init__({
            "volumes":  In(stream.Signature(
                volume_update(function_id_width=function_id_width), always_ready=True)),
            "segments": In(stream.Signature(segment(**self.widths))),
            "reads":    Out(DmaReadPort(**self.port)),
            "writes":   Out(stream.Signature(dma_write_beat(**self.port))),
            "answers":  In(stream.Signature(dma_write_answer(
                function_id_width=function_id_width, tag_width=tag_width), always_ready=True)),
            "checks":   Out(stream.Signature(dma_read_request(**self.port))),
            "beats":    In(stream.Signature(dma_read_beat(**self.port))),
            "done":     Out(stream.Signature(piece_done(slot_width=slot_width))),
            "count_address": In(function_id_width),
            "count":    Out(count_width),
            "unproven": Out(1),
            "ended":    Out(1),
            "ended_unproven": Out(1),
            "latency":  In(20),
            "rate":     In(20),
            "octets":   Out(64),
            "compared": Out(64),
        })

    def elaborate(self, platform):
        m = Module()

        tags   = 1 << self.tag_width
        widths = {"tag_width": self.tag_width, **self.widths}
        shape  = piece(**widths)
        lanes  = self.data_width // 8
        beats  = PIECE_OCTETS // lanes
        m.submodules.cut = cut = Cut(**widths)
        wiring.connect(m, wiring.flipped(self.segments), cut.i)

        m.submodules.records = records = memory.Memory(shape=shape, depth=tags, init=[])
        records_w = records.write_port()
        record_f  = records.read_port(transparent_for=(records_w,))
        record_d  = records.read_port(transparent_for=(records_w,))

        # To the guest; a piece of zeros needs no read.
        p = cut.o.p
        ended = self.reads.beats.valid & self.reads.beats.p.last
        zeroes_now = Signal()
        m.d.comb += [
            zeroes_now.eq(p.zeroes & ~ended),
            self.reads.requests.valid.eq(cut.o.valid & ~p.zeroes),
            self.reads.requests.p.function_id.eq(p.function_id),
            self.reads.requests.p.address.eq(p.address),
            self.reads.requests.p.length.eq(p.length),
            self.reads.requests.p.tag.eq(p.tag),
            cut.o.ready.eq(Mux(p.zeroes, zeroes_now, self.reads.requests.ready)),
            records_w.addr.eq(p.tag),
            records_w.data.eq(p),
            records_w.en.eq(cut.o.valid & cut.o.ready),
        ]

        # Answers rest in the buffer until they are known to be good.
        m.submodules.store = store = memory.Memory(
            shape=self.data_width, depth=tags * beats, init=[])
        store_w, store_r = store.write_port(), store.read_port()
        beat = self.reads.beats
        index, number = Signal(range(beats)), Signal(range(beats))
        filled_shape = data.StructLayout({"tag": self.tag_width, "error": 1})
        m.submodules.filled = filled = Queue(filled_shape, depth=tags)
        m.d.comb += [
            index.eq(Mux(beat.p.first, 0, number)),
            store_w.addr.eq(Cat(index, beat.p.tag)),
            store_w.data.eq(beat.p.data),
            store_w.en.eq(beat.valid),
            filled.i.valid.eq(ended | (cut.o.valid & zeroes_now)),
            filled.i.p.tag.eq(Mux(ended, beat.p.tag, p.tag)),
            filled.i.p.error.eq(ended & beat.p.error),
        ]
        with m.If(beat.valid):
            m.d.sync += number.eq(index + 1)

        # A full piece is translated and waits for the media; a failed one ends.
        m.submodules.translate = translate = Translate(**widths)
        m.submodules.media     = media     = Media(shape, depth=tags)
        wiring.connect(m, translate.o, media.i)
        over_shape = piece_over(tag_width=self.tag_width)
        m.submodules.merge = merge = Merge(over_shape, count=3)
        m.submodules.answered = answered = Queue(over_shape, depth=tags)
        m.submodules.over  = over  = Queue(over_shape, depth=tags)
        known = Signal()  # the record of the piece that was filled is read
        m.d.sync += known.eq(filled.o.valid & ~filled.o.ready)
        m.d.comb += [
            translate.volumes.valid.eq(self.volumes.valid),
            translate.volumes.payload.eq(self.volumes.payload),
            media.latency.eq(self.latency), media.rate.eq(self.rate),
            record_f.addr.eq(filled.o.p.tag),
            translate.i.valid.eq(known & ~filled.o.p.error),
            translate.i.payload.eq(record_f.data),
            filled.o.ready.eq(known & Mux(filled.o.p.error, merge.i[0].ready,
                                          translate.i.ready)),
        ]

        # To the store, a beat a cycle: the buffer is read while the beat before it is offered.
        m.submodules.buffer = buffer = Buffer(dma_write_beat(**self.port))
        wiring.connect(m, buffer.o, wiring.flipped(self.writes))
        m.submodules.paced = paced = Buffer(shape)
        wiring.connect(m, media.o, paced.i)
        q        = paced.o.p
        position = Signal(range(beats))
        last     = Signal()
        advance  = Signal()
        full, full_first, full_last = Signal(), Signal(), Signal()
        held     = Signal(shape)
        fire     = Signal()
        m.submodules.compare = compare = Compare(**self.port)
        wiring.connect(m, wiring.flipped(self.beats), compare.beats)
        wiring.connect(m, compare.o, merge.i[2])
        m.d.comb += [
            last.eq(((position + 1) * lanes) >= q.length),
            advance.eq(~full | buffer.i.ready),
            fire.eq(paced.o.valid & ~q.refused & ~q.compare & advance & ~self.beats.valid),
            store_r.addr.eq(Mux(self.beats.valid, compare.address, Cat(position, q.tag))),
            store_r.en.eq(advance),
            paced.o.ready.eq(Mux(q.refused, merge.i[0].ready & ~(known & filled.o.p.error),
                                 Mux(q.compare, self.checks.ready, fire & last))),
            merge.i[0].valid.eq((known & filled.o.p.error) | (paced.o.valid & q.refused)),
            merge.i[0].p.tag.eq(Mux(known & filled.o.p.error, filled.o.p.tag, q.tag)),
            merge.i[0].p.status.eq(Mux(known & filled.o.p.error, Status.DATA_TRANSFER_ERROR,
                                       Status.LBA_OUT_OF_RANGE)),
            buffer.i.valid.eq(full),
            buffer.i.p.data.eq(Mux(held.zeroes, 0, store_r.data)),
            *(buffer.i.p[name].eq(held[name]) for name in ("function_id", "length", "tag")),
            buffer.i.p.address.eq(held.offset),
            buffer.i.p.first.eq(full_first),
            buffer.i.p.last.eq(full_last),
        ]
        # For a Compare the store is asked; its beats have the buffer before those to be written.
        m.d.comb += [
            compare.advance.eq(advance), compare.data.eq(store_r.data),
            self.checks.valid.eq(paced.o.valid & ~q.refused & q.compare),
            self.checks.p.address.eq(q.offset),
            *(self.checks.p[name].eq(q[name]) for name in ("function_id", "length", "tag")),
        ]
        with m.If(self.checks.valid & self.checks.ready):
            m.d.sync += self.compared.eq(self.compared + q.length)
        with m.If(advance):
            m.d.sync += [full.eq(fire), full_first.eq(position == 0), full_last.eq(last),
                         held.eq(q)]
        with m.If(fire):
            m.d.sync += position.eq(Mux(last, 0, position + 1))
            with m.If(last):
                m.d.sync += self.octets.eq(self.octets + q.length)

        # Pieces that are over: count them, free their tags.
        m.d.comb += [
            answered.i.valid.eq(self.answers.valid),
            answered.i.p.tag.eq(self.answers.p.tag),
            answered.i.p.status.eq(Mux(self.answers.p.error, Status.WRITE_FAULT, 0)),
        ]
        wiring.connect(m, answered.o, merge.i[1])
        wiring.connect(m, merge.o, over.i)
        functions = 1 << self.widths["function_id_width"]
        count_shape = data.StructLayout({"ended": self.count_width,
                                         "owed": range(PENANCE_PIECES + 1)})
        m.submodules.counts = counts = memory.Memory(
            shape=count_shape, depth=functions, init=[{"owed": NEW_PIECES}] * functions)
        proves   = Signal()  # zeroes are not asked of anybody's memory
        counts_w = counts.write_port()
        counts_r = counts.read_port(transparent_for=(counts_w,))
        counts_l = counts.read_port(transparent_for=(counts_w,))
        m.d.comb += [
            counts_l.addr.eq(self.count_address), self.count.eq(counts_l.data.ended),
            self.unproven.eq(counts_l.data.owed != 0),
            record_d.addr.eq(over.o.p.tag),
            counts_r.addr.eq(record_d.data.function_id),
            counts_w.addr.eq(record_d.data.function_id),
            counts_w.data.ended.eq(counts_r.data.ended + 1),
            counts_w.data.owed.eq(Mux(over.o.p.status == Status.DATA_TRANSFER_ERROR,
                                      PENANCE_PIECES,
                                      counts_r.data.owed - proves)),
            proves.eq((counts_r.data.owed != 0) & ~record_d.data.zeroes),
            self.done.p.slot.eq(record_d.data.slot),
            self.done.p.status.eq(over.o.p.status),
            cut.give.payload.eq(over.o.p.tag),
            self.ended.eq(counts_w.en),
            self.ended_unproven.eq(counts_w.en & record_d.data.unproven),
        ]
        with m.FSM(name="over"):
            with m.State("RECORD"):
                with m.If(over.o.valid):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.d.comb += [over.o.ready.eq(1), counts_w.en.eq(record_d.data.capped),
                                 cut.give.valid.eq(1)]
                    m.next = "RECORD"

        return m
