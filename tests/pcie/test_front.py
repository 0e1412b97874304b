"""The front whole: every function's registers are reached by address, at any width."""

from dataclasses import replace

import pytest

from offloadcard.config import TINY
from tests.pcie.world import World, bar


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
