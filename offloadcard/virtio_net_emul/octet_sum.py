"""The Internet checksum's sum over a range of octets of each packet that passes."""

# Ref: RFC 1071, 1 (ones' complement sum of 16-bit words), 2.B (byte order independence)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OctetSum"]

NUMBER = 15  # bits of a place in a packet: one more than of a length


class OctetSum(wiring.Component):
    """Add octets ``start`` to ``end`` - 1 of a packet as 16-bit words in ones' complement.

    Octets in even places are the high ones. A range that begins at an odd place therefore comes
    out with its two octets exchanged [RFC 1071: 2.B].

    Timing
    ------
    A beat per cycle, never stalled; the sum follows the last beat by ``latency`` cycles.

    Parameters
    ----------
    octets : int
        Octets of a beat, a power of two, at least 8.

    Members
    -------
    valid, data, first, last : ``In``
        One beat.
    start, end : ``In(15)``
        Range, constant over a packet; it may reach beyond the packet.
    o : ``Out``
        ``valid`` for one cycle, ``sum`` with it.
    """

    def __init__(self, *, octets):
        if octets < 8 or octets & (octets - 1):
            raise ValueError(f"`octets` must be a power of two of at least 8, not {octets!r}")
        self.octets = octets
        self.lane_bits = (octets - 1).bit_length()
        rounds = self.lane_bits - 1                 # halvings of the words of a beat
        self.stages  = -(-rounds // 2)              # two a cycle
        self.latency = 5 + self.stages
        super().__init__({
            "valid": In(1),
            "data":  In(8 * octets),
            "first": In(1),
            "last":  In(1),
            "start": In(NUMBER),
            "end":   In(NUMBER),
            "o":     Out(data.StructLayout({"valid": 1, "sum": 16})),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self.lane_bits
        mark = data.StructLayout({"valid": 1, "first": 1, "last": 1})
        line   = Signal(NUMBER - bits)
        line_r = Signal.like(line)
        m.d.comb += line.eq(Mux(self.first, 0, line_r))
        with m.If(self.valid):
            m.d.sync += line_r.eq(line + 1)

        # Where the beat lies against both ends of the range.
        octets = Signal(8 * self.octets)
        behind, at_start, before, at_end = (Signal(name=name) for name in (
            "behind", "at_start", "before", "at_end"))
        low, high = Signal(bits), Signal(bits)
        marks = [Signal(mark, name="mark_0")]
        m.d.sync += [
            octets.eq(self.data), low.eq(self.start[:bits]), high.eq(self.end[:bits]),
            behind.eq(line > self.start[bits:]), at_start.eq(line == self.start[bits:]),
            before.eq(line < self.end[bits:]), at_end.eq(line == self.end[bits:]),
            marks[0].valid.eq(self.valid), marks[0].first.eq(self.first),
            marks[0].last.eq(self.last),
        ]

        # Only octets of the range remain.
        words = [Signal(16, name=f"word_{n}") for n in range(self.octets // 2)]
        for number, word in enumerate(words):
            parts = []
            for lane in (2 * number + 1, 2 * number):
                inside = Signal(name=f"inside_{lane}")
                m.d.comb += inside.eq((behind | at_start & (lane >= low))
                                      & (before | at_end & (lane < high)))
                parts.append(Mux(inside, octets[8 * lane:8 * lane + 8], 0))
            m.d.sync += word.eq(Cat(parts))
        marks.append(self._later(m, marks[-1], "mark_1"))

        # The sum of a beat, two halvings a cycle.
        for stage in range(self.stages):
            step = 4 if len(words) > 2 else 2
            sums = []
            for number in range(0, len(words), step):
                group = words[number:number + step]
                total = Signal(len(words[0]) + step.bit_length() - 1,
                               name=f"sum_{stage}_{number // step}")
                halves = [a + b for a, b in zip(group[::2], group[1::2])]
                m.d.sync += total.eq(halves[0] + halves[1] if len(halves) == 2 else halves[0])
                sums.append(total)
            words = sums
            marks.append(self._later(m, marks[-1], f"mark_{stage + 2}"))

        # The sum of the packet, its carries added twice.
        total = Signal(32)
        known = marks[-1]
        with m.If(known.valid):
            m.d.sync += total.eq(Mux(known.first, 0, total) + words[0])
        once  = Signal(17)
        valid = Signal(2)
        m.d.sync += [
            valid.eq(Cat(known.valid & known.last, valid[0])),
            once.eq(total[:16] + total[16:]),
            self.o.sum.eq(once[:16] + once[16]), self.o.valid.eq(valid[1]),
        ]
        return m

    @staticmethod
    def _later(m, value, name):
        later = Signal.like(value, name=name)
        m.d.sync += later.eq(value)
        return later
