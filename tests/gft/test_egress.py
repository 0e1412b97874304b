"""Egress: packets are what their jobs say, and never rest or change while they are offered."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.gft.egress import Egress
from tests.support.formal import ProofFailed, prove
from tests.support.streams import Stalls


def job_of(frame, *, start, patch, at, lanes):
    """A job, what the buffer reads for it, and the packet: ``patch`` and ``frame[start:]``."""
    beats = [frame[low:low + lanes].ljust(lanes, b"\xEE") for low in range(0, len(frame), lanes)]
    read = beats[start // lanes:] if start < len(frame) else []
    rotate = (at - start) % lanes
    length = at + len(frame) - start
    job = {
        "patch": int.from_bytes(patch, "little"), "mask": (1 << at) - 1,
        "beats": -(-length // lanes), "take": len(read), "lead": at // lanes,
        "ahead": at % lanes < start % lanes and bool(read), "rotate": rotate, "length": length,
        "leads": at >= lanes, "reads": bool(read), "one": len(read) == 1,
        "one_beat": length <= lanes,
    }
    turned = [beat[-rotate:] + beat[:-rotate] if rotate else beat for beat in read]
    return job, turned, patch[:at] + frame[start:]


@pytest.mark.parametrize("data_width", (64, 512))
def test_any_shift(data_width):
    """Random lengths and shifts with stalls on all sides: octets arrive where they shall."""
    lanes, rng = data_width // 8, random.Random(data_width)
    dut = Egress(data_width=data_width, function_id_width=2)
    packets = []
    for _ in range(60):
        frame = bytes(rng.randrange(256) for _ in range(rng.randrange(60, 200)))
        start, at = rng.choice((0, 14, 16, 18, 50, 64, 68, 72)), rng.choice((0, 12, 14, 64, 68))
        start = min(start, len(frame))
        packets.append(job_of(frame, start=start, patch=bytes(rng.randrange(256) for _ in range(
            152)), at=at or (1 if start == len(frame) else 0), lanes=lanes))
    got, done = [], []

    async def jobs(ctx):
        for job, *_ in packets:
            ctx.set(dut.jobs.payload, job)
            ctx.set(dut.jobs.valid, 1)
            await ctx.tick().until(dut.jobs.ready)
            ctx.set(dut.jobs.valid, 0)

    async def beats(ctx):
        stalls = Stalls(1, 0.3)
        for _, read, _ in packets:
            for beat in read:
                while stalls():
                    await ctx.tick()
                ctx.set(dut.beats.payload, int.from_bytes(beat, "little"))
                ctx.set(dut.beats.valid, 1)
                await ctx.tick().until(dut.beats.ready)
                ctx.set(dut.beats.valid, 0)

    async def take(ctx):
        stalls, frame = Stalls(2, 0.3), b""
        while len(got) < len(packets):
            ready = not stalls()
            ctx.set(dut.o.ready, ready)
            *_, valid, beat, ended = await ctx.tick().sample(dut.o.valid, dut.o.payload, dut.done)
            done.append(ended)
            if valid and ready:
                assert bool(beat.first) == (frame == b"")
                frame += beat.data.to_bytes(lanes, "little")
                if beat.last:
                    got.append(frame[:beat.length])
                    frame = b""

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in (jobs, beats, take):
        simulator.add_testbench(bench)
    simulator.run()
    for number, (_, _, frame) in enumerate(packets):
        assert got[number] == frame, number
    assert sum(done) == len(packets)


class EgressSpec(Elaboratable):
    """Stream rules of the output; and the destination is the job's, from first to last."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        o, jobs = dut.o, dut.jobs
        before, stalled = Signal.like(o.payload.as_value()), Signal()
        m.d.sync += [stalled.eq(o.valid & ~o.ready), before.eq(o.payload)]
        with m.If(stalled):
            m.d.comb += Assert(o.valid & (o.payload.as_value() == before))
        # The producer of jobs keeps these rules, too.
        job_before, waits = Signal.like(jobs.payload.as_value()), Signal()
        m.d.sync += [waits.eq(jobs.valid & ~jobs.ready), job_before.eq(jobs.payload)]
        with m.If(waits):
            m.d.comb += Assume(jobs.valid & (jobs.payload.as_value() == job_before))
        m.d.comb += [
            Assume(jobs.p.reads == (jobs.p.take != 0)), Assume(jobs.p.leads == (jobs.p.lead != 0)),
            Assume(jobs.p.one_beat == (jobs.p.beats == 1)),
        ]
        # A beat that leaves was made in the cycle before, of the job that was there.
        owner = Signal.like(o.p.function_id)
        m.d.sync += owner.eq(jobs.p.function_id)
        with m.If(o.valid & ~stalled):
            m.d.comb += Assert(o.p.function_id == owner)
        # No octet shows but of this job's own patch or reading: an unread one is 0.
        reading, masked = Signal(), Signal(8)
        m.d.sync += [reading.eq(jobs.p.take != 0), masked.eq(jobs.p.mask[:8])]
        first_beat = Signal()
        m.d.comb += first_beat.eq(o.valid & ~stalled & o.p.first & ~reading)
        for lane in range(8):
            with m.If(first_beat & ~masked[lane]):
                m.d.comb += Assert(o.p.data[8 * lane:8 * lane + 8] == 0)
        return m


class LeakyEgress(Egress):
    """A mutant: octets read for one packet show in the next."""
    _forgets = False


@pytest.mark.formal
def test_egress_spec():
    widths = {"data_width": 64, "function_id_width": 2}
    prove(EgressSpec(Egress(**widths)), depth=5)
    with pytest.raises(ProofFailed):
        prove(EgressSpec(LeakyEgress(**widths)), depth=5)
