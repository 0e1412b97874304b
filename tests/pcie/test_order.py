"""Fence and LinkGuard: what may not pass a write does not; what the link drops is gone whole."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data

from offloadcard.pcie.order import Fence, LinkGuard, Stragglers
from tests.pcie.guest import simulate
from tests.support.formal import ProofFailed, prove
from tests.support.streams import stream_get, stream_put


def test_payloads_wait_for_earlier_writes():
    """Each payload leaves when the count of its own moment is reached, not later ones."""
    dut, left = Fence(8, depth=4), []

    async def put(ctx):
        for number, accepted in enumerate((0, 1, 1, 3)):
            ctx.set(dut.accepted, accepted)
            await stream_put(ctx, dut.i, number)

    async def get(ctx):
        for _ in range(4):
            left.append((await stream_get(ctx, dut.o), ctx.get(dut.departed)))

    async def depart(ctx):
        for count in range(4):
            for _ in range(20):
                await ctx.tick()
            ctx.set(dut.departed, count)
        for _ in range(20):
            await ctx.tick()

    simulate(dut, put, get, depart)
    assert left == [(0, 0), (1, 1), (2, 1), (3, 3)]


def test_a_tlp_is_dropped_to_its_end():
    """The link falls inside a TLP: its rest is discarded even when the link is back."""
    dut, seen = LinkGuard(8), []

    async def run(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for beat, (up, last) in enumerate(((1, 0), (0, 0), (1, 0), (1, 1), (1, 0), (1, 1))):
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.link_up, up)
            ctx.set(dut.last, last)
            assert ctx.get(dut.i.ready)
            if ctx.get(dut.o.valid):
                seen.append(beat)
            await ctx.tick()

    simulate(dut, run)
    assert seen == [0, 4, 5]


def test_stragglers_are_those_before_the_news():
    """Any order of arrivals, leavers and news: `passing` while one of an older rule is inside."""
    dut, rng = Stragglers(most=7), random.Random(1)

    async def run(ctx):
        rule, inside = 0, []
        for _ in range(3000):
            assert ctx.get(dut.passing) == any(mark < rule for mark in inside)
            left = bool(inside) and rng.random() < 0.4
            came = len(inside) < 7 and rng.random() < 0.4
            news = rng.random() < 0.1
            for name, happens in (("left", left), ("came", came), ("news", news)):
                ctx.set(getattr(dut, name), happens)
            if came:
                inside.append(rule)
            if left:
                inside.pop(0)
            rule += news
            await ctx.tick()

    simulate(dut, run)


MARKED = data.StructLayout({"mark": 1})


class FenceSpec(Elaboratable):
    """[pcie-5.0: 2.4.1] no payload leaves before a write that was accepted before it came.

    One payload, any, bears a mark. Stream rules of the output, too.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        width = dut.count_width
        accepted, departed, mine = Signal(width), Signal(width), Signal(width)
        inside, gone, begun = Signal(), Signal(), Signal()
        m.d.sync += [begun.eq(1), accepted.eq(dut.accepted), departed.eq(dut.departed)]
        m.d.comb += [
            # Counts grow by one; no more depart than were accepted; none wraps past the fence.
            Assume((dut.accepted == accepted) | (dut.accepted == accepted + 1)),
            Assume((dut.departed == departed) | (dut.departed == departed + 1)),
            Assume((dut.accepted - dut.departed).as_unsigned()[:width] < 4),
            Assume(~(dut.i.valid & dut.i.p.mark & (inside | gone))),
        ]
        with m.If(dut.i.valid & dut.i.ready & dut.i.p.mark):
            m.d.sync += [inside.eq(1), mine.eq(dut.accepted)]
        with m.If(dut.o.valid & dut.o.p.mark):
            m.d.comb += [Assert(inside),
                         Assert((dut.departed - mine)[:width] < 1 << width - 1)]
            with m.If(dut.o.ready):
                m.d.sync += [inside.eq(0), gone.eq(1)]
        with m.If(inside):
            m.d.comb += Assume((dut.departed - mine + 4)[:width] < 1 << width - 1)
        stalled = Signal()
        m.d.sync += stalled.eq(dut.o.valid & ~dut.o.ready)
        with m.If(stalled):
            m.d.comb += Assert(dut.o.valid)
        return m


class Sieve(Fence):
    """Forgets to wait."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.fence = fence = Fence(self.shape, depth=self.depth,
                                           count_width=self.count_width)
        m.d.comb += [
            fence.i.payload.eq(self.i.payload), fence.i.valid.eq(self.i.valid),
            self.i.ready.eq(fence.i.ready), fence.accepted.eq(self.departed),
            fence.departed.eq(self.departed), self.o.payload.eq(fence.o.payload),
            self.o.valid.eq(fence.o.valid), fence.o.ready.eq(self.o.ready),
        ]
        return m


@pytest.mark.formal
def test_spec_nothing_passes_a_write():
    prove(FenceSpec(Fence(MARKED, depth=2, count_width=5)), depth=12)


@pytest.mark.formal
def test_spec_fence_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(FenceSpec(Sieve(MARKED, depth=2, count_width=5)), depth=12)
