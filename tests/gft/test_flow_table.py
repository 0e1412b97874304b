"""Hash and table: an attacker who could make two UFIDs collide would still not be another."""

import random

import pytest
from amaranth.hdl import Shape
from amaranth.sim import Simulator

from offloadcard.gft.flow_table import LATENCY, FlowTable
from offloadcard.gft.keyed_hash import KeyedHash, expand, toeplitz
from offloadcard.gft.spec import Key, Opcode, Status

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


class ForgetfulTable(FlowTable):
    """A mutant: believes the hash."""
    _compares_key = False


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


def test_collision_is_no_hit():
    assert collide(FlowTable(flows=16)) == [0, (Status.COLLISION, 3)]
    assert collide(ForgetfulTable(flows=16))[0] == 1, "the mutant must be seen"


def test_bad_parameter():
    with pytest.raises(ValueError, match="`flows` must be a power of two, 16 or more, not 8"):
        FlowTable(flows=8)
    assert Shape.cast(Key).width == KEY_BITS
