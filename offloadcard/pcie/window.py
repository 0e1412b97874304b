"""How much the card has asked for and not yet got, and whether it asks for more."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..rtl.ports import READ_MAX

__all__ = ["ReadWindow"]

UNIT_CYCLES = 32  # of time as it is kept
PROMPT      = 4   # of these takes a round trip to a host that the window is stated for


class ReadWindow(wiring.Component):
    """Count the octets that are asked for; close while they are more than the window.

    What is asked for beyond what the link delivers in a round trip only queues on its way, and
    whoever asks for little waits behind it. Kept back in the card, requests of the two ports take
    turns. A read that takes longer than any that waits for the link's sake does not count any more:
    slow memory does not hold the window.

    A host that is further away needs more: the shortest round trip of all reads that were answered
    well, since reset, widens the window in proportion. It is that of an idle link, so what queues
    does not add to it; a refusal, which may be quicker than memory, does not count.

    Timing
    ------
    One opening and one answer per cycle; ``open`` follows 3 cycles later, so a few requests more
    may pass. A late read is found within ``slots`` cycles in which nothing is answered.

    Parameters
    ----------
    slots : int
        Requests under way at most; a power of two.
    octets : int
        The window, for a host that answers within 128 cycles; a multiple of four.
    late_cycles : int
        How long a read counts.

    Members
    -------
    opened : ``In(stream.Signature(..., always_ready=True))``
        Slot and octets of a request that goes.
    answered : ``In(stream.Signature(..., always_ready=True))``
        Slot of a request that was answered, and whether by an error.
    open : ``Out(1)``
        Requests may go.
    """

    # What mutants change: silent reads count for ever; a host far away is never seen.
    _forgets = True
    _widens  = True

    def __init__(self, *, slots, octets, late_cycles):
        if slots < 2 or slots & slots - 1:
            raise ValueError(f"`slots` must be a power of two, 2 or more, not {slots!r}")
        if octets < READ_MAX or octets % PROMPT:
            raise ValueError(f"`octets` must be at least {READ_MAX} and a multiple of {PROMPT}, "
                             f"not {octets!r}")
        self.slots, self.octets = slots, octets
        self.late  = max(1, late_cycles // UNIT_CYCLES)
        self.width = ceil_log2(4 * (self.late + 1))
        super().__init__({
            "opened":   In(stream.Signature(data.StructLayout({
                "slot": range(slots), "octets": range(READ_MAX + 1)}), always_ready=True)),
            "answered": In(stream.Signature(data.StructLayout({
                "slot": range(slots), "error": 1}), always_ready=True)),
            "open":     Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()

        row = data.StructLayout({"octets": range(READ_MAX + 1), "time": self.width, "toggle": 1})
        # A read counts while the toggles of its slot differ; each has one writer.
        m.submodules.begun = begun = memory.Memory(shape=row, depth=self.slots, init=[])
        m.submodules.over  = over  = memory.Memory(shape=1, depth=self.slots, init=[])
        begun_w, over_w = begun.write_port(), over.write_port()
        begun_r = begun.read_port(transparent_for=(begun_w,))
        over_r, over_own = (over.read_port(transparent_for=(over_w,)) for _ in range(2))

        clock = Signal(self.width + ceil_log2(UNIT_CYCLES))
        now   = Signal(self.width)
        m.d.sync += clock.eq(clock + 1)
        m.d.comb += now.eq(clock >> ceil_log2(UNIT_CYCLES))

        opens, opening = Signal(), Signal.like(self.opened.payload)
        m.d.sync += [opens.eq(self.opened.valid), opening.eq(self.opened.payload)]
        m.d.comb += [
            over_own.addr.eq(self.opened.p.slot),
            begun_w.addr.eq(opening.slot), begun_w.en.eq(opens),
            begun_w.data.octets.eq(opening.octets), begun_w.data.time.eq(now),
            begun_w.data.toggle.eq(~over_own.data),
        ]

        # An answer ends the count of its read; without one, the slots are looked at in turn.
        walk, slot = Signal(range(self.slots)), Signal(range(self.slots))
        looked, answer = Signal(range(self.slots)), Signal()
        good           = Signal()
        age, counts    = Signal(self.width), Signal()
        m.d.comb += [
            slot.eq(Mux(self.answered.valid, self.answered.p.slot, walk)),
            begun_r.addr.eq(slot), over_r.addr.eq(slot),
            age.eq(now - begun_r.data.time),
            counts.eq(begun_r.data.toggle != over_r.data),
            over_w.addr.eq(looked), over_w.data.eq(begun_r.data.toggle),
            over_w.en.eq(counts & (answer | ((age > self.late) & int(self._forgets)))),
        ]
        m.d.sync += [looked.eq(slot), answer.eq(self.answered.valid),
                     good.eq(self.answered.valid & ~self.answered.p.error)]
        with m.If(~self.answered.valid):
            m.d.sync += walk.eq(walk + 1)

        # The shortest round trip so far, in units; 0 before the first.
        shortest = Signal(range(self.late + 1))
        limit    = Signal(range(max(self.late, PROMPT) * (self.octets // PROMPT) + 1),
                          init=self.octets)
        with m.If(over_w.en & good & ((age < shortest) | (shortest == 0)) & int(self._widens)):
            m.d.sync += shortest.eq(age | (age == 0))
        m.d.sync += limit.eq(Mux(shortest > PROMPT, shortest * (self.octets // PROMPT),
                                 self.octets))

        used = Signal(range(self.slots * READ_MAX + 1))
        less, more = Signal(range(READ_MAX + 1)), Signal(range(READ_MAX + 1))
        m.d.sync += [
            more.eq(Mux(opens, opening.octets, 0)),
            less.eq(Mux(over_w.en, begun_r.data.octets, 0)),
            used.eq(used + more - less),
            self.open.eq(used < limit),
        ]

        return m
