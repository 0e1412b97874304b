"""Proofs of the decision: destinations, hard generations, order around the slow path."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.gft.decide import KIND_EXCEPTION, KIND_FORWARD, Want
from offloadcard.gft.decide import LATENCY as WANT_LATENCY
from offloadcard.gft.finish import LATENCY, Finish
from offloadcard.gft.order import Order
from offloadcard.gft.records import EXIT_GUESTS, EXIT_SLOW, EXIT_WIRE
from offloadcard.gft.spec import DestinationKind, Reason, Verdict
from tests.support.formal import ProofFailed, prove

FUNCTIONS = 4


def want(dut=Want):
    return dut(functions=FUNCTIONS, function_id_width=2, slot_width=4, row_width=4, hash_width=20)


class WantSpec(Elaboratable):
    """A packet goes to function f only if its flow's entry names f, or the slow path did; to the
    wire likewise; and not by an entry that is older than its hard generation."""

    def __init__(self, dut):
        self.dut = dut
        # One generation row of all, chosen freely and remembered beside the memory.
        self.row  = Signal(4)
        self.free = [self.row]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        entry, side, o = dut.i.result.entry, dut.i.side, dut.o

        started, row_r, hard = Signal(), Signal(4), Signal(16)
        m.d.sync += [started.eq(1), row_r.eq(self.row)]
        with m.If(started):
            m.d.comb += Assume(row_r == self.row)
        written = dut.generation
        with m.If(dut.generation_write
                  & (Cat(written.layer_set, written.function_id[:2]) == self.row)):
            m.d.sync += hard.eq(written.hard)

        # What the input allowed, as it was 2 cycles ago.
        by_flow, by_slow = Signal(), Signal()
        age, old = Signal(16), Signal()
        m.d.comb += [
            by_flow.eq(dut.i.result.hit & (dut.i.fault == Reason.NONE)
                       & (dut.i.found.reason == Reason.NONE)
                       & ~(side.injected & (side.verdict != Verdict.LOOKUP))),
            by_slow.eq(side.injected & (side.verdict == Verdict.FORWARD)
                       & (dut.i.fault == Reason.NONE)),
            age.eq(entry.generation - hard),
            old.eq(age[15] & (Cat(entry.layer_set, entry.owner[:2]) == self.row)
                   & ~dut.generation_write),
        ]
        facts = Cat(by_flow, by_slow, entry.destination, entry.destination_function,
                    side.destination, side.destination_function, old, dut.i.valid)
        for cycle in range(WANT_LATENCY):
            later = Signal(len(facts), name=f"facts_{cycle}")
            m.d.sync += later.eq(facts)
            facts = later
        flow, slow, kind, function, slow_kind, slow_function, old_3, valid = (
            facts[low:low + width] for low, width in (
                (0, 1), (1, 1), (2, 2), (4, 12), (16, 2), (18, 12), (30, 1), (31, 1)))
        warm = Signal(2)
        m.d.sync += warm.eq(warm + (warm != WANT_LATENCY))
        with m.If((warm == WANT_LATENCY) & valid & (o.kind == KIND_FORWARD)):
            with m.If(o.exit == EXIT_GUESTS):
                m.d.comb += Assert(
                    flow & (kind == DestinationKind.FUNCTION) & (o.function == function)
                    | slow & (slow_kind == DestinationKind.FUNCTION)
                    & (o.function == slow_function))
                m.d.comb += Assert(o.function < FUNCTIONS)
            with m.Else():
                m.d.comb += Assert(o.exit == EXIT_WIRE)
                m.d.comb += Assert(flow & (kind == DestinationKind.WIRE)
                                   | slow & (slow_kind == DestinationKind.WIRE))
            with m.If(flow):
                m.d.comb += Assert(~old_3)
        return m


class SlotSpec(Elaboratable):
    """An order slot is of one function, or of the wire: what others have at the slow path holds
    nobody's packets up. What comes back keeps the slot that it had."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        o = dut.o
        warm = Signal(2)
        m.d.sync += warm.eq(warm + (warm != WANT_LATENCY))
        with m.If((warm == WANT_LATENCY) & o.valid & ~o.counted):
            m.d.comb += Assert((o.slot[-1] == o.source[12])
                               & (o.source[12] | (o.slot[-3:-1] == o.source[:2])))
        return m


class SharedSlots(Want):
    """A mutant whose slots are of the hash alone."""
    _own_slots = False


class SoftWant(Want):
    """A mutant: hard generations are treated as soft ones."""
    _denies_hard = False


class OpenWant(Want):
    """A mutant: takes more functions for its own than the card has."""

    def elaborate(self, platform):
        self.functions = 1 << 12
        return super().elaborate(platform)


