"""Which frames find room: no function takes what another one needs for its first."""

from amaranth.sim import Simulator

from offloadcard.config import SMALL
from offloadcard.virtio_net_emul.accept import RESERVE, Accept
from offloadcard.virtio_net_emul.layouts import Geometry

GEOMETRY = Geometry(SMALL)
KNOWN    = 2  # a network function


def test_dynamic_threshold():
    """For each number of free pages: how many frames of 60 octets one queue gets into its line."""
    dut, taken = Accept(GEOMETRY), {}
    reserve = GEOMETRY.pages // RESERVE

    async def story(ctx):
        ctx.set(dut.alive, 1)
        ctx.set(dut.pages.valid, 1)
        served = 0
        for free in (4, 5, reserve, reserve + 1, reserve + 2, reserve + 8, GEOMETRY.pages):
            ctx.set(dut.free, free)
            ctx.set(dut.served, served)
            await ctx.tick().repeat(2)
            count = 0
            for _ in range(GEOMETRY.waiting + 1):
                ctx.set(dut.received.payload, {
                    "first": 1, "last": 1, "meta": {"function_id": KNOWN, "length": 60}})
                ctx.set(dut.received.valid, 1)
                await ctx.tick()
                ctx.set(dut.received.valid, 0)
                for _ in range(4):
                    count += ctx.get(dut.arrived.valid)
                    await ctx.tick()
            taken[free] = count
            served += count

    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    simulator.add_testbench(story)
    simulator.run()
    assert taken.pop(4) == 0
    assert taken.pop(5) == taken.pop(reserve) == taken.pop(reserve + 1) == 1
    assert taken.pop(reserve + 2) == 2 and taken.pop(reserve + 8) == 5
    assert taken.pop(GEOMETRY.pages) == GEOMETRY.waiting - 1 and not taken
