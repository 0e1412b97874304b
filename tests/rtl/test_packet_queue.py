"""PacketQueue: whole packets in order, or nothing of them."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.sim import Simulator

from offloadcard.rtl.packet_queue import PacketQueue
from tests.support.formal import ProofFailed, prove
from tests.support.streams import Stalls, stream_get

BEAT = data.StructLayout({"number": 8, "first": 1, "last": 1})


def run(dut, packets, *, expect, chance=0.3, seed=1):
    """Put ``packets`` of ``(numbers, meta, discard, torn)`` without a rest; take ``expect``."""
    taken, events = [], {"overrun": 0, "torn": 0}

    async def put(ctx):
        for numbers, meta, discard, torn in packets:
            for place, number in enumerate(numbers):
                last = place == len(numbers) - 1 and not torn
                ctx.set(dut.i.payload, {"number": number, "first": place == 0, "last": last})
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.meta, meta if last else 0xAA)
                ctx.set(dut.discard, discard if last else 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)

    async def take(ctx):
        stalls = Stalls(seed, chance)
        while len(taken) < expect:
            while stalls():
                await ctx.tick()
            taken.append(await stream_get(ctx, dut.o))

    async def watch(ctx):
        async for *_, overrun, torn in ctx.tick().sample(dut.overrun, dut.torn):
            events["overrun"] += overrun
            events["torn"] += torn

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(take)
    simulator.add_testbench(watch, background=True)
    simulator.run_until(1e-6 * 2000)
    return [(t.beat.number, t.beat.first, t.beat.last, t.meta) for t in taken], events


def beats_of(numbers, meta):
    return [(n, int(i == 0), int(i == len(numbers) - 1), meta) for i, n in enumerate(numbers)]


def test_discarded_and_torn_packets_leave_no_trace():
    rng = random.Random(7)
    packets, expected, torn_count = [], [], 0
    for _ in range(40):
        numbers = [rng.randrange(256) for _ in range(rng.randrange(1, 5))]
        torn, discard, meta = rng.random() < 0.2, rng.random() < 0.3, rng.randrange(256)
        packets.append((numbers, meta, discard, torn))
        torn_count += torn
        if not torn and not discard:
            expected += beats_of(numbers, meta)
    packets.append(([1], 2, False, False))
    expected += beats_of([1], 2)
    dut = PacketQueue(BEAT, meta_shape=8, depth=256)
    taken, events = run(dut, packets, expect=len(expected))
    assert taken == expected
    assert events == {"overrun": 0, "torn": torn_count}


def test_a_packet_without_room_is_lost_whole():
    dut = PacketQueue(BEAT, meta_shape=8, depth=8)
    packets = [([1, 2, 3], 1, False, False), (list(range(10)), 2, False, False),
               ([4, 5], 3, False, False), (list(range(9)), 4, True, False),
               ([6], 5, False, False)]
    expected = beats_of([1, 2, 3], 1) + beats_of([4, 5], 3) + beats_of([6], 5)
    taken, events = run(dut, packets, expect=len(expected), chance=0.9)
    assert taken == expected
    assert events["overrun"] == 1, "what was to be discarded anyway is no overrun"


def test_one_beat_a_clock_and_latency():
    """Ten one-beat packets back to back leave back to back, the first after 2 cycles."""
    dut = PacketQueue(BEAT, meta_shape=8, depth=16)
    seen = []

    async def put(ctx):
        ctx.set(dut.o.ready, 1)
        for number in range(10):
            ctx.set(dut.i.payload, {"number": number, "first": 1, "last": 1})
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(8)

    async def watch(ctx):
        cycle = 0
        async for *_, valid, payload in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                seen.append((cycle, payload.beat.number))
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert seen == [(2 + n, n) for n in range(10)]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_bad_parameter(depth):
    with pytest.raises(ValueError, match="`depth` must be a power of two, 2 or more"):
        PacketQueue(BEAT, meta_shape=8, depth=depth)


class PacketQueueSpec(Elaboratable):
    """What leaves was committed: a beat of a discarded or torn packet never does.

    One free mark rides on all beats of a packet that will not be kept, and on no other.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        # The producer: number's bit 0 marks packets that are to be discarded, constant in one.
        inside, mark = Signal(), Signal()
        beat = dut.i.p
        doomed = Signal()
        m.d.comb += doomed.eq(beat.number[0])
        with m.If(dut.i.valid):
            m.d.sync += [inside.eq(~beat.last), mark.eq(doomed)]
            with m.If(inside & ~beat.first):
                m.d.comb += Assume(doomed == mark)
            with m.If(inside & beat.first):
                m.d.comb += Assume(mark)  # torn: the packet before was marked
            with m.If(beat.last):
                m.d.comb += Assume(dut.discard == doomed)
            with m.If(~inside):
                m.d.comb += Assume(beat.first)
        o_inside, stalled = Signal(), Signal()
        before = Signal.like(dut.o.payload.as_value())
        out = dut.o.p.beat
        m.d.sync += [stalled.eq(dut.o.valid & ~dut.o.ready), before.eq(dut.o.payload)]
        with m.If(stalled):
            m.d.comb += Assert(dut.o.valid & (dut.o.payload.as_value() == before))
        with m.If(dut.o.valid):
            m.d.comb += Assert(~out.number[0])
            m.d.comb += Assert(out.first == ~o_inside)
            with m.If(dut.o.ready):
                m.d.sync += o_inside.eq(~out.last)
        return m


SMALL = data.StructLayout({"number": 1, "first": 1, "last": 1})


@pytest.mark.formal
def test_spec_only_what_was_committed_leaves():
    prove(PacketQueueSpec(PacketQueue(SMALL, meta_shape=1, depth=4)), depth=10)


@pytest.mark.formal
def test_spec_sees_a_mutant():
    class Broken(PacketQueue):
        _rolls_back = False

    with pytest.raises(ProofFailed):
        prove(PacketQueueSpec(Broken(SMALL, meta_shape=1, depth=4)), depth=10)
