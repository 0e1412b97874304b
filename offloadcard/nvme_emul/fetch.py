"""Fetch submission queue entries and hand them on when their fetch is known to be good."""

# Ref: nvme-base-1.4c, 4.2 (Submission Queue Entry)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.gearbox import Widen
from offloadcard.rtl.ports import DmaReadPort

from .layouts import fetch, fetched_sqe, release
from .slots import SlotPool

__all__ = ["Fetch"]

BATCH = 8  # entries of one fetch: READ_MAX octets


class Fetch(wiring.Component):
    """Read up to 8 entries at once, many fetches in flight; the entries wait in memory.

    An answer that ends with ``error`` yields no entry; its entries are told as a fault, all at
    once, with their count. An event yields one entry of zeros without a read.

    Places of 8 entries are lent to all. Beside them each function has one of its own, of one entry,
    so that queues whose memory never answers keep nobody else from being read.

    Timing
    ------
    An entry leaves 3 cycles after the last line of its fetch; one entry in 2 cycles. The answer is
    never stalled: a fetch owns its lines before it is sent.

    Parameters
    ----------
    function_id_width, qid_width, data_width, slot_width : int
        Widths in bits.
    tag_width, count_width : int
        ``2 ** tag_width`` fetches are in flight at most, beside the functions' own; width of counts
        of fetches.
    functions : int
        Functions that have queues.

    Members
    -------
    i : ``In(stream.Signature(fetch(...)))``
        Fetches.
    left : ``Out(range(2 ** tag_width + 1))``
        Places that nobody has, of those that are lent to all.
    reads : ``Out(DmaReadPort(...))``
        The guests' memory.
    o : ``Out(stream.Signature(fetched_sqe(...)))``
        Entries, those of one fetch in order.
    faults : ``Out(stream.Signature(release(...)))``
        Fetches that failed.
    ended_address : ``In(function_id_width)``
        Function to look up.
    ended : ``Out(count_width)``
        Its fetches that are over, one cycle later; wraps.
    """

    check_error = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, data_width, slot_width, tag_width,
                 functions, count_width):
        self.queue = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.place_width = max(1, tag_width, ceil_log2(functions))
        self.port  = {"function_id_width": function_id_width, "tag_width": self.place_width + 1,
                      "data_width": data_width}
        self.functions = functions
        self.function_id_width = function_id_width
        self.tag_width, self.count_width = tag_width, count_width
        super().__init__({
            "i":      In(stream.Signature(fetch(**self.queue))),
            "left":   Out(range((1 << tag_width) + 1)),
            "reads":  Out(DmaReadPort(**self.port)),
            "o":      Out(stream.Signature(fetched_sqe(**self.queue))),
            "faults": Out(stream.Signature(release(slot_width=slot_width, **self.queue))),
            "ended_address": In(function_id_width),
            "ended":         Out(count_width),
        })

    def elaborate(self, platform):
        m = Module()

        # A tag is a place, and whether it is a function's own.
        tags = 1 << self.tag_width
        m.submodules.pool = pool = SlotPool(count=tags)
        m.submodules.owns = owns = SlotPool(count=max(2, self.functions))
        m.submodules.widen = widen = Widen(**self.port)
        m.submodules.records = records = memory.Memory(
            shape=fetch(**self.queue), depth=2 << self.place_width, init=[])
        line_width = max(self.tag_width + 3, ceil_log2(self.functions))
        m.submodules.lines = lines = memory.Memory(
            shape=512, depth=(1 << line_width) + self.functions, init=[])
        ended_shape = data.StructLayout({"tag": self.place_width + 1, "error": 1})
        m.submodules.ended = ended = Queue(ended_shape, depth=tags + self.functions)

        def line_at(index, tag):
            place, own = tag[:-1], tag[-1]
            line = Mux(own, place, Cat(index, place[:self.tag_width]))
            return Cat((line | C(0, line_width))[:line_width], own)
        records_w, lines_w = records.write_port(), lines.write_port()
        records_r = records.read_port(transparent_for=(records_w,))
        lines_r   = lines.read_port()

        # Requests. An event ends at once, in a cycle in which no answer ends.
        i, request = self.i, self.reads.requests
        tag    = Signal(self.place_width + 1)
        free   = Signal()  # there is a place of the kind
        line   = widen.o
        ending = Signal()
        taken  = Signal()
        m.d.comb += [
            ending.eq(line.valid & line.p.last),
            tag.eq(Cat(Mux(i.p.own, owns.take.payload, pool.take.payload)
                       | C(0, self.place_width), i.p.own)),
            free.eq(Mux(i.p.own, owns.take.valid, pool.take.valid)),
            request.valid.eq(i.valid & free & ~i.p.event),
            request.p.function_id.eq(i.p.function_id),
            request.p.address.eq(i.p.address),
            request.p.length.eq(i.p.count << 6),
            request.p.tag.eq(tag),
            taken.eq(i.valid & free & Mux(i.p.event, ~ending, request.ready)),
            i.ready.eq(taken),
            pool.take.ready.eq(taken & ~i.p.own), owns.take.ready.eq(taken & i.p.own),
            records_w.addr.eq(tag),
            records_w.data.eq(i.payload),
            records_w.en.eq(taken),
        ]

        left = Signal.like(self.left, init=tags)
        m.d.sync += left.eq(left - (taken & ~i.p.own) + pool.give.valid)
        m.d.comb += self.left.eq(left)

        # Answers: lines of one fetch come one after the other.
        m.d.comb += [widen.i.valid.eq(self.reads.beats.valid),
                     widen.i.payload.eq(self.reads.beats.payload)]
        number, index = Signal(range(BATCH)), Signal(range(BATCH))
        m.d.comb += [
            index.eq(Mux(line.p.first, 0, number)),
            lines_w.addr.eq(line_at(index, line.p.tag)),
            lines_w.data.eq(line.p.data),
            lines_w.en.eq(line.valid),
        ]
        with m.If(line.valid):
            m.d.sync += number.eq(index + 1)
        m.d.comb += [
            ended.i.valid.eq(ending | (taken & i.p.event)),
            ended.i.p.tag.eq(Mux(ending, line.p.tag, tag)),
            ended.i.p.error.eq(ending & line.p.error & int(self.check_error)),
        ]

        # Entries leave one by one; then the tag is free.
        position = Signal(4)
        record   = records_r.data
        error    = Signal()
        ends     = Signal()  # the fetch is over
        m.d.comb += [
            records_r.addr.eq(ended.o.p.tag),
            lines_r.addr.eq(line_at(position[:3], ended.o.p.tag)),
            *(self.o.p[name].eq(record[name]) for name in ("function_id", "qid", "cqid")),
            self.o.p.sqe.eq(Mux(record.event, 0, lines_r.data)),
            *(self.faults.p[name].eq(record[name]) for name in ("function_id", "qid", "count")),
            pool.give.payload.eq(ended.o.p.tag), owns.give.payload.eq(ended.o.p.tag),
            pool.give.valid.eq(ends & ~ended.o.p.tag[-1]),
            owns.give.valid.eq(ends & ended.o.p.tag[-1]),
        ]
        # Fetches that are over, of each function. Rows are read while an entry is offered.
        m.submodules.counts = counts = memory.Memory(
            shape=self.count_width, depth=1 << self.function_id_width, init=[])
        counts_w = counts.write_port()
        counts_r = counts.read_port(transparent_for=(counts_w,))
        counts_l = counts.read_port(transparent_for=(counts_w,))
        owner    = Signal(self.function_id_width)
        m.d.comb += [
            counts_r.addr.eq(record.function_id), counts_w.addr.eq(owner),
            counts_w.data.eq(counts_r.data + 1),
            counts_l.addr.eq(self.ended_address), self.ended.eq(counts_l.data),
        ]
        m.d.sync += [counts_w.en.eq(ends), owner.eq(record.function_id)]
        with m.FSM(name="leave"):
            with m.State("READ"):
                m.d.sync += error.eq(ended.o.p.error)
                with m.If(ended.o.valid):
                    m.next = "OFFER"
            with m.State("OFFER"):
                over = Signal()
                m.d.comb += [
                    self.o.valid.eq(~error),
                    self.faults.valid.eq(error),
                    over.eq(error | (position + 1 == record.count)),
                ]
                with m.If(Mux(error, self.faults.ready, self.o.ready)):
                    m.d.sync += position.eq(Mux(over, 0, position + 1))
                    m.d.comb += [ended.o.ready.eq(over), ends.eq(over)]
                    m.next = "READ"

        return m
