"""Ends of functions: whom they touch, in which order, and what is left afterwards."""

import random

import pytest

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.lifecycle import Lifecycle
from tests.pcie.test_msix import begin, message
from tests.pcie.world import World, bar

SC, UR, CRS = 0, 1, 2
FLR = 1 << 15
NVME_VF = TINY.first_nvme_vf


def run(story, world=None):
    world = world or World()

    async def host(ctx):
        await world.enumerate(ctx)
        await story(ctx, world, world.guest)
    world.run(host)


async def flr(ctx, guest, function):
    """Initiate a function-level reset; wait as Linux does. How often it was told to retry."""
    bdf = 0x100 | function
    await guest.config_write(ctx, bdf, spec.PCIE + 8, FLR, 2)
    return await alive(ctx, guest, bdf)


async def alive(ctx, guest, bdf):
    """Poll until the function answers; how often it was told to retry."""
    for retries in range(500):
        answer = await guest.config(ctx, bdf, 4)
        if answer["status"] == SC:
            return retries
        assert answer["status"] == CRS
    raise AssertionError(f"{bdf:#x} did not come back")


def test_flr_of_a_vf_ends_that_vf_only():
    """Its row and vectors are as after power-up; all others keep theirs and work meanwhile."""
    async def story(ctx, world, guest):
        for function in range(TINY.functions):
            await begin(ctx, world, function, 3)
        world.held = True
        await guest.config_write(ctx, 0x102, spec.PCIE + 8, FLR, 2)
        await ctx.tick().repeat(300)
        assert sorted(world.stops) == [("net", 2), ("requester", 2)]
        assert (await guest.config(ctx, 0x102, 4))["status"] == CRS
        assert (await guest.config(ctx, 0x102, 4, 4, size=2))["status"] == CRS
        assert (await guest.read(ctx, bar(2), 4))["status"] == UR
        await guest.write(ctx, bar(2) + 0x1000, b"lost")
        before = len(world.accesses)
        await world.interrupt(ctx, world.dut.net_interrupts, 2, 0)
        await world.interrupt(ctx, world.dut.net_interrupts, 3, 0)
        await ctx.tick().repeat(40)
        assert world.messages == [message(3, 0)]
        assert len(world.accesses) == before
        assert (await guest.read(ctx, bar(3), 4))["status"] == SC
        world.held = False
        await alive(ctx, guest, 0x102)
        assert await guest.config_read(ctx, 0x102, 4, 2) == 0
        assert await guest.config_read(ctx, 0x102, spec.MSIX + 2, 2) == \
            2 * TINY.virtio_queue_pairs
        assert (await guest.read(ctx, bar(2), 4))["status"] == SC
        assert await guest.read_octets(ctx, bar(2, 2) + 8, 8) == b"\0\0\0\0\1\0\0\0"
        for function in (0, 1, 3, 4, 5):
            expected = 6 if function < 2 else 4
            assert await guest.config_read(ctx, 0x100 | function, 4, 2) == expected
            assert await guest.config_read(ctx, 0x100 | function, spec.MSIX + 3, 1) == 0x80
        assert await guest.config_read(ctx, 0x100, spec.SRIOV + 8, 2) == 0x19
        await begin(ctx, world, 2, 3)
        await world.interrupt(ctx, world.dut.net_interrupts, 2, 1)
        await ctx.tick().repeat(10)
        assert world.messages[-1] == message(2, 1)
    run(story)


def test_flr_of_a_pf_ends_its_own_vfs():
    """VF Enable is cleared, its VFs are gone, the other's live on; sticky bits stay."""
    async def story(ctx, world, guest):
        for function in (2, 3, 4):
            await guest.config_write(ctx, 0x100 | function, 4, 4, 2)
        await guest.config_write(ctx, 0x100, spec.PCIE + 8, 0x2830, 2)
        await guest.write(ctx, 0x9000_0000, b"none")  # an unsupported request, to be logged
        world.held = True
        await guest.config_write(ctx, 0x100, spec.PCIE + 8, FLR | 0x2830, 2)
        await ctx.tick().repeat(300)
        assert sorted(world.stops) == [(name, f) for name in ("net", "requester")
                                       for f in (0, 2, 3)]
        assert (await guest.config(ctx, 0x102, 4))["status"] == UR
        assert (await guest.config(ctx, 0x100, 4))["status"] == CRS
        assert (await guest.config(ctx, 0x101, 4))["status"] == SC
        world.held = False
        await alive(ctx, guest, 0x100)
        assert await guest.config_read(ctx, 0x100, 0x10) == 4
        # [pcie-5.0: 6.6.2] MPS and sticky bits outlive it, and ARI, for the sake of PF1's VFs.
        assert await guest.config_read(ctx, 0x100, spec.PCIE + 8, 2) == 0x2830
        assert await guest.config_read(ctx, 0x100, spec.AER + 4) == 1 << spec.ERROR_UNSUPPORTED
        assert await guest.config_read(ctx, 0x100, spec.SRIOV + 8, 2) == 0x10
        assert await guest.config_read(ctx, 0x100, spec.SRIOV + 0x10, 2) == 0
        assert await guest.config_read(ctx, 0x104, 4, 2) == 4
        assert (await guest.read(ctx, bar(4), 4))["status"] == SC
        # Enumerated again, the VFs begin anew.
        await world.enumerate(ctx)
        assert await guest.config_read(ctx, 0x102, 4, 2) == 0
        assert (await guest.read(ctx, bar(3), 4))["status"] == SC
    run(story)


