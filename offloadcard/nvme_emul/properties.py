"""The controller's registers, a row of memory for each function."""

# Ref: nvme-base-1.4c, 3.1 (Register Definition)

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.ports import MmioPort

from .layouts import doorbell_write
from .spec import DOORBELL_BASE, VERSION, Capabilities, ControllerStatus

__all__ = ["Properties", "WORD_AQA", "WORD_ASQ", "WORD_ACQ", "WORD_CC", "WORDS"]

# Words of 8 octets that a function owns; AQA and CC lie in the upper half of theirs.
WORD_AQA, WORD_ASQ, WORD_ACQ, WORD_CC = range(4)
WORDS = 4

_CC_MASK  = 0x00FF_FFF1
_AQA_MASK = 0x0FFF_0FFF
_NOT_PAGE = 0xFFFF_FFFF_FFFF_F000


class Properties(wiring.Component):
    """Answer a guest's register accesses; tell others of doorbells and of writes to CC.

    A write touches memory and nothing else. The registers' meaning is the business of
    :class:`~offloadcard.nvme_emul.lifecycle.Lifecycle`, which reads them word by word and writes
    CSTS.

    Timing
    ------
    One access per cycle, never back-pressured; a read is answered 2 cycles later. A clear waits
    for a cycle without a write.

    Parameters
    ----------
    function_id_width : int
        Width of ``function_id`` in bits.
    queue_size : int
        Largest queue, in entries (CAP.MQES).

    Members
    -------
    mmio : ``In(MmioPort(...))``
        The guests.
    doorbells : ``Out(stream.Signature(doorbell_write(...), always_ready=True))``
        Writes to doorbells.
    changes : ``Out(stream.Signature(function_id_width, always_ready=True))``
        Functions whose CC was written.
    word_address : ``In(function_id_width + 2)``
        Word to be read: the word's number in the low bits, ``function_id`` above.
    word : ``Out(64)``
        Its value, one cycle later.
    clears : ``In(stream.Signature(function_id_width + 2))``
        Words to be cleared; clearing ``WORD_CC`` clears the interrupt mask too.
    status_write, status_function_id, status : ``In``
        Writes CSTS of a function.
    """

    def __init__(self, *, function_id_width, queue_size):
        self.function_id_width = function_id_width
        self.capabilities = Capabilities.const({
            "mqes": queue_size - 1, "cqr": 1, "to": 40, "css": 1}).as_bits()
        super().__init__({
            "mmio":         In(MmioPort(function_id_width=function_id_width)),
            "doorbells":    Out(stream.Signature(
                doorbell_write(function_id_width=function_id_width), always_ready=True)),
            "changes":      Out(stream.Signature(function_id_width, always_ready=True)),
            "word_address": In(function_id_width + 2),
            "word":         Out(64),
            "clears":       In(stream.Signature(function_id_width + 2)),
            "status_write": In(1),
            "status_function_id": In(function_id_width),
            "status":       In(ControllerStatus),
        })

    def elaborate(self, platform):
        m = Module()

        depth = 1 << self.function_id_width
        m.submodules.words  = words  = memory.Memory(shape=64, depth=depth * WORDS, init=[])
        m.submodules.masks  = masks  = memory.Memory(shape=32, depth=depth, init=[])
        m.submodules.states = states = memory.Memory(shape=8, depth=depth, init=[])
        words_w  = words.write_port(granularity=8)
        words_r  = words.read_port(transparent_for=(words_w,))
        words_l  = words.read_port(transparent_for=(words_w,))
        masks_w  = masks.write_port()
        masks_r  = masks.read_port(transparent_for=(masks_w,))
        states_w = states.write_port()
        states_r = states.read_port(transparent_for=(states_w,))

        request = self.mmio.requests
        p       = request.p
        number  = Signal(3)   # of the group of 8 octets
        low     = Signal()    # among the registers
        kept    = Signal()    # a register that the function owns
        write   = Signal()
        word    = Signal(2)
        m.d.comb += [
            number.eq(p.offset[3:6]),
            low.eq(p.offset[6:] == 0),
            write.eq(request.valid & p.write),
            kept.eq(low & ((number == 2) | (number == 4) | (number == 5) | (number == 6))),
            word.eq(Mux(number == 2, WORD_CC, number[:2])),
        ]

        # Words: written by the guest, cleared in the gaps.
        stored = Signal(8)
        r_mask = Signal()
        m.d.comb += [
            # AQA and CC are upper halves; the lower halves are not theirs.
            stored.eq(Mux((number == 2) | (number == 4), p.byte_enable & 0xF0, p.byte_enable)),
            self.clears.ready.eq(~write & ~r_mask),
        ]
        with m.If(write):
            m.d.comb += [words_w.addr.eq(Cat(word, p.function_id)), words_w.data.eq(p.data),
                         words_w.en.eq(Mux(kept, stored, 0))]
        with m.Else():
            m.d.comb += [words_w.addr.eq(self.clears.payload),
                         words_w.en.eq((self.clears.valid & self.clears.ready).replicate(8))]
        m.d.comb += [
            words_r.addr.eq(Cat(word, p.function_id)),
            masks_r.addr.eq(p.function_id),
            states_r.addr.eq(p.function_id),
            words_l.addr.eq(self.word_address),
            self.word.eq(words_l.data),
            states_w.addr.eq(self.status_function_id),
            states_w.data.eq(self.status.as_value()),
            states_w.en.eq(self.status_write),
        ]

        # One cycle later: masks, doorbells, news of CC, and the answer's value.
        r_valid, r_number, r_low = Signal(), Signal.like(number), Signal()
        r_data, r_function_id = Signal(64), Signal.like(p.function_id)
        r_set, r_clear = Signal(32), Signal(32)
        lanes = Signal(64)
        m.d.comb += lanes.eq(Cat(enable.replicate(8) for enable in p.byte_enable) & p.data)
        m.d.sync += [
            r_valid.eq(request.valid & ~p.write), r_number.eq(number), r_low.eq(low),
            r_data.eq(p.data), r_function_id.eq(p.function_id),
            r_mask.eq(write & low & ((number == 1) | (number == 2))),
            r_set.eq(Mux(number == 1, lanes[32:], 0)),
            r_clear.eq(Mux(number == 2, lanes[:32], 0)),
            self.changes.valid.eq(write & low & (number == 2) & p.byte_enable[4:].any()),
            self.changes.payload.eq(p.function_id),
            self.doorbells.valid.eq(write & (p.offset >= DOORBELL_BASE)),
            self.doorbells.p.function_id.eq(p.function_id),
            self.doorbells.p.qid.eq((p.offset - DOORBELL_BASE)[3:]),
            self.doorbells.p.tail_valid.eq(p.byte_enable[:4].all()),
            self.doorbells.p.head_valid.eq(p.byte_enable[4:].all()),
            self.doorbells.p.tail.eq(p.data[:32]),
            self.doorbells.p.head.eq(p.data[32:]),
        ]
        with m.If(r_mask):
            m.d.comb += [masks_w.addr.eq(r_function_id), masks_w.en.eq(1),
                         masks_w.data.eq((masks_r.data | r_set) & ~r_clear)]
        with m.Else():
            m.d.comb += [
                masks_w.addr.eq(self.clears.payload[2:]),
                masks_w.en.eq(self.clears.valid & self.clears.ready
                              & (self.clears.payload[:2] == WORD_CC)),
            ]

        value = Signal(64)
        with m.If(r_low):
            with m.Switch(r_number):
                with m.Case(0):
                    m.d.comb += value.eq(self.capabilities)
                with m.Case(1):
                    m.d.comb += value.eq(Cat(Const(VERSION, 32), masks_r.data))
                with m.Case(2):
                    m.d.comb += value.eq(Cat(masks_r.data, words_r.data[32:] & _CC_MASK))
                with m.Case(3):
                    m.d.comb += value.eq(Cat(Const(0, 32), states_r.data))
                with m.Case(4):
                    m.d.comb += value.eq(Cat(Const(0, 32), words_r.data[32:] & _AQA_MASK))
                with m.Case(5, 6):
                    m.d.comb += value.eq(words_r.data & _NOT_PAGE)
        m.d.sync += [
            self.mmio.replies.valid.eq(r_valid),
            self.mmio.replies.p.data.eq(value),
            self.mmio.replies.p.error.eq(0),
        ]

        return m
