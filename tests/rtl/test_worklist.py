"""WorkList: no work is lost, no id waits twice."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.sim import Simulator

from offloadcard.rtl.worklist import WorkList
from tests.support.formal import ProofFailed, prove
from tests.support.streams import stream_get


def test_every_set_is_seen_after_it():
    """What is set at any time is handed out later, under random sets and random takers."""
    dut = WorkList(count=8)
    rng = random.Random(1)
    pending, served = set(), []

    async def setter(ctx):
        for _ in range(400):
            if rng.random() < 0.5:
                number = rng.randrange(8)
                ctx.set(dut.i.payload, number)
                ctx.set(dut.i.valid, 1)
                pending.add(number)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        for _ in range(60):
            await ctx.tick()

    async def taker(ctx):
        while True:
            number = await stream_get(ctx, dut.o)
            served.append(number)
            pending.discard(number)
            for _ in range(rng.randrange(4)):
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(setter)
    simulator.add_testbench(taker, background=True)
    simulator.run()
    assert not pending
    assert set(served) == set(range(8))


def test_latency():
    """An id comes out 2 cycles after its set, and one a cycle after it."""
    dut, seen = WorkList(count=8), []

    async def run(ctx):
        ctx.set(dut.o.ready, 1)
        for cycle in range(12):
            ctx.set(dut.i.valid, cycle < 8)
            ctx.set(dut.i.payload, cycle % 8)
            if ctx.get(dut.o.valid):
                seen.append((cycle, ctx.get(dut.o.payload)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    assert seen == [(number + 2, number) for number in range(8)]


def test_bad_parameter():
    with pytest.raises(ValueError, match="`count` must be at least 2, not 1"):
        WorkList(count=1)


class WorkListSpec(Elaboratable):
    """A set id is handed out within a bound after it, if the taker is always ready."""

    def __init__(self, dut, *, bound):
        self.dut = dut
        self.bound = bound

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        age  = Signal(8)
        wait = Signal()
        m.d.comb += dut.o.ready.eq(1)
        with m.If(dut.i.valid & (dut.i.payload == 1)):
            m.d.sync += [wait.eq(1), age.eq(0)]
        with m.Elif(dut.o.valid & (dut.o.payload == 1)):
            m.d.sync += wait.eq(0)
        with m.Elif(wait):
            m.d.sync += age.eq(age + 1)
        m.d.comb += Assert(age < self.bound)
        return m


@pytest.mark.formal
@pytest.mark.parametrize("count", [2, 4])
def test_spec_no_set_is_lost(count):
    prove(WorkListSpec(WorkList(count=count), bound=8), depth=20)


@pytest.mark.formal
def test_spec_sees_a_mutant():
    class Blind(WorkList):
        _sees_its_taker = False

    with pytest.raises(ProofFailed):
        prove(WorkListSpec(Blind(count=4), bound=8), depth=20)
