"""Ranges: what is made zero lies inside the volume that the command was given."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.nvme_emul.ranges import RANGE_BLOCKS, Ranges
from offloadcard.nvme_emul.spec import DsmRange, Status
from offloadcard.rtl.octets import pack

BLOCKS = 5000


def segments_of(dut, ranges, *, blocks_4096, stall=0.0):
    """What a command with ``ranges`` makes zero: (offset, length) each; and its final."""
    memory = b"".join(pack(DsmRange, {"cattr": 0, "nlb": nlb, "slba": slba})
                      for slba, nlb in ranges)
    found, finals = [], []
    chance = random.Random(5)

    async def guest(ctx):
        pending = []
        while True:
            ctx.set(dut.reads.requests.ready, 1)
            beat = pending.pop(0) if pending else None
            ctx.set(dut.reads.beats.valid, beat is not None)
            if beat is not None:
                ctx.set(dut.reads.beats.payload, beat)
            *_, asked, p = await ctx.tick().sample(dut.reads.requests.valid,
                                                   dut.reads.requests.payload)
            if asked:
                assert (p.function_id, p.length) == (1, 16)
                at = p.address - 0x40F80 if p.address < 0x41000 else p.address - 0x50000 + 0x80
                octets = memory[at:at + 16]
                assert len(octets) == 16
                pending.append({"data": list(octets.ljust(64, b"\0")), "strobe": 0xFFFF, "tag": 1,
                                "function_id": 1, "first": 1, "last": 1, "error": 0})

    async def store(ctx):
        while True:
            ready = chance.random() >= stall
            ctx.set(dut.segments.ready, ready)
            ctx.set(dut.finals.ready, ready)
            *_, given, p, ended, f = await ctx.tick().sample(
                dut.segments.valid, dut.segments.payload, dut.finals.valid, dut.finals.payload)
            if given and ready:
                assert (p.function_id, p.volume, p.slot, p.zeroes) == (1, 2, 1, 1)
                found.append((p.offset, p.length))
            if ended and ready:
                finals.append((f.slot, f.count, f.status))

    async def command(ctx):
        ctx.set(dut.commands.payload, {
            "slot": 1, "function_id": 1, "volume": 2, "blocks_4096": blocks_4096,
            "blocks": BLOCKS, "prp1": 0x40F80, "prp2": 0x50000, "cdw10": len(ranges) - 1})
        ctx.set(dut.commands.valid, 1)
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.i.payload, 1)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        while not finals:
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(command)
    simulator.add_testbench(guest, background=True)
    simulator.add_testbench(store, background=True)
    simulator.run()
    return found, finals


def ranges_dut():
    return Ranges(function_id_width=1, qid_width=1, slot_width=1, data_width=512)


@pytest.mark.parametrize("blocks_4096", [0, 1])
def test_ranges_become_segments(blocks_4096):
    """Every block of every range that is not too long, once; counted in pieces of 512 octets."""
    size = 4096 if blocks_4096 else 512
    longest = RANGE_BLOCKS * 512 // size
    ranges = [(0, 1), (17, 9), (40, 0), (BLOCKS - 3, 3), (50, longest + 1), (100, 2), (7, 8),
              (600, 21), (30, 4)]
    found, finals = segments_of(ranges_dut(), ranges, blocks_4096=blocks_4096, stall=0.3)
    taken = [(slba, nlb) for slba, nlb in ranges if nlb <= longest]
    want = [slba * size + at for slba, nlb in taken for at in range(0, nlb * size, 512)]
    got = [offset + at for offset, length in found for at in range(0, length, 512)]
    assert got == want
    assert finals == [(1, len(want), 0)]


HOSTILE = [(BLOCKS, 1), (BLOCKS - 1, 2), (1 << 40, 1), ((1 << 64) - 1, 1), (0, 0xFFFF_FFFF),
           ((1 << 64) - 1, 0xFFFF_FFFF), ((1 << 55) + 1, 1)]


@pytest.mark.parametrize("bad", HOSTILE)
def test_nothing_outside(bad):
    found, finals = segments_of(ranges_dut(), [(3, 2), bad, (9, 1)], blocks_4096=0)
    assert found == [(3 * 512, 1024)] and finals == [(1, 2, Status.LBA_OUT_OF_RANGE)]


def test_mutant_is_seen():
    """Without the check a hostile range would leave the house's own walk."""
    dut = ranges_dut()
    dut.check_range = False
    found, _ = segments_of(dut, [(BLOCKS - 1, 2)], blocks_4096=0)
    assert any(offset + length > BLOCKS * 512 for offset, length in found)
