"""What is asked for at once, and what slow memory takes of it."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.pcie.window import ReadWindow

SLOTS, WINDOW, LATE = 64, 8192, 256


class StubbornWindow(ReadWindow):
    """What is never answered counts for ever."""
    _forgets = False


class NarrowWindow(ReadWindow):
    """A host far away is never seen."""
    _widens = False


def test_bad_parameter():
    with pytest.raises(ValueError, match="`slots` must be a power of two, 2 or more, not 3"):
        ReadWindow(slots=3, octets=4096, late_cycles=LATE)
    for octets in (508, 4095):
        with pytest.raises(ValueError, match="`octets` must be at least 512 and a multiple of 4, "
                                             f"not {octets}"):
            ReadWindow(slots=64, octets=octets, late_cycles=LATE)


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("seed", range(3))
def test_open_while_there_is_room(seed):
    """Requests of any length, answered in any order, slots taken again: at rest the window is open
    if and only if what is under way is less than it, and never much more is."""
    dut, rng, under_way = ReadWindow(slots=SLOTS, octets=WINDOW, late_cycles=1 << 20), \
        random.Random(seed), {}
    verdicts = set()

    async def bench(ctx):
        resting = {}
        for cycle in range(6000):
            free = [slot for slot in range(SLOTS)
                    if slot not in under_way and resting.get(slot, -9) < cycle - 4]
            more = bool(free) and rng.random() < 0.5 and ctx.get(dut.open)
            ctx.set(dut.opened.valid, more)
            if more:
                slot = rng.choice(free)
                under_way[slot] = rng.choice((1, 64, 300, 512))
                ctx.set(dut.opened.payload, {"slot": slot, "octets": under_way[slot]})
            ends = [slot for slot in under_way if not more or slot != ctx.get(dut.opened.p.slot)]
            ends = ends if rng.random() < 0.4 else []
            ctx.set(dut.answered.valid, bool(ends))
            if ends:
                slot = rng.choice(ends)
                ctx.set(dut.answered.payload, {"slot": slot, "error": 0})
                del under_way[slot]
                resting[slot] = cycle
            await ctx.tick()
            assert sum(under_way.values()) < WINDOW + 4 * 512
            if rng.random() < 0.05:
                ctx.set(dut.opened.valid, 0)
                ctx.set(dut.answered.valid, 0)
                await ctx.tick().repeat(4)
                verdicts.add(ctx.get(dut.open))
                assert ctx.get(dut.open) == (sum(under_way.values()) < WINDOW)

    run(dut, bench)
    assert verdicts == {0, 1}


@pytest.mark.parametrize("kind", [ReadWindow, StubbornWindow])
def test_late_reads_do_not_count(kind):
    """A window full of reads that are never answered opens when they are late, not before; their
    answers, later still, change nothing."""
    dut = kind(slots=SLOTS, octets=WINDOW, late_cycles=LATE)

    async def bench(ctx):
        async def fill(first):
            for slot in range(first, first + WINDOW // 512):
                ctx.set(dut.opened.payload, {"slot": slot, "octets": 512})
                ctx.set(dut.opened.valid, 1)
                await ctx.tick()
            ctx.set(dut.opened.valid, 0)
            await ctx.tick().repeat(4)
            assert not ctx.get(dut.open)

        await fill(0)
        await ctx.tick().repeat(LATE - 64)
        assert not ctx.get(dut.open)
        await ctx.tick().repeat(2 * SLOTS + 128)
        assert ctx.get(dut.open) == (kind is ReadWindow), "the mutant must be seen"
        if kind is StubbornWindow:
            return
        await fill(32)
        for slot in range(WINDOW // 512):
            ctx.set(dut.answered.payload, {"slot": slot, "error": 0})
            ctx.set(dut.answered.valid, 1)
            await ctx.tick()
        ctx.set(dut.answered.valid, 0)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.open)

    run(dut, bench)


@pytest.mark.parametrize("kind", [ReadWindow, NarrowWindow])
def test_a_host_far_away(kind):
    """The shortest good answer widens the window in proportion; a refusal, and what is slower for
    others' sake, does not change it; a prompt answer brings it back."""
    dut   = kind(slots=SLOTS, octets=WINDOW, late_cycles=1024)
    shown = []

    async def bench(ctx):
        async def trip(cycles, error=0):
            ctx.set(dut.opened.payload, {"slot": 0, "octets": 512})
            ctx.set(dut.opened.valid, 1)
            await ctx.tick()
            ctx.set(dut.opened.valid, 0)
            await ctx.tick().repeat(cycles - 1)
            await answer(0, error)
            await ctx.tick().repeat(4)

        async def answer(slot, error=0):
            ctx.set(dut.answered.payload, {"slot": slot, "error": error})
            ctx.set(dut.answered.valid, 1)
            await ctx.tick()
            ctx.set(dut.answered.valid, 0)

        async def room():
            """Requests of 512 octets until it closes."""
            slot = 0
            while ctx.get(dut.open):
                ctx.set(dut.opened.payload, {"slot": slot, "octets": 512})
                ctx.set(dut.opened.valid, 1)
                await ctx.tick()
                ctx.set(dut.opened.valid, 0)
                await ctx.tick().repeat(3)
                slot += 1
            shown.append(slot * 512 / WINDOW)
            for taken in range(slot):
                await answer(taken, error=1)  # refusals, to say nothing of the host
            await ctx.tick().repeat(4)

        await room()
        await trip(64, error=1)
        await trip(8 * 32)
        await room()
        await trip(24 * 32)
        await room()
        await trip(6 * 32)
        await room()
        await trip(2 * 32)
        await room()

    run(dut, bench)
    assert shown == ([1, 2, 2, 1.5, 1] if kind is ReadWindow else 5 * [1])
