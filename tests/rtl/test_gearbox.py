"""Widen and Narrow: octets keep their place."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.rtl.gearbox import Narrow, Widen
from tests.support.streams import Stalls, stream_get, stream_put


def answers(rng, count, lanes):
    """Random answers as (octets, lane, tag, error)."""
    for tag in range(count):
        yield rng.randbytes(rng.choice([1, 2, 16, 63, 64, 65, 130, 512])), rng.randrange(lanes), \
            tag, rng.random() < 0.2


@pytest.mark.parametrize("data_width", [64, 128, 512])
def test_widen_gathers_lines(data_width):
    """Whatever the width, the answer's octets stand in lines of 64, from its lane on."""
    lanes = data_width // 8
    dut = Widen(data_width=data_width, function_id_width=4, tag_width=12)
    rng = random.Random(data_width)
    sent = list(answers(rng, 40, lanes))
    got = []

    async def put(ctx):
        for octets, lane, tag, error in sent:
            line, strobe = bytes(lane) + octets, [0] * lane + [1] * len(octets)
            for at in range(0, len(line), lanes):
                piece = line[at:at + lanes].ljust(lanes, b"\xee")
                mask = sum(bit << n for n, bit in enumerate(strobe[at:at + lanes]))
                last = at + lanes >= len(line)
                ctx.set(dut.i.payload, {"data": list(piece), "strobe": mask, "tag": tag,
                                        "function_id": tag % 16, "first": at == 0, "last": last,
                                        "error": error and last})
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
                if rng.random() < 0.3:
                    await ctx.tick()
        for _ in range(3):
            await ctx.tick()

    async def get(ctx):
        now = []
        async for *_, valid, beat in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                assert beat.first == (not now)
                now.append(beat)
                if beat.last:
                    got.append(now)
                    now = []

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(get, background=True)
    simulator.run()
    assert len(got) == len(sent)
    for (octets, lane, tag, error), lines in zip(sent, got):
        assert len(lines) == (lane + len(octets) + 63) // 64
        found = b"".join(bytes(line.data[n] for n in range(64) if line.strobe >> n & 1)
                         for line in lines)
        assert found == octets
        assert lines[0].strobe & -lines[0].strobe == 1 << lane
        assert {line.tag for line in lines} == {tag}
        assert lines[-1].error == error


@pytest.mark.parametrize("data_width", [64, 128, 512])
def test_narrow_keeps_writes(data_width):
    """A write leaves in as few beats as its octets need, under stalls on both sides."""
    lanes = data_width // 8
    dut = Narrow(data_width=data_width, function_id_width=4, tag_width=12)
    rng = random.Random(data_width)
    sent = [(rng.randbytes(rng.choice([1, 4, 8, 9, 16, 63, 64, 65, 200])), tag)
            for tag in range(40)]
    rest = Stalls(seed=7, chance=0.3)

    async def put(ctx):
        for octets, tag in sent:
            for at in range(0, len(octets), 64):
                while rest():
                    await ctx.tick()
                await stream_put(ctx, dut.i, {
                    "data": list(octets[at:at + 64].ljust(64, b"\xee")), "length": len(octets),
                    "address": 0x1000 * tag, "tag": tag, "function_id": tag % 16,
                    "first": at == 0, "last": at + 64 >= len(octets)})

    async def get(ctx):
        for octets, tag in sent:
            found, beat = b"", None
            while beat is None or not beat.last:
                while rest():
                    await ctx.tick()
                beat = await stream_get(ctx, dut.o)
                assert beat.first == (not found)
                assert (beat.tag, beat.address, beat.length) == (tag, 0x1000 * tag, len(octets))
                found += bytes(beat.data)
            assert found[:len(octets)] == octets
            assert len(found) == (len(octets) + lanes - 1) // lanes * lanes

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(get)
    simulator.run()
