"""Whose memory is silent leaves the others room: pieces of writes in flight, by function."""

from amaranth.sim import Simulator

from offloadcard.nvme_emul.prp import PrpWalk

WIDTHS = {"function_id_width": 5, "qid_width": 4, "slot_width": 8, "data_width": 512}
PLACES, CAP, HOSTILE, COMMANDS = 128, 64, 15, 14
VICTIM = 20


class GreedyWalk(PrpWalk):
    """A function takes what it can get."""
    _leaves_room = False


class TrustingWalk(PrpWalk):
    """Who is new is trusted."""
    _confines = False


def walk(kind, *, rounds, hostile=HOSTILE, unproven=False):
    """Cycles of each page of a victim's writes, one after the other, beside functions whose pieces
    never end; ``None`` where it did not come. And how many pieces the others hold. They are
    ``unproven``, or have answered before; the victim has."""
    dut, waits, held = kind(**WIDTHS, cap=CAP, places=PLACES), [], []
    free = [PLACES]
    ended = {}

    async def issue(ctx, slot, function_id):
        ctx.set(dut.commands.p.slot, slot)
        ctx.set(dut.commands.p.function_id, function_id)
        ctx.set(dut.commands.p.octets, 4096)
        ctx.set(dut.commands.p.prp1, 0x1000 * (1 + slot))
        ctx.set(dut.commands.valid, 1)
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.i.payload, slot)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def pieces_end(ctx):
        for _ in range(8):
            ended[VICTIM] = ended.get(VICTIM, 0) + 1
            free[0] += 1
            ctx.set(dut.ended, 1)
            await ctx.tick()
        ctx.set(dut.ended, 0)

    async def bench(ctx):
        ctx.set(dut.finals.ready, 1)
        for number in range(COMMANDS):
            for function_id in range(hostile):
                await issue(ctx, number * hostile + function_id, function_id)
        await ctx.tick().repeat(20_000)
        held.append(PLACES - free[0])
        for _ in range(rounds):
            seen = came[VICTIM]
            await issue(ctx, 255, VICTIM)
            cycles = 0
            while came[VICTIM] == seen and cycles < 20_000:
                await ctx.tick()
                cycles += 1
            waits.append(cycles if came[VICTIM] > seen else None)
            await ctx.tick().repeat(100)
            if waits[-1] is None:
                return
            await pieces_end(ctx)

    came = {VICTIM: 0}

    async def transfer(ctx):
        """Takes a segment when there are tags for it, as the transfer does."""
        while True:
            ctx.set(dut.segments.ready, free[0] >= 8)
            _, _, taken, page = await ctx.tick().sample(
                dut.segments.valid & dut.segments.ready, dut.segments.payload)
            if taken:
                free[0] -= 8
                came[page.function_id] = came.get(page.function_id, 0) + 1

    async def counts(ctx):
        """What has ended, one cycle after the address."""
        async for *_, function_id in ctx.tick().sample(dut.done_address):
            ctx.set(dut.done, ended.get(function_id, 0))
            ctx.set(dut.unproven, unproven and function_id != VICTIM)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(transfer, background=True)
    simulator.add_testbench(counts, background=True)
    simulator.run()
    return waits, held[0]


def test_silent_memory_leaves_room():
    """Fifteen functions with 210 writes whose memory never answers: another's pages go, each
    within the turns of a few."""
    waits, held = walk(PrpWalk, rounds=12)
    assert held <= PLACES - 8 and None not in waits
    assert max(waits) <= 60, waits
    waits, held = walk(GreedyWalk, rounds=1)
    assert held > PLACES - 8 and waits == [None], "the mutant must be seen"


def test_who_is_new_takes_a_quarter():
    """Eighteen functions whose memory was never asked before, and never answers: they hold a
    quarter of the places together, and leave another the rest."""
    waits, held = walk(PrpWalk, rounds=12, hostile=18, unproven=True)
    assert held <= PLACES // 4 and None not in waits
    assert max(waits) <= 60, waits
    waits, held = walk(TrustingWalk, rounds=1, hostile=18, unproven=True)
    assert held > PLACES - 16, "the mutant must be seen"
