"""Chains that go on: none is lost, however long what follows waits."""

from collections import deque

import pytest
from amaranth.sim import Simulator

from offloadcard.config import SMALL, TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.chain import Chain
from offloadcard.virtio_net_emul.layouts import Geometry

LATENCY = 100  # cycles of a read


def walk(config, *, chains, stalls):
    """Slots of the chains that ended, each of two pieces; ``stalls`` are cycles without a taker."""
    dut   = Chain(g := Geometry(config), receive=False)
    octets = config.data_width // 8
    ended = []

    def descriptor(length, flags):
        return {"addr": 0x1000, "len": length, "flags": flags, "next": 1}

    async def heads(ctx):
        ctx.set(dut.batch_row, {"count": 1, "size": 16, "frame_pages": g.frame_pages})
        for number in range(chains):
            ctx.set(dut.heads.payload, {
                "slot": {"batch": number >> g.batch_bits, "index": number % g.batch},
                "desc": descriptor(66, spec.VIRTQ_DESC_F_NEXT)})
            ctx.set(dut.heads.valid, 1)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(dut.heads.ready)
        ctx.set(dut.heads.valid, 0)

    async def memory(ctx):
        shape   = dut.reads.requests.payload.shape()
        answers = deque()
        data    = spec.VirtqDesc.const(descriptor(1448, 0)).as_bits().to_bytes(16, "little")
        cycle   = 0
        ctx.set(dut.reads.requests.ready, 1)
        while True:
            *_, valid, raw = await ctx.tick().sample(dut.reads.requests.valid,
                                                     dut.reads.requests.payload.as_value())
            cycle += 1
            if valid:
                tag = shape.from_bits(raw).tag
                for low in range(0, 16, octets):
                    answers.append((cycle + LATENCY, {
                        "tag": tag, "data": list(data[low:low + octets].ljust(octets, b"\0")),
                        "first": low == 0, "last": low + octets >= 16}))
            due = answers and answers[0][0] <= cycle
            ctx.set(dut.reads.beats.valid, bool(due))
            if due:
                ctx.set(dut.reads.beats.payload, answers.popleft()[1])

    async def segments(ctx):
        for cycle in range(3000):
            ctx.set(dut.segments.ready, cycle not in stalls)
            *_, moves, last, error, slot = await ctx.tick().sample(
                dut.segments.valid & dut.segments.ready, dut.segments.p.last,
                dut.segments.p.error, dut.segments.p.slot.as_value())
            if moves and last:
                assert not error
                ended.append(slot)

    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    simulator.add_testbench(heads, background=True)
    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(segments)
    simulator.run()
    return ended


@pytest.mark.parametrize("config", [TINY, SMALL], ids=["tiny", "small"])
def test_chains_wait_for_their_taker(config):
    """Descriptors that were asked for have a place, even if nobody takes pieces meanwhile."""
    ended = walk(config, chains=40, stalls=range(22, 700))
    assert len(set(ended)) == len(ended) == 40
