"""Credits: never beyond the limit, whatever its course; granted again when released."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.pcie.credits import CreditGate, CreditReturn
from tests.pcie.guest import simulate
from tests.support.formal import ProofFailed, prove


def test_headers_and_data_are_both_needed():
    """Neither alone is enough; the counters wrap; a TLP without data needs no data credit."""
    dut = CreditGate(data_max=16)

    async def run(ctx):
        async def limits(headers, payload):
            ctx.set(dut.headers.count, headers % 256)
            ctx.set(dut.payload.count, payload % 4096)
            await ctx.tick()

        ctx.set(dut.data, 4)
        assert not ctx.get(dut.enough)
        await limits(1, 0)
        assert not ctx.get(dut.enough)
        await limits(1, 3)
        assert not ctx.get(dut.enough)
        ctx.set(dut.data, 0)
        assert ctx.get(dut.enough)
        ctx.set(dut.data, 4)
        await limits(1, 4)
        assert ctx.get(dut.enough)
        ctx.set(dut.data, 16)
        headers = data = 0
        for number in range(600):
            await limits(number + 1, data + 16)
            assert ctx.get(dut.enough), number
            ctx.set(dut.taken, 1)
            await ctx.tick()
            ctx.set(dut.taken, 0)
            headers, data = headers + 1, data + 16
            assert not ctx.get(dut.enough)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        await limits(1, 16)
        assert ctx.get(dut.enough)
        # [pcie-5.0: 2.6.1] the most that may be granted ahead
        await limits(127, 2047)
        assert ctx.get(dut.enough)
        ctx.set(dut.data, 0)
        assert ctx.get(dut.enough)

    simulate(dut, run)


def test_released_credits_are_granted_again():
    dut = CreditReturn(initial={"ph": 64, "pd": 512, "nph": 32, "npd": 32})

    async def run(ctx):
        ctx.set(dut.released_ph, 2)
        ctx.set(dut.released_pd, 5)
        for _ in range(100):
            await ctx.tick()
        allocated = dut.allocated
        assert ctx.get(allocated.ph.count) == (64 + 200) % 256
        assert ctx.get(allocated.pd.count) == 512 + 500
        assert ctx.get(allocated.nph.count) == 32
        assert ctx.get(allocated.cplh.infinite) and ctx.get(allocated.cpld.infinite)
        assert not ctx.get(allocated.ph.infinite)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        await ctx.tick()
        assert ctx.get(allocated.ph.count) == 64

    simulate(dut, run)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`data_max` must be 0 to 256, not 257"):
        CreditGate(data_max=257)


class CreditSpec(Elaboratable):
    """[pcie-5.0: 2.6.1.2] what was sent never exceeds what was granted, without modulo."""

    def __init__(self, dut):
        self.dut  = dut
        self.more = {"headers": Signal(8), "payload": Signal(12)}
        self.free = tuple(self.more.values())  # the solver grants what it likes

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        granted = {"headers": Signal(20), "payload": Signal(20)}
        sent    = {"headers": Signal(20), "payload": Signal(20)}
        m.d.comb += [Assume(~dut.reset), Assume(dut.taken <= dut.enough), Assume(dut.data <= 16)]
        for name, need in (("headers", 1), ("payload", dut.data)):
            limit = getattr(dut, name)
            width = len(limit.count)
            m.d.comb += [
                Assume(~limit.infinite),
                Assume(limit.count == granted[name][:width]),
                # [pcie-5.0: 2.6.1] the other side never grants half of the range ahead.
                Assume(granted[name] - sent[name] < 1 << width - 1),
                Assert(sent[name] <= granted[name]),
            ]
            m.d.sync += granted[name].eq(granted[name] + self.more[name])
            with m.If(dut.taken):
                m.d.sync += sent[name].eq(sent[name] + need)
        return m


class Generous(CreditGate):
    slack = 1


@pytest.mark.formal
def test_spec_credits_are_never_exceeded():
    prove(CreditSpec(CreditGate(data_max=16)), depth=6)


@pytest.mark.formal
def test_spec_credits_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(CreditSpec(Generous(data_max=16)), depth=6)