@pytest.mark.formal
def test_slot_spec():
    prove(SlotSpec(want()), depth=5)
    with pytest.raises(ProofFailed):
        prove(SlotSpec(want(SharedSlots)), depth=5)


@pytest.mark.formal
def test_want_spec():
    prove(WantSpec(want()), depth=7)
    for mutant in (SoftWant, OpenWant):
        with pytest.raises(ProofFailed):
            prove(WantSpec(want(mutant)), depth=7)


class FinishSpec(Elaboratable):
    """The job that writes a packet carries the decision's destination, unchanged."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        facts = Cat(dut.i.kind, dut.i.exit, dut.i.function[:2], dut.i.side.function_id[:2],
                    dut.i.valid)
        for cycle in range(LATENCY):
            later = Signal(len(facts), name=f"facts_{cycle}")
            m.d.sync += later.eq(facts)
            facts = later
        kind, exit, function, sender = facts[0:2], facts[2:4], facts[4:6], facts[6:8]
        with m.If(dut.valid):
            m.d.comb += Assert(facts[8])
            with m.If(kind == KIND_FORWARD):
                m.d.comb += Assert(dut.writes.exit == exit)
                m.d.comb += Assert((exit != EXIT_GUESTS) | (dut.writes.function_id == function))
            with m.If(kind == KIND_EXCEPTION):
                m.d.comb += Assert((dut.writes.exit == EXIT_SLOW)
                                   & (dut.writes.function_id == sender))
        return m


class SelfishFinish(Finish):
    """A mutant: a packet comes back to its sender."""
    _keeps_destination = False


@pytest.mark.formal
def test_finish_spec():
    widths = {"data_width": 64, "cell_width": 3, "function_id_width": 2}
    prove(FinishSpec(Finish(**widths)), depth=5)
    with pytest.raises(ProofFailed):
        prove(FinishSpec(SelfishFinish(**widths)), depth=5)


class OrderSpec(Elaboratable):
    """While a packet of an order slot is at the slow path, none of it is forwarded but those that
    come back, and no more of them are there than the budget; the exception queue is never promised
    more room than it has."""

    def __init__(self, dut):
        self.dut = dut
        self.slot = Signal(dut.slot_width)
        self.free = [self.slot]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        i, o = dut.i, dut.o
        started, slot_r = Signal(), Signal.like(self.slot)
        m.d.sync += [started.eq(1), slot_r.eq(self.slot)]
        with m.If(started):
            m.d.comb += Assume(slot_r == self.slot)

        # The slow path gives back only what it was given: seen at the output, so that in between
        # no packet is thought to be back before it came.
        at_slow, in_pipe = Signal(4), Signal(2)
        mine_in  = i.valid & i.counted & (i.slot == self.slot)
        mine_out = o.valid & (o.slot == self.slot)
        came_back = Signal(2)  # the counted packets inside
        m.d.comb += Assume(~mine_in | (at_slow > in_pipe))
        m.d.comb += Assume(~i.counted | i.injected)
        m.d.sync += came_back.eq(Cat(mine_in, came_back[0]))
        leaves, returns = Signal(), Signal()
        m.d.comb += [
            leaves.eq(mine_out & o.counted),
            returns.eq(came_back[1]),
        ]
        m.d.sync += at_slow.eq(at_slow + leaves - returns)
        m.d.sync += in_pipe.eq(in_pipe + mine_in - returns)
        injected = Signal(2)
        m.d.sync += injected.eq(Cat(i.injected, injected[0]))
        with m.If(mine_out & (o.kind == KIND_FORWARD) & ~injected[1]):
            m.d.comb += Assert(at_slow == 0)
        m.d.comb += Assert(at_slow <= dut.budget)

        # Room: what is reserved and has not left.
        reserved = Signal(range(4 * dut.room))
        beats = [Signal.like(dut.beats, name=f"beats_{n}") for n in range(2)]
        m.d.sync += [beats[0].eq(dut.beats), beats[1].eq(beats[0])]
        m.d.comb += Assume(dut.beats != 0)
        m.d.comb += Assume(~dut.left | (reserved != 0))
        m.d.sync += reserved.eq(reserved - dut.left + Mux(o.valid & o.counted, beats[1], 0))
        m.d.comb += Assert(reserved <= dut.room)
        return m


class OvertakingOrder(Order):
    """A mutant: a hit goes ahead of the packets before it."""
    _holds_back = False


@pytest.mark.formal
def test_order_spec():
    widths = {"slot_width": 1, "function_id_width": 2, "room": 4, "budget": 2}
    prove(OrderSpec(Order(**widths)), depth=9)
    with pytest.raises(ProofFailed):
        prove(OrderSpec(OvertakingOrder(**widths)), depth=9)
