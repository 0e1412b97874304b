"""Flight: "drained" and Transactions Pending tell the truth."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.pcie.requester_flight import Flight
from tests.pcie.guest import simulate
from tests.support.formal import ProofFailed, prove


def test_many_functions_drain_at_once():
    """All functions are stopped together; each drains when its own reads and writes have ended."""
    dut, rng = Flight(functions=8, function_id_width=3, in_flight=15), random.Random(1)
    flight, drained = [], []

    async def run(ctx):
        for function in range(8):
            for what in rng.choices(("reads", "writes"), k=rng.randrange(4)):
                port = getattr(dut, f"{what}_begun")
                ctx.set(port.payload, function)
                ctx.set(port.valid, 1)
                await ctx.tick()
                ctx.set(port.valid, 0)
                flight.append((what, function))
        for function in range(8):
            ctx.set(dut.lifecycle.stops.p.function_id, function)
            ctx.set(dut.lifecycle.stops.valid, 1)
            await ctx.tick()
        ctx.set(dut.lifecycle.stops.valid, 0)
        rng.shuffle(flight)
        while flight:
            for _ in range(rng.randrange(60)):
                await ctx.tick()
            what, function = flight.pop()
            port = getattr(dut, f"{what}_ended")
            ctx.set(port.payload, function)
            ctx.set(port.valid, 1)
            await ctx.tick()
            ctx.set(port.valid, 0)
        for _ in range(120):
            await ctx.tick()

    async def watch(ctx):
        ctx.set(dut.lifecycle.drained.ready, 1)
        drain = dut.lifecycle.drained
        async for *_, valid, function in ctx.tick().sample(drain.valid, drain.p.function_id):
            if valid:
                assert function not in [f for _, f in flight], "drained too early"
                drained.append(function)

    simulate(dut, run, background=[watch])
    assert sorted(drained) == list(range(8))


class FlightSpec(Elaboratable):
    """A function is not called drained, nor not pending, while something of it is open.

    Function 1; ids are addresses only, so it stands for all.
    """

    def __init__(self, dut):
        self.dut   = dut
        self.close = Signal()  # the solver closes the gate when it likes
        self.free  = (self.close,)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        function = 1
        closed = Signal()   # its gate: nothing begins any more
        count  = {"reads": Signal(2), "writes": Signal(2)}
        age    = Signal(3)  # of the gate's closing
        for what, number in count.items():
            begins, ends = Signal(name=f"{what}_begins"), Signal(name=f"{what}_ends")
            begun, ended = getattr(dut, f"{what}_begun"), getattr(dut, f"{what}_ended")
            m.d.comb += [
                begins.eq(begun.valid & (begun.payload == function)),
                ends.eq(ended.valid & (ended.payload == function)),
                Assume(~(begins & (closed | (number == 3)))),
                Assume(~(ends & (number == 0))),
            ]
            m.d.sync += number.eq(number + begins - ends)
        stop = Signal()
        m.d.comb += stop.eq(dut.lifecycle.stops.valid
                            & (dut.lifecycle.stops.p.function_id == function))
        m.d.comb += Assume(~stop | closed & (age >= 2))
        m.d.comb += Assume(~dut.lifecycle.stops.valid | stop)
        with m.If(self.close):
            m.d.sync += closed.eq(1)
        with m.If(closed & (age != 7)):
            m.d.sync += age.eq(age + 1)
        drained = dut.lifecycle.drained
        with m.If(drained.valid):
            m.d.comb += Assert((drained.p.function_id == function)
                               & (count["reads"] == 0) & (count["writes"] == 0))
        asked = Signal()
        m.d.sync += asked.eq(dut.pending_function == function)
        with m.If(asked & closed & (age >= 3) & (count["reads"] != 0)):
            m.d.comb += Assert(dut.pending)
        return m


class Forgetful(Flight):
    looks_at_writes = False


def spec(kind):
    return FlightSpec(kind(functions=4, function_id_width=2, in_flight=3))


@pytest.mark.formal
def test_spec_drained_is_true():
    prove(spec(Flight), depth=11)


@pytest.mark.formal
def test_spec_drained_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(spec(Forgetful), depth=11)
