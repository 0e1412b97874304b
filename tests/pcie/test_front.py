"""The front whole: every function's registers are reached by address, at any width."""

from dataclasses import replace

import pytest

from offloadcard.config import TINY
from offloadcard.pcie.spec import ConfigRequest, Fmt, Type
from tests.pcie.world import World, bar


def test_latencies_are_those_of_the_docs():
    """Cycles from a TLP's beat to the doorbell at the device, and to a completion."""
    world = World()
    cycles = {}

    async def host(ctx):
        guest = world.guest
        await world.enumerate(ctx)

        async def until(signal):
            count = 1  # the beat itself took one
            while not ctx.get(signal):
                await ctx.tick()
                count += 1
            return count
        await guest.write(ctx, bar(2) + 0x1000, b"bell")
        cycles["doorbell"] = await until(world.dut.net_mmio.requests.valid)
        await ctx.tick().repeat(10)
        await guest.send(ctx, ConfigRequest, {
            "fmt": Fmt.THREE_DW, "type": Type.CONFIG_0, "length": 1, "first_be": 15, "tag": 250,
            "completer_id": 0x102})
        cycles["config"] = await until(world.dut.completions.valid)
        await ctx.tick().repeat(4)
        guest.completions.clear()
    world.run(host)
    assert cycles == {"doorbell": 7, "config": 15}


@pytest.mark.parametrize("data_width", [64, 512])
def test_registers_are_reached_by_address(data_width):
    """Every function's doorbell and register reach its own device under its own id."""
    world = World(replace(TINY, data_width=data_width))
    guest = world.guest

    async def host(ctx):
        await world.enumerate(ctx)
        for function in range(TINY.functions):
            await guest.write(ctx, bar(function) + 0x1004, b"\x01\x02\x03\x04")
            octets = await guest.read_octets(ctx, bar(function) + 0x20, 8)
            assert octets == (function << 32 | 0x20 | 0xAA << 56).to_bytes(8, "little")
    world.run(host)
    assert world.accesses == [
        access for function in range(TINY.functions) for access in (
            (("nvme" if function in (1, 4, 5) else "net"), function, 0x1000, 1, 0xF0,
             0x0403_0201 << 32),
            (("nvme" if function in (1, 4, 5) else "net"), function, 0x20, 0, 0xFF, 0))]
