"""Each function has a slot of its own: commands in flight, by function."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.nvme_emul.share import Share
from offloadcard.nvme_emul.submission import Submission

SLOTS, HOSTILE, VICTIM = 64, 30, 31
FETCHES = 16


class GreedySubmission(Submission):
    """Whoever comes first has the slots."""
    _keeps_slots = False


class GreedyFetches(Submission):
    """Whoever comes first has the fetches."""
    _keeps_fetches = False


def visits(kind, *, rounds, silent=False):
    """Cycles until each of a victim's commands is fetched, one after the other, beside functions
    with many whose commands never end; ``None`` where it was not. And what the others hold. Their
    queues are read, or ``silent``."""
    dut = kind(function_id_width=5, qid_width=1, queues=1, slots=SLOTS, cap=16, functions=32,
               fetches=FETCHES, count_width=16)
    tails, ended, held, waits = {}, {}, {}, []

    async def bench(ctx):
        ctx.set(dut.allowed, 1)
        ctx.set(dut.fetches_left, FETCHES)
        ctx.set(dut.fetches.ready, 1)
        for function_id in (*range(HOSTILE), VICTIM):
            for completion in (1, 0):
                ctx.set(dut.updates.payload, {
                    "function_id": function_id, "completion": completion, "valid": 1, "size": 255})
                ctx.set(dut.updates.valid, 1)
                await ctx.tick().until(dut.updates.ready)
                ctx.set(dut.updates.valid, 0)
        for function_id in range(HOSTILE):
            await ring(ctx, function_id, 64)
        await ctx.tick().repeat(4000)
        for number in range(rounds):
            await ring(ctx, VICTIM, number + 1)
            cycles = 0
            while held.get(VICTIM, 0) == number and cycles < 2000:
                await ctx.tick()
                cycles += 1
            waits.append(cycles if held.get(VICTIM, 0) > number else None)
            if waits[-1] is None:
                return
            ended[VICTIM] = number + 1
            ctx.set(dut.released.payload, {"function_id": VICTIM, "qid": 0})
            ctx.set(dut.released_count, 1)
            ctx.set(dut.released.valid, 1)
            await ctx.tick()
            ctx.set(dut.released.valid, 0)

    async def ring(ctx, function_id, tail):
        tails[function_id] = tail
        ctx.set(dut.work.payload, function_id << 1)
        ctx.set(dut.work.valid, 1)
        await ctx.tick()
        ctx.set(dut.work.valid, 0)

    async def tables(ctx):
        """What is looked up, one cycle after the address; fetches are over at once."""
        async for *_, tail, done in ctx.tick().sample(dut.tail_address, dut.done_address):
            ctx.set(dut.tail, tails.get(tail >> 1, 0))
            ctx.set(dut.done, ended.get(done, 0))
            ctx.set(dut.fetched, fetched.get(done, 0))

    fetched, left = {}, [FETCHES]

    async def fetch(ctx):
        while True:
            _, _, taken, p = await ctx.tick().sample(dut.fetches.valid & dut.fetches.ready,
                                                     dut.fetches.payload)
            if taken:
                assert not p.own or p.count == 1
                held[p.function_id] = held.get(p.function_id, 0) + p.count
                if not silent or p.function_id == VICTIM:
                    fetched[p.function_id] = fetched.get(p.function_id, 0) + 1
                elif not p.own:
                    left[0] -= 1
                    ctx.set(dut.fetches_left, left[0])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(tables, background=True)
    simulator.add_testbench(fetch, background=True)
    simulator.run()
    return waits, [held.get(function_id, 0) for function_id in range(HOSTILE)]


def test_each_function_has_a_slot():
    """Thirty functions hold all that is shared, and their commands never end: each has one at
    least, and another's commands go, each within one visit."""
    waits, held = visits(Submission, rounds=8)
    assert min(held) >= 1 and sum(held) <= SLOTS - 2
    assert None not in waits and max(waits) <= 20, waits
    waits, held = visits(GreedySubmission, rounds=1)
    assert sum(held) > SLOTS - 2 or min(held) == 0, "the mutant must be seen"


def test_each_function_has_a_fetch():
    """The same with queues that are never read: each has one fetch at least."""
    waits, held = visits(Submission, rounds=8, silent=True)
    assert min(held) >= 1 and None not in waits and max(waits) <= 20, waits
    waits, held = visits(GreedyFetches, rounds=1, silent=True)
    assert min(held) == 0 and waits == [None], "the mutant must be seen"


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shared(seed):
    """Takes and returns of five functions as they come: what is held beyond one by each."""
    dut, held, rng = Share(function_id_width=3, places=40), [0] * 8, random.Random(seed)

    async def bench(ctx):
        wait, took = 0, False
        for _ in range(4000):
            shared = sum(max(0, n - 1) for n in held)
            take, function_id = rng.randrange(4) == 0, rng.randrange(5)
            count = rng.randrange(1, 9)
            take = take and not took and shared + count <= 40
            took = take
            ctx.set(dut.takes.valid, take)
            if take:
                ctx.set(dut.takes.payload, {"function_id": function_id, "count": count})
                held[function_id] += count
            owner, wait = rng.randrange(5), max(0, wait - 1)
            back = not take and wait == 0 and held[owner] and rng.random() < 0.5
            back = back or (take and wait == 0 and held[owner] > count and owner != function_id)
            ctx.set(dut.returns.valid, bool(back))
            if back:
                count = rng.randint(1, min(8, held[owner]))
                ctx.set(dut.returns.payload, {"function_id": owner, "count": count})
                held[owner], wait = held[owner] - count, 2
            await ctx.tick()
            if rng.random() < 0.02:
                took = False
                ctx.set(dut.takes.valid, 0)
                ctx.set(dut.returns.valid, 0)
                await ctx.tick().repeat(5)
                assert ctx.get(dut.used) == sum(max(0, n - 1) for n in held)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_bad_parameter():
    with pytest.raises(ValueError, match="`functions` must be 1 to half of `slots`, not 9"):
        Submission(function_id_width=4, qid_width=1, queues=1, slots=16, cap=16, functions=9,
                   fetches=4, count_width=8)
