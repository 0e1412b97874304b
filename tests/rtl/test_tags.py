"""TagPool: no tag is lent twice, none is lost, each port is sure of its reserve."""

import random

import pytest
from amaranth import *
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume

from offloadcard.rtl.tags import TagPool
from tests.pcie.guest import simulate
from tests.support.formal import ProofFailed, prove


def test_no_tag_is_lent_twice_and_none_is_lost():
    """Random taking and giving by both ports, low tags only for one of them."""
    dut, rng = TagPool(count=16, low=4, reserve=2), random.Random(3)
    lent = {}

    async def run(ctx):
        ctx.set(dut.extended, 0b10)
        for _ in range(20):
            await ctx.tick()
        assert ctx.get(dut.free) == 16
        for cycle in range(600):
            for number, back in enumerate(dut.returns):
                mine = [tag for tag in lent if tag % 2 == number]
                give = bool(mine) and rng.random() < 0.3
                ctx.set(back.valid, give)
                if give:
                    tag = rng.choice(mine)
                    ctx.set(back.payload, {"tag": tag, "port": lent.pop(tag)})
            port = rng.randrange(2)
            ctx.set(dut.port, port)
            take = ctx.get(dut.offered) >> port & 1 and (cycle // 100) % 2 == 0
            ctx.set(dut.taken, bool(take))
            if take:
                tag = ctx.get(dut.tag)
                assert tag not in lent
                assert port or tag < 4
                lent[tag] = port
            await ctx.tick()
        ctx.set(dut.taken, 0)
        for back in dut.returns:
            ctx.set(back.valid, 0)
        for _ in range(40):
            await ctx.tick()
        assert ctx.get(dut.free) == 16 - len(lent)

    simulate(dut, run)


def test_the_reserve_is_kept():
    """A port that takes all it can leaves the other one its reserve."""
    dut = TagPool(count=16, reserve=3)

    async def run(ctx):
        ctx.set(dut.extended, 3)
        for _ in range(20):
            await ctx.tick()
        taken = 0
        for _ in range(40):
            ctx.set(dut.port, 1)
            ctx.set(dut.taken, ctx.get(dut.offered) >> 1 & 1)
            taken += ctx.get(dut.taken)
            await ctx.tick()
        assert taken == 13
        assert ctx.get(dut.offered) == 0b01
        ctx.set(dut.taken, 0)

    simulate(dut, run)


@pytest.mark.parametrize("bad", [{"count": 2, "reserve": 1}, {"count": 8, "reserve": 5}])
def test_bad_parameters(bad):
    with pytest.raises(ValueError, match="must be"):
        TagPool(**bad)


class TagSpec(Elaboratable):
    """Any one tag: it is offered only while nobody has it."""

    def __init__(self, dut, *, honest=True):
        self.dut = dut
        self.honest = honest

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        tag  = AnyConst(range(dut.count))
        lent = Signal()
        owner = Signal()
        back = Signal(2)
        m.d.comb += Assume(dut.taken <= dut.offered.bit_select(dut.port, 1))
        for number, port in enumerate(dut.returns):
            m.d.comb += back[number].eq(port.valid & (port.p.tag == tag))
            # Other tags come back honestly, too: never more than were lent.
            m.d.comb += Assume(~port.valid | (port.p.tag == tag))
            with m.If(back[number]):
                m.d.comb += Assume(port.p.port == owner)
                if self.honest:
                    m.d.comb += Assume(lent)
        m.d.comb += Assume(back != 3)
        with m.If(back.any()):
            m.d.sync += lent.eq(0)
        with m.If(dut.taken & (dut.tag == tag)):
            m.d.comb += Assert(~lent)
            m.d.sync += [lent.eq(1), owner.eq(dut.port)]
        return m


@pytest.mark.formal
def test_spec_a_tag_has_one_owner():
    prove(TagSpec(TagPool(count=4, low=2, reserve=1)), depth=14)


@pytest.mark.formal
def test_spec_owner_sees_a_mutant():
    """A client that returns what it does not have breaks the pool, and the proof sees it."""
    with pytest.raises(ProofFailed):
        prove(TagSpec(TagPool(count=4, low=2, reserve=1), honest=False), depth=14)