def test_a_pf_waits_for_its_vfs():
    """The physical function answers only after the last word about each of its VFs."""
    async def story(ctx, world, guest):
        world.held = True
        await guest.config_write(ctx, 0x101, spec.PCIE + 8, FLR, 2)
        await ctx.tick().repeat(400)
        for name, last in (("nvme", NVME_VF + 1), ("requester", NVME_VF + 1)):
            assert (name, last) in world.stops
        assert (await guest.config(ctx, 0x101, 4))["status"] == CRS
        assert (await guest.config(ctx, 0x102, 4))["status"] == SC
        world.held = False
        assert await alive(ctx, guest, 0x101) < 100
    run(story)


def test_vf_enable_off_and_on_again():
    """VFs of the next life wait until those of the last have drained."""
    async def story(ctx, world, guest):
        control = spec.SRIOV + 8
        await guest.config_write(ctx, 0x102, 4, 4, 2)
        world.held = True
        await guest.config_write(ctx, 0x100, control, 0x10, 2)
        assert (await guest.config(ctx, 0x102, 4))["status"] == UR
        assert (await guest.read(ctx, bar(2), 4))["status"] == UR
        await guest.config_write(ctx, 0x100, control, 0x19, 2)
        assert (await guest.config(ctx, 0x102, 4))["status"] == CRS
        assert (await guest.read(ctx, bar(2), 4))["status"] == UR
        await ctx.tick().repeat(300)
        assert (await guest.config(ctx, 0x102, 4))["status"] == CRS
        assert sorted(world.stops) == [(name, f) for name in ("net", "requester") for f in (2, 3)]
        world.held = False
        await alive(ctx, guest, 0x102)
        await alive(ctx, guest, 0x103)
        assert await guest.config_read(ctx, 0x102, 4, 2) == 0
        assert (await guest.read(ctx, bar(2), 4))["status"] == SC
    run(story)


def test_the_link_down_ends_all():
    """Every function ends and begins anew; the host enumerates from the start."""
    async def story(ctx, world, guest):
        for function in range(TINY.functions):
            await begin(ctx, world, function, 1)
        ctx.set(world.dut.link_up, 0)
        await ctx.tick().repeat(700)
        assert sorted(f for name, f in world.stops if name == "requester") == list(range(6))
        ctx.set(world.dut.link_up, 1)
        settings = ctx.get(world.dut.settings)
        assert (settings.bus, settings.ari, settings.pf[0].vf_enable) == (0, 0, 0)
        assert await guest.config_read(ctx, 0x100, 4, 2) == 0
        assert (await guest.read(ctx, bar(0), 4))["status"] == UR
        await world.enumerate(ctx)
        for function in range(TINY.functions):
            assert await guest.config_read(ctx, 0x100 | function, spec.MSIX + 3, 1) == 0
            assert (await guest.read(ctx, bar(function), 4))["status"] == SC
    run(story)


def test_ends_under_load_many_times():
    """Random resets of everybody under register traffic: each stop is answered once, none hangs."""
    rng = random.Random(11)

    async def story(ctx, world, guest):
        for _ in range(15):
            function = rng.randrange(2, TINY.functions)
            for _ in range(rng.randrange(6)):
                await guest.write(ctx, bar(rng.randrange(TINY.functions)) + 0x1000, b"bell")
            choice = rng.random()
            if choice < 0.6:
                answer = await guest.config(ctx, 0x100 | function, spec.PCIE + 8, FLR, size=2)
                assert answer["status"] in (SC, CRS)
            elif choice < 0.8:
                pf = 0x100 | function // 4
                await guest.config_write(ctx, pf, spec.SRIOV + 8, 0x10, 2)
                await guest.config_write(ctx, pf, spec.SRIOV + 8, 0x19, 2)
            else:
                await flr(ctx, guest, rng.randrange(2))
                await world.enumerate(ctx)
            for _ in range(rng.randrange(100)):
                await ctx.tick()
        for function in range(TINY.functions):
            await alive(ctx, guest, 0x100 | function)
            assert (await guest.read(ctx, bar(function), 4))["status"] == SC
        devices = [f for name, f in world.stops if name != "requester"]
        assert sorted(devices) == sorted(f for name, f in world.stops if name == "requester")
    run(story)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`settle` must be 4 to 4096, not 1"):
        Lifecycle(TINY, settle=1)
