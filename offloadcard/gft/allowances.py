"""What each function may send, receive and ask of the slow path, and how often that was too little.
"""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.counters import Counters
from ..rtl.delay import Delay
from ..rtl.meter import Meter
from .decide import KIND_DROP, KIND_FORWARD, wanted
from .records import EXIT_GUESTS
from .spec import Allowance, AllowanceIndex, MeterKind, MeterWrite, Reason

__all__ = ["Allowances", "LATENCY"]

LATENCY = 2


class Allowances(wiring.Component):
    """Meters of senders, of receivers, and of exceptions; a counter of drops for each function.

    Each meter is asked 3 cycles before it is known who is to be charged. A receiver is charged only
    for what its sender was allowed, so nobody uses up another's allowance with packets that are
    dropped; what the slow path itself forwards is charged to nobody.

    Timing
    ------
    Latency 2 cycles from ``i`` to ``o``, one packet per cycle, never stalls. A counter shows a drop
    4 cycles later.

    Parameters
    ----------
    function_id_width : int
        Width of ``function_id``.
    slot_width : int
        log2 of the order slots.

    Members
    -------
    source, source_length : ``In(function_id_width + 1)``, ``In(14)``
        Who sends a packet: the function, or (highest bit) the wire.
    excepts : ``In(1)``
        3 cycles after it: the packet is an exception, and not one that comes back.
    allowed : ``Out(1)``
        4 cycles after it: one more exception is within its rate.
    sender, receiver, length : ``In``
        Rows of a packet, if it is forwarded; 4 cycles before ``i``.
    i, o : ``In(wanted(...))``, ``Out(wanted(...))``
        What becomes of a packet; its last word.
    limits, write_row, write : ``In``
        Limits of octets and of packets; the row; write it.
    exceeded, exceeded_shown : ``In(AllowanceIndex)``, ``Out(64)``
        A counter to show, 1 cycle later.
    """

    # What a mutant changes: charge the receiver only for what the sender was allowed.
    _spares_receiver = True

    def __init__(self, *, function_id_width, slot_width):
        self.width = width = function_id_width
        # By MeterKind; exceptions of the wire are a row of their own.
        self.meters = [Meter(row_width=row_width, length_width=14)
                       for row_width in (width, width, width + 1)]
        super().__init__({
            "source":         In(width + 1),
            "source_length":  In(14),
            "excepts":        In(1),
            "allowed":        Out(1),
            "sender":         In(width),
            "receiver":       In(width),
            "length":         In(14),
            "i":              In(wanted(slot_width=slot_width)),
            "o":              Out(wanted(slot_width=slot_width)),
            "limits":         self.meters[0].signature.members["limits"],
            "write_row":      In(MeterWrite),
            "write":          In(1),
            "exceeded":       In(AllowanceIndex),
            "exceeded_shown": Out(64),
        })

    def elaborate(self, platform):
        m = Module()

        out, into, exceptions = self.meters
        for kind, meter in zip(MeterKind, self.meters):
            m.submodules[f"meter_{kind.name.lower()}"] = meter
            row = Cat(self.write_row.function_id[:self.width], self.write_row.wire)
            m.d.comb += [meter.limits.eq(self.limits), meter.write_row.eq(row[:meter.row_width]),
                         meter.write.eq(self.write & (self.write_row.kind == kind))]
        m.d.comb += [
            exceptions.row.eq(self.source), exceptions.length.eq(self.source_length),
            exceptions.charge.eq(self.excepts), self.allowed.eq(exceptions.conforms),
        ]

        # The sender's meter is asked 1 cycle later than its row comes, the receiver's 2.
        m.submodules.sender = sender = Delay(self.width, cycles=1)
        m.submodules.receiver = receiver = Delay(self.width, cycles=2)
        length_1, length_2 = Signal(14), Signal(14)
        m.d.sync += [length_1.eq(self.length), length_2.eq(length_1)]
        forward = Signal()
        m.d.comb += [
            sender.i.eq(self.sender), receiver.i.eq(self.receiver),
            forward.eq(self.i.valid & (self.i.kind == KIND_FORWARD)),
            out.row.eq(sender.o), out.length.eq(length_1),
            out.charge.eq(forward & self.i.metered),
            into.row.eq(receiver.o), into.length.eq(length_2),
        ]

        # Cycle 1: the sender's word.
        i_1 = Signal.like(self.i)
        sent_1, received_1, may_1 = Signal(), Signal(), Signal()
        m.d.sync += [
            i_1.eq(self.i), sent_1.eq(forward & self.i.metered),
            received_1.eq(forward & self.i.hit & (self.i.exit == EXIT_GUESTS)),
        ]
        m.d.comb += [
            may_1.eq(out.conforms | ~sent_1),
            into.charge.eq(received_1 & (may_1 | (not self._spares_receiver))),
        ]

        # Cycle 2: the receiver's, and with it the last one.
        i_2 = Signal.like(self.i)
        refused_2, received_2, out_octets_2 = Signal(), Signal(), Signal()
        m.d.sync += [i_2.eq(i_1), refused_2.eq(~may_1), received_2.eq(received_1),
                     out_octets_2.eq(out.exceeded[0])]
        m.d.comb += self.o.eq(i_2)
        with m.If(refused_2):
            m.d.comb += [self.o.kind.eq(KIND_DROP), self.o.reason.eq(Reason.METER)]
        with m.Elif(received_2 & ~into.conforms):
            m.d.comb += [self.o.kind.eq(KIND_DROP), self.o.reason.eq(Reason.METER_IN)]
        self._count(m, octets=Cat(out_octets_2, into.exceeded[0]))

        return m

    def _count(self, m, *, octets):
        """Cycle 3: which allowance there was too little of, and whose."""
        m.submodules.counters = counters = Counters(row_width=self.width + 4, widths=(64,))
        reason, octets_3, valid = Signal(5), Signal(2), Signal()
        source, receiver = Signal(self.width + 1), Signal(self.width)
        m.d.sync += [
            valid.eq(self.o.valid), reason.eq(self.o.reason), octets_3.eq(octets),
            source.eq(Cat(self.o.source[:self.width], self.o.source[12])),
            receiver.eq(self.o.function),
        ]
        short, whose, counts = Signal(Allowance), Signal(self.width + 1), Signal()
        m.d.comb += [whose.eq(source), counts.eq(valid)]
        with m.Switch(reason):
            with m.Case(Reason.METER):
                m.d.comb += short.eq(Mux(octets_3[0], Allowance.OUT_OCTETS,
                                         Allowance.OUT_PACKETS))
            with m.Case(Reason.METER_IN):
                m.d.comb += [short.eq(Mux(octets_3[1], Allowance.IN_OCTETS,
                                          Allowance.IN_PACKETS)), whose.eq(receiver)]
            with m.Case(Reason.NEW_FLOWS):
                m.d.comb += short.eq(Allowance.NEW_FLOWS)
            with m.Case(Reason.EXCEPTION_LIMIT):
                m.d.comb += short.eq(Allowance.EXCEPTIONS)
            with m.Case(Reason.EXCEPTION_FULL):
                m.d.comb += short.eq(Allowance.ROOM)
            with m.Default():
                m.d.comb += counts.eq(0)
        shown = self.exceeded
        m.d.comb += [
            counters.row.eq(Cat(whose, short)), counters.add.eq(counts),
            counters.amounts.count_0.eq(1),
            counters.show[0].eq(Cat(shown.function_id[:self.width], shown.wire,
                                    shown.allowance)),
            self.exceeded_shown.eq(counters.shown[0].count_0),
        ]
