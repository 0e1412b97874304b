"""Counters: no addition is lost, also when one row is hit in every cycle."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.rtl.counters import Counters


def test_every_addition_counts():
    dut = Counters(row_width=2, widths=(16, 20), stamp_width=4)
    rng = random.Random(5)
    expected = [[0, 0, 0] for _ in range(4)]

    async def bench(ctx):
        for cycle in range(200):
            row, add, clear = rng.randrange(4) & rng.randrange(4), rng.random() < 0.8, cycle == 100
            amount = rng.randrange(1000)
            ctx.set(dut.row, row)
            ctx.set(dut.add, add)
            ctx.set(dut.clear, clear)
            ctx.set(dut.amounts, {"count_0": 1, "count_1": amount})
            ctx.set(dut.stamp, cycle % 16)
            if clear:
                expected[row] = [0, 0, cycle % 16]
            elif add:
                expected[row] = [expected[row][0] + 1, expected[row][1] + amount, cycle % 16]
            await ctx.tick()
        ctx.set(dut.add, 0)
        await ctx.tick().repeat(2)
        for row in range(4):
            ctx.set(dut.show[0], row)
            await ctx.tick()
            shown = ctx.get(dut.shown[0])
            assert [shown.count_0, shown.count_1, shown.stamp] == expected[row]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_bad_parameter():
    with pytest.raises(ValueError, match="must be positive"):
        Counters(row_width=2, widths=())
