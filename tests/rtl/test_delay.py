"""Delay: the value of so many cycles ago."""

import pytest
from amaranth.sim import Simulator

from offloadcard.rtl.delay import Delay


@pytest.mark.parametrize("cycles", (1, 2, 3, 4, 9))
def test_delay(cycles):
    dut = Delay(8, cycles=cycles)
    seen = []

    async def bench(ctx):
        for value in range(1, 30):
            ctx.set(dut.i, value)
            seen.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [max(0, value - cycles) for value in range(1, 30)]


def test_bad_parameter():
    with pytest.raises(ValueError, match="`cycles` must be at least 1, not 0"):
        Delay(8, cycles=0)
