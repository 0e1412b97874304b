"""The latencies that the docstrings of requester and writer promise."""

from amaranth.sim import Simulator

from offloadcard.config import TINY
from offloadcard.pcie.requester import ReadRequester
from offloadcard.pcie.writer import Writer
from tests.support.completer import Completer, beats_of


def run(dut, story):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(story)
    simulator.run()


async def prepare(ctx, dut, *limits):
    ctx.set(dut.link_up, 1)
    for limit in limits:
        ctx.set(limit.infinite, 1)
    ctx.set(dut.rows.payload, {"function_id": 2, "alive": 1, "bus_master": 1})
    ctx.set(dut.rows.valid, 1)
    await ctx.tick()
    ctx.set(dut.rows.valid, 0)
    for _ in range(TINY.pcie_tags + 8):
        await ctx.tick()


async def cycles_until(ctx, stream, source):
    """Cycles from the present one, in which ``source`` is offered, to ``stream``'s first beat."""
    for count in range(1, 40):
        await ctx.tick()
        ctx.set(source.valid, 0)
        if ctx.get(stream.valid):
            return count
    raise AssertionError("nothing came")


def test_read_latency():
    """Request in → TLP out 4 cycles; completion in → answer out 7 cycles."""
    dut, found = ReadRequester(TINY), []

    async def story(ctx):
        await prepare(ctx, dut, dut.headers)
        requests = dut.ports[0].requests
        ctx.set(requests.payload, {"function_id": 2, "address": 0x1000, "length": 8})
        ctx.set(requests.valid, 1)
        found.append(await cycles_until(ctx, dut.reads, requests))
        completer = Completer(seed=1, read_max=512)
        completer.request(ctx.get(dut.reads.p.header))
        ctx.set(dut.reads.ready, 1)
        await ctx.tick()
        beat, = beats_of(*completer.next(), TINY.data_width)
        ctx.set(dut.completions.payload, beat)
        ctx.set(dut.completions.valid, 1)
        found.append(await cycles_until(ctx, dut.ports[0].beats, dut.completions))

    run(dut, story)
    assert found == [4, 7]


def test_write_latency():
    """First beat in → first beat out 8 cycles."""
    dut, found = Writer(TINY), []

    async def story(ctx):
        await prepare(ctx, dut, dut.headers, dut.payload)
        beats = dut.ports[0].beats
        ctx.set(beats.payload, {"function_id": 2, "address": 0x1000, "length": 8, "first": 1,
                                "last": 1})
        ctx.set(beats.valid, 1)
        found.append(await cycles_until(ctx, dut.writes, beats))

    run(dut, story)
    assert found == [8]
