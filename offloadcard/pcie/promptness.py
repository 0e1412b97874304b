"""Whose reads are answered late: time of each read that is under way, beside its slot."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..rtl.ports import promptness

__all__ = ["Promptness", "UNIT_CYCLES"]

UNIT_CYCLES = 32  # of time as it is kept


class Promptness(wiring.Component):
    """Tell of each answer whether it was prompt, and of late reads again and again till they end.

    Time stands still while completions come in: a read that waits behind others' octets is not
    late, one that waits while nothing comes is. So a full link makes nobody late.

    Timing
    ------
    One opening and one answer per cycle; an answer is told of 2 cycles later, a read that is late
    within ``tags`` cycles and as many as other late ones take. Told of a late read, nothing is said
    of an answer in the same cycle.

    Parameters
    ----------
    tags : int
        Number of slots; a power of two.
    function_id_width : int
        Width of ``function_id``.
    late_cycles, longest_cycles : int
        A read is late after as many cycles; none takes longer than ``longest_cycles``.

    Members
    -------
    opened, answered : ``In(stream.Signature(..., always_ready=True))``
        Slot and function of a read that begins; of one that was answered.
    busy : ``In(1)``
        Octets come in.
    told : ``Out(promptness(...))``
        What becomes known.
    """

    # What a mutant changes: time stands still while the link is busy.
    _excuses = True

    def __init__(self, *, tags, function_id_width, late_cycles, longest_cycles):
        if tags < 2 or tags & tags - 1:
            raise ValueError(f"`tags` must be a power of two, 2 or more, not {tags!r}")
        if not UNIT_CYCLES <= late_cycles <= longest_cycles:
            raise ValueError(f"`late_cycles` must be {UNIT_CYCLES} to {longest_cycles}, "
                             f"not {late_cycles!r}")
        self.tags  = tags
        self.late  = late_cycles // UNIT_CYCLES
        self.width = ceil_log2(2 * longest_cycles // UNIT_CYCLES)
        self.function_id_width = function_id_width
        slot = data.StructLayout({"slot": range(tags), "function_id": function_id_width})
        super().__init__({
            "opened":   In(stream.Signature(slot, always_ready=True)),
            "answered": In(stream.Signature(slot, always_ready=True)),
            "busy":     In(1),
            "told":     Out(promptness(function_id_width=function_id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        row = data.StructLayout({
            "time": self.width, "function_id": self.function_id_width, "toggle": 1})
        # A read is under way while the toggles of its slot differ; each has one writer.
        m.submodules.begun = begun = memory.Memory(shape=row, depth=self.tags, init=[])
        m.submodules.ended = ended = memory.Memory(shape=1, depth=self.tags, init=[])
        begun_w, ended_w = begun.write_port(), ended.write_port()
        begun_of, begun_at = (begun.read_port(transparent_for=(begun_w,)) for _ in range(2))
        ended_of, ended_at = (ended.read_port(transparent_for=(ended_w,)) for _ in range(2))

        clock = Signal(self.width + ceil_log2(UNIT_CYCLES))
        now   = Signal(self.width)
        with m.If(~self.busy | (not self._excuses)):
            m.d.sync += clock.eq(clock + 1)
        m.d.comb += now.eq(clock >> ceil_log2(UNIT_CYCLES))

        opens, opening = Signal(), Signal.like(self.opened.payload)
        ends, ending   = Signal(), Signal.like(self.answered.payload)
        walk           = Signal(range(self.tags))
        m.d.sync += [
            opens.eq(self.opened.valid), opening.eq(self.opened.payload),
            ends.eq(self.answered.valid), ending.eq(self.answered.payload),
            walk.eq(walk + 1),
        ]
        m.d.comb += [
            ended_of.addr.eq(self.opened.p.slot),
            begun_w.addr.eq(opening.slot), begun_w.en.eq(opens),
            begun_w.data.time.eq(now), begun_w.data.function_id.eq(opening.function_id),
            begun_w.data.toggle.eq(~ended_of.data),
            begun_of.addr.eq(self.answered.p.slot),
            ended_w.addr.eq(ending.slot), ended_w.en.eq(ends),
            ended_w.data.eq(begun_of.data.toggle),
            begun_at.addr.eq(walk), ended_at.addr.eq(walk),
        ]

        age, waited = Signal(self.width), Signal(self.width)
        late = Signal()
        m.d.comb += [
            waited.eq(now - begun_at.data.time), age.eq(now - begun_of.data.time),
            late.eq((begun_at.data.toggle != ended_at.data) & (waited > self.late)),
        ]
        m.d.sync += [
            self.told.valid.eq(late | ends),
            self.told.late.eq(late | (age > self.late)),
            self.told.function_id.eq(Mux(late, begun_at.data.function_id, ending.function_id)),
        ]
        return m
