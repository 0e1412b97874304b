"""Cut and Tracker: pieces cover a segment; a command ends once, after its last piece."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.nvme_emul.cut import Cut, Tracker
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer, assume_producer, symbolic


def test_pieces_cover_the_segment():
    """Each octet once, in order, no piece over 512; a tag is never out twice."""
    dut = Cut(function_id_width=2, slot_width=2, tag_width=2)
    lengths = [4096, 12, 512, 3836, 513]
    pieces, out = [], []

    async def producer(ctx):
        for length in lengths:
            ctx.set(dut.i.payload, {"slot": 1, "function_id": 2, "address": 0x1000,
                                    "offset": 0x200, "length": length})
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                *_, taken = await ctx.tick().sample(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        for _ in range(60):
            await ctx.tick()

    async def consumer(ctx):
        cycle = 0
        while True:
            cycle += 1
            ctx.set(dut.o.ready, cycle % 3 != 0)
            give = cycle % 2 and bool(out)
            ctx.set(dut.give.valid, give)
            if give:
                ctx.set(dut.give.payload, out.pop(0))
            *_, valid, p = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.payload)
            if valid:
                assert p.tag not in out
                out.append(p.tag)
                pieces.append((p.address, p.offset, p.length))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(producer)
    simulator.add_testbench(consumer, background=True)
    simulator.run()
    want = [(0x1000 + at, 0x200 + at, min(512, length - at))
            for length in lengths for at in range(0, length, 512)]
    assert pieces == want


class TrackerSpec(Elaboratable):
    """A result leaves once for each command, when all its pieces are over and it is known how
    many they are."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        slot  = symbolic(m, self.free, 1, "slot")
        final = dut.finals.valid & dut.finals.ready & (dut.finals.p.slot == slot)
        done  = dut.done.valid & dut.done.ready & (dut.done.p.slot == slot)
        over  = dut.results.valid & dut.results.ready & (dut.results.p.slot == slot)
        known = Signal()
        count = Signal(3)
        ended = Signal(3)
        for port, name in ((dut.finals, "finals"), (dut.done, "done")):
            assume_producer(m, port, name)
        assert_producer(m, dut.results, "results")
        # What feeds it: no more pieces than there are, one final for a command.
        m.d.comb += Assume(dut.finals.p.count <= 3)
        with m.If(final):
            m.d.comb += Assume(~known & (dut.finals.p.count >= ended + done))
            m.d.sync += [known.eq(1), count.eq(dut.finals.p.count)]
        with m.If(done):
            m.d.comb += Assume(Mux(known, ended < count, ended < 3))
            m.d.sync += ended.eq(ended + 1)
        with m.If(dut.results.valid & (dut.results.p.slot == slot)):
            m.d.comb += Assert(known & (ended == count))
        with m.If(over):
            m.d.sync += [known.eq(0), ended.eq(0)]
        return m


@pytest.mark.formal
def test_spec_each_command_ends_once():
    prove(TrackerSpec(Tracker(slot_width=1)), depth=13)


@pytest.mark.formal
def test_spec_each_command_sees_a_mutant():
    dut = Tracker(slot_width=1)
    dut.wait_for_pieces = False
    with pytest.raises(ProofFailed):
        prove(TrackerSpec(dut), depth=13)
