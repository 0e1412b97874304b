"""Hash and table: an attacker who could make two UFIDs collide would still not be another."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume, Shape
from amaranth.lib import data
from amaranth.sim import Simulator

from offloadcard.gft import rows
from offloadcard.gft.flow_table import LATENCY, FlowTable
from offloadcard.gft.keyed_hash import KeyedHash, expand, toeplitz
from offloadcard.gft.rows import Rows
from offloadcard.gft.spec import FlowEntry, Key, Opcode, Status
from tests.support.formal import ProofFailed, prove

KEY_BITS = 384


def test_hash_equals_the_formula():
    """Default key, then that of a seed with few ones, which must not be a weak one."""
    dut, rng = KeyedHash(width=48, bits=12), random.Random(1)
    length = 48 + 12 - 1

    async def bench(ctx):
        for seed in (None, 1):
            if seed is not None:
                ctx.set(dut.seed, seed)
                ctx.set(dut.load, 1)
                await ctx.tick()
                ctx.set(dut.load, 0)
                await ctx.tick().until(dut.ready)
            key = expand(seed or 0, length)
            assert 15 < key.bit_count() < 45
            for _ in range(20):
                value = rng.getrandbits(48)
                ctx.set(dut.i, value)
                await ctx.tick()
                assert ctx.get(dut.o) == toeplitz(key, value, bits=12)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def colliding_difference(bits):
    """A difference of two keys that the default hash does not see: by Gauss, over the seed."""
    key = expand(0, KEY_BITS + bits - 1)
    # Columns of the hash's matrix: hash of each single bit. Find a sum of them that is 0.
    basis = {}
    for n in range(16, 16 + bits + 1):
        value, combination = toeplitz(key, 1 << n, bits=bits), 1 << n
        while value:
            top = value.bit_length()
            if top not in basis:
                basis[top] = (value, combination)
                break
            value, combination = value ^ basis[top][0], combination ^ basis[top][1]
        else:
            return combination
    raise AssertionError("more columns than rows must be dependent")


def collide(dut):
    """Insert one key; look up another of the same hash. (hit, status of inserting it)"""
    flat = 0x0A000001_0A000002
    other = flat ^ colliding_difference(dut.hash_width)
    result = []

    async def command(ctx, opcode, handle, key):
        ctx.set(dut.commands.payload, {
            "command": {"opcode": opcode, "handle": handle},
            "key": Key.from_bits(key), "entry": {"destination": 1}})
        ctx.set(dut.commands.valid, 1)
        await ctx.tick().until(dut.commands.ready)
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.completions.ready, 1)
        done, = await ctx.tick().sample(dut.completions.payload).until(dut.completions.valid)
        ctx.set(dut.completions.ready, 0)
        return done

    async def look(ctx, key):
        ctx.set(dut.key, Key.from_bits(key))
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(LATENCY - 1)
        return ctx.get(dut.o.hit)

    async def bench(ctx):
        ctx.set(dut.cleared, 1)
        await ctx.tick().until(dut.ready)
        assert (await command(ctx, Opcode.INSERT, 3, flat)).status == Status.OK
        assert await look(ctx, flat)
        result.append(await look(ctx, other))
        done = await command(ctx, Opcode.INSERT, 4, other)
        result.append((done.status, done.handle))
        assert await look(ctx, flat)
        # The row that was written for it is free again.
        assert (await command(ctx, Opcode.DELETE, 4, other)).status == Status.NOT_FOUND
        # Under another seed the table is empty, and the two do not collide any more.
        ctx.set(dut.seed, 0x1234_5678_9ABC_DEF0)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        await ctx.tick().until(dut.ready)
        for handle, value in ((4, other), (3, flat)):
            assert not await look(ctx, value)
            assert (await command(ctx, Opcode.INSERT, handle, value)).status == Status.OK
            assert await look(ctx, value)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result


def test_collision_is_no_hit(monkeypatch):
    assert collide(FlowTable(flows=16)) == [0, (Status.COLLISION, 3)]
    monkeypatch.setattr(Rows, "_compares_key", False)
    assert collide(FlowTable(flows=16))[0] == 1, "the mutant must be seen"


class RowsSpec(Elaboratable):
    """One chosen row: a hit there was looked up by the very key that was last written to it, and
    gets the very entry that was written with it; and such a lookup does hit."""

    def __init__(self, dut):
        self.dut  = dut
        self.row  = Signal(dut.row_width)
        self.free = [self.row]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        started, row_r = Signal(), Signal.like(self.row)
        m.d.sync += [started.eq(1), row_r.eq(self.row)]
        with m.If(started):
            m.d.comb += Assume(row_r == self.row)
        key, entry = Signal(384), Signal(FlowEntry)
        with m.If(dut.write & (dut.engine_row == self.row)):
            m.d.sync += [key.eq(dut.write_key), entry.as_value().eq(dut.write_entry)]

        # What was true in the lookup's first cycle, when the memory was read.
        facts = data.StructLayout({"same": 1, "entry": FlowEntry, "warm": 1})
        asked = Signal(facts)
        m.d.comb += [
            asked.same.eq(dut.found & (dut.row == self.row) & (dut.key == key) & entry.valid),
            asked.entry.eq(entry), asked.warm.eq(1),
        ]
        for cycle in range(rows.LATENCY):
            later = Signal(facts, name=f"asked_{cycle}")
            m.d.sync += later.eq(asked)
            asked = later
        with m.If(asked.warm):
            m.d.comb += Assert((dut.hit & (dut.handle == self.row)) == asked.same)
            with m.If(asked.same):
                m.d.comb += Assert(dut.entry.as_value() == asked.entry.as_value())
        return m


class ForgetfulRows(Rows):
    """A mutant: believes the hash."""
    _compares_key = False


@pytest.mark.formal
def test_rows_spec():
    """A packet never gets the action of another key."""
    prove(RowsSpec(Rows(row_width=1)), depth=6)
    with pytest.raises(ProofFailed):
        prove(RowsSpec(ForgetfulRows(row_width=1)), depth=6)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`flows` must be a power of two, 16 or more, not 8"):
        FlowTable(flows=8)
    assert Shape.cast(Key).width == KEY_BITS


def rates(commands, *, busy=0):
    """Cycles from the first completion to the last of ``commands``, back to back; ``busy`` of each
    8 cycles hold a packet that is looked up."""
    dut = FlowTable(flows=64)
    cycles, taken = [], []

    async def lookups(ctx):
        number = 0
        while True:
            number += 1
            ctx.set(dut.key, Key.from_bits(number << 20))
            ctx.set(dut.valid, number % 8 < busy and not ctx.get(dut.hole))
            await ctx.tick()

    async def count(ctx):
        number = 0
        async for *_, valid, payload in ctx.tick().sample(dut.completions.valid,
                                                          dut.completions.payload):
            number += 1
            if valid:
                assert payload.status == Status.OK
                cycles.append(number)
                taken.append(payload.handle)

    async def clears(ctx):
        async for *_, clear in ctx.tick().sample(dut.clear):
            ctx.set(dut.cleared, clear and not ctx.get(dut.cleared))

    async def bench(ctx):
        ctx.set(dut.completions.ready, 1)
        await ctx.tick().until(dut.ready)
        for opcode, handle, epoch in commands:
            ctx.set(dut.commands.payload, {
                "command": {"opcode": opcode, "handle": handle, "epoch": epoch},
                "key": Key.from_bits(0x0A000001 + (handle << 64)), "entry": {"destination": 1}})
            ctx.set(dut.commands.valid, 1)
            await ctx.tick().until(dut.commands.ready)
        ctx.set(dut.commands.valid, 0)
        while len(cycles) < len(commands):
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for other in (lookups, count, clears):
        simulator.add_testbench(other, background=True)
    simulator.run()
    return cycles[-1] - cycles[0], taken


INSERTS = [(Opcode.INSERT, n, 0) for n in range(33)]


def test_rates_of_the_engine():
    """Inserts, deletes and expiries back to back, alone: cycles each, and what that makes of a
    second at 250 MHz."""
    count = len(INSERTS) - 1
    assert rates(INSERTS)[0] / count == 13                      # 19.2 million a second
    deletes = INSERTS + [(Opcode.DELETE, n, 0) for n in range(33)]
    assert rates(deletes)[0] - 13 * count == 12 * (count + 1)
    # One after the other is found and taken out; a row that is passed costs a cycle.
    expiries = INSERTS + [(Opcode.EXPIRE, n, 1) for n in range(33)]
    spent, taken = rates(expiries)
    assert taken[33:] == list(range(33))
    assert spent - 13 * count == 16 * (count + 1)
    # Beside packets in 7 of 8 cycles the engine asks for its holes, and loses little.
    assert rates(INSERTS, busy=7)[0] / count <= 16
