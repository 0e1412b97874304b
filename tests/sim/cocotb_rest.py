"""cocotb: the card's clock rests, and guests have address spaces of their own; see test_rest.py."""

import os
import tempfile

import cocotb
from cocotb.utils import get_sim_time

from offloadcard.config import TINY
from sim.env import Env
from sim.link.world import Event

from .cocotb_link import BAR, master, mrd, mwr, order

QUIET = 200  # clocks


@cocotb.test()
async def time_passes_without_clocks(dut):
    async with Env(dut, TINY, quiet_clocks=QUIET, log=[Event.TLP_DOWN]) as env:
        await env.bus.config_write(0x0100, 0x40, 4, 1)
        before, began = env.world.cycle, env.now_ns
        await env.bus.sleep(1_000_000)
        assert env.rest.resting
        clocks = env.world.cycle - before
        assert QUIET <= clocks < 2 * QUIET, clocks
        assert abs(env.now_ns - began - 1_000_000) < 8
        for odd in (1, 2, 3, 1001):  # wakes at any moment: edges stay on their grid
            await env.bus.sleep(10_000 + odd)
            assert env.rest.resting
            assert await env.bus.config_read(0x0100, 0x40, 4) == 1
            skew = get_sim_time("ps") / 1000 - env.world.now_ps / 1000
            assert abs(skew - 40) < 8, skew  # the reset took ten clocks
        times = env.world.log(Event.TLP_DOWN)["time_ps"]
        assert not (times % 4000).any()
        assert env.world.skipped_ps % 4000 == 0
        assert env.rest.count == 4


@cocotb.test()
async def a_busy_card_does_not_rest(dut):
    async with Env(dut, TINY, quiet_clocks=QUIET) as env:
        for busy in (2000, 0):
            before = env.world.cycle
            await env.bus.config_write(0x0100, 0x40, 4, busy)
            await env.bus.sleep(100_000)
            assert env.rest.resting
            clocks = env.world.cycle - before - busy
            assert QUIET <= clocks < 2 * QUIET, clocks


@cocotb.test()
async def two_stirs_at_once_wake_it_once(dut):
    async with Env(dut, TINY, quiet_clocks=QUIET) as env:
        await env.bus.sleep(5_000)
        tickets = [env.world.config(False, 0x0100, offset, 4) for offset in (0x40, 0x44, 0x48)]
        for ticket in tickets:
            assert (await env.answer(ticket))[0] == 0


@cocotb.test()
async def guests_have_address_spaces_of_their_own(dut):
    async with Env(dut, TINY) as env:
        world = env.world
        await master(env)
        views = {}
        for number in (1, 2):
            file, path = tempfile.mkstemp(dir="/dev/shm")
            os.unlink(path)
            os.ftruncate(file, 0x4000)
            views[number] = world.map_file(0x8000, 0x2000, guest=number, file=file, offset=0x1000)
            os.pwrite(file, bytes([number] * 8), 0x1000)
            assert bytes(views[number][:8]) == bytes([number] * 8)
        for number in (1, 2):
            world.assign(0x0100, number)
            env.mmio_write(BAR, order(mwr(0x0100, 0x8010, 16), bytes([0x10 + number] * 16)))
            await env.bus.sleep(2_000)
        assert [bytes(views[n][16:17]) for n in (1, 2)] == [b"\x11", b"\x12"]
        # Memory that only another guest has is refused by that name.
        views.clear()
        world.unmap(2)
        env.mmio_write(BAR, order(mrd(0x0100, 7, 0x8010, 8)))
        await env.bus.sleep(2_000)
        assert any("memory of another guest" in line for line in world.violations())
        world.violations_clear()


@cocotb.test()
async def the_trace_tells_payloads_apart(dut):
    digests = []
    for value in (5, 5, 6):
        async with Env(dut, TINY) as env:
            await env.bus.config_write(0x0100, 0x40, 4, value)
            digests.append(env.world.trace)
        await env.bus.sleep(100)
    assert digests[0] == digests[1] != digests[2]
