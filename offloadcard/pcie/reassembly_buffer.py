"""Octets of completions find their place; complete requests leave as beats."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import READ_MAX, dma_read_beat
from ..rtl.rotate import rotate_left
from ..rtl.tags import returned_tag
from .requester_records import answer, piece

__all__ = ["ReassemblyBuffer", "lanes_below"]


def lanes_below(m, bound, *, lanes, name):
    """Mask of the lanes under ``bound``, a new signal of ``m``; a thermometer."""
    mask = Signal(lanes, name=name)
    m.d.comb += mask.eq(~((Const((1 << lanes) - 1, lanes) << bound)[:lanes]))
    return mask


class ReassemblyBuffer(wiring.Component):
    """One slot of ``READ_MAX`` octets for each tag, in two interleaved banks.

    A line of the data path stands in one bank and the next one in the other, so that a beat at any
    octet offset is written in one clock. A request that begins at lane ``n`` fills the slot from
    octet ``n`` on and wraps into the ``n`` octets before.

    Timing
    ------
    One beat in and one beat out per cycle, neither ever stalled. The first beat of an answer leaves
    3 cycles after ``answers``; pieces must come 2 cycles before ``answers`` at the latest.

    Parameters
    ----------
    tags : int
        Number of slots.
    function_id_width, tag_width, data_width : int
        As of the DMA ports.

    Members
    -------
    pieces : ``In(stream.Signature(piece(...), always_ready=True))``
        Beats of completions.
    answers : ``In(stream.Signature(answer(...), always_ready=True))``
        Complete requests; at most ``tags`` at a time.
    beats : ``Out(stream.Signature(dma_read_beat(...), always_ready=True)).array(2)``
        Answers for each port.
    returns : ``Out(stream.Signature(returned_tag(...), always_ready=True))``
        Tags of slots whose answer has left.
    ended : ``Out(stream.Signature(function_id_width, always_ready=True))``
        The function whose request was answered.
    """

    def __init__(self, *, tags, function_id_width, tag_width, data_width):
        self.tags = tags
        self.data_width = data_width
        self.widths = {"function_id_width": function_id_width, "tag_width": tag_width,
                       "data_width": data_width}

        def pushed(shape):
            return stream.Signature(shape, always_ready=True)

        super().__init__({
            "pieces":  In(pushed(piece(tags=tags, data_width=data_width))),
            "answers": In(pushed(answer(tags=tags, **self.widths))),
            "beats":   Out(pushed(dma_read_beat(**self.widths))).array(2),
            "returns": Out(pushed(returned_tag(count=tags))),
            "ended":   Out(pushed(function_id_width)),
        })

    def elaborate(self, platform):
        m = Module()

        lanes     = self.data_width // 8
        lane_bits = (lanes - 1).bit_length()
        lines     = READ_MAX // lanes
        line_bits = (lines - 1).bit_length()

        banks = []
        for number in range(2):
            bank = memory.Memory(shape=unsigned(self.data_width), depth=self.tags * lines // 2,
                                 init=[])
            m.submodules[f"bank_{number}"] = bank
            banks.append((bank.write_port(granularity=8), bank.read_port()))

        # In: one cycle to rotate, one to write.
        i = self.pieces.p
        rot = Signal(lane_bits)
        m.d.comb += rot.eq(i.position)
        rotated = Signal(self.data_width)
        line    = Signal(line_bits)
        slot    = Signal(range(self.tags))
        begin   = Signal(range(2 * lanes))
        end     = Signal(range(2 * lanes + 1))
        written = Signal()
        m.d.sync += [
            written.eq(self.pieces.valid),
            rotated.eq(rotate_left(m, i.data, rot, name="in")),
            line.eq(i.position >> lane_bits),
            slot.eq(i.slot),
            begin.eq(rot + i.low),
            end.eq(rot + i.high),
        ]
        mask = Signal(2 * lanes)
        m.d.comb += mask.eq(lanes_below(m, end, lanes=2 * lanes, name="below_end")
                            & ~lanes_below(m, begin, lanes=2 * lanes, name="below_begin"))
        line_next = Signal(line_bits)
        m.d.comb += line_next.eq(line + 1)
        for number, (write, _) in enumerate(banks):
            mine, here = Signal(lanes, name=f"mine_{number}"), Signal(name=f"here_{number}")
            m.d.comb += [
                here.eq(line[0] == number),
                mine.eq(Mux(here, mask[:lanes], mask[lanes:])),
            ]
            # The write stands one cycle in registers, so that the mask ends there.
            data_r, row_r, mine_r = Signal.like(write.data), Signal.like(write.addr), \
                Signal.like(mine)
            m.d.sync += [
                data_r.eq(rotated),
                row_r.eq(Cat(Mux(here, line, line_next)[1:], slot)),
                mine_r.eq(Mux(written, mine, 0)),
            ]
            m.d.comb += [write.data.eq(data_r), write.addr.eq(row_r), write.en.eq(mine_r)]

        # Out: the queue's head is read line by line.
        entry = data.StructLayout({
            "answer": answer(tags=self.tags, **self.widths),
            "final":  range(lines + 2),            # number of the last beat
            "end":    range(lanes + 1),            # lanes of the last beat
        })
        m.submodules.waiting = waiting = Queue(entry, depth=self.tags, latency=1)
        total  = Signal(range(READ_MAX + lanes))
        record = self.answers.p.record
        m.d.comb += [
            total.eq(record.lane + record.length - 1),
            waiting.i.valid.eq(self.answers.valid),
            waiting.i.p.answer.eq(self.answers.payload),
            waiting.i.p.final.eq(Mux(self.answers.p.error, 0, total >> lane_bits)),
            waiting.i.p.end.eq(total[:lane_bits] + 1),
        ]

        head  = waiting.o.p
        beat  = Signal(range(lines + 2))
        final = Signal()
        m.d.comb += [final.eq(beat == head.final), waiting.o.ready.eq(final)]
        with m.If(waiting.o.valid):
            m.d.sync += beat.eq(Mux(final, 0, beat + 1))
        for _, read in banks:
            m.d.comb += [
                read.addr.eq(Cat(beat[1:line_bits], head.answer.slot)),
                read.en.eq(waiting.o.valid),
            ]

        leaving = Signal()
        first_r, final_r, odd_r = Signal(), Signal(), Signal()
        answer_r, end_r = Signal.like(head.answer), Signal.like(head.end)
        m.d.sync += [leaving.eq(waiting.o.valid), first_r.eq(beat == 0), final_r.eq(final),
                     odd_r.eq(beat[0]), answer_r.eq(head.answer), end_r.eq(head.end)]

        after  = lanes_below(m, Mux(final_r, end_r, lanes), lanes=lanes, name="below_last")
        before = lanes_below(m, Mux(first_r, answer_r.record.lane, 0), lanes=lanes,
                             name="below_first")
        out = Signal(dma_read_beat(**self.widths))
        m.d.sync += [
            out.data.eq(Mux(odd_r, banks[1][1].data, banks[0][1].data)),
            out.strobe.eq(Mux(answer_r.error, 0, after & ~before)),
            out.function_id.eq(answer_r.record.function_id),
            out.tag.eq(answer_r.record.tag),
            out.first.eq(first_r),
            out.last.eq(final_r),
            out.error.eq(answer_r.error),
        ]
        for number, port in enumerate(self.beats):
            m.d.comb += port.payload.eq(out)
            m.d.sync += port.valid.eq(leaving & (answer_r.record.port == number))
        m.d.comb += [
            self.returns.p.tag.eq(answer_r.slot),
            self.returns.p.port.eq(answer_r.record.port),
            self.returns.valid.eq(leaving & final_r & answer_r.free),
            self.ended.payload.eq(answer_r.record.function_id),
            self.ended.valid.eq(leaving & final_r),
        ]

        return m
