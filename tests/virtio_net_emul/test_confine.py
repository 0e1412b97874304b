"""Functions whose memory is slow hold a small part of the reads, all together, and get it back."""

from dataclasses import replace

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import confine, device, spec
from offloadcard.virtio_net_emul.confine import NEW_READS, PENANCE_READS, Confine, Slow
from offloadcard.virtio_net_emul.layouts import Geometry
from tests.support.formal import ProofFailed, prove
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of


class ConfineSpec(Elaboratable):
    """Charges of batches that have not ended never pass the share, or are one batch's; and once
    all have ended there is room for the greatest: nothing is lost.

    Ids are begun when they are at home and end when they are out, each by either way; a charge is
    made only where ``room`` was said of it.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        out, costs = Signal(dut.batches), Signal(4 * dut.batches)
        begin = dut.begin
        m.d.comb += [
            Assume(~begin.valid | ~out.bit_select(begin.batch, 1)),
            Assume(begin.cost <= dut.most), Assume(begin.batch < dut.batches),
            *(Assume(end.batch < dut.batches) for end in dut.ends),
            Assume(~begin.valid | (begin.cost == 0) | (begin.cost == dut.cost) & dut.room),
        ]
        ended = Signal(dut.batches)
        first, second = dut.ends
        m.d.comb += [
            ended.eq(Mux(first.valid, 1 << first.batch, 0)
                     | Mux(second.valid, 1 << second.batch, 0)),
            Assume((ended & ~out) == 0),
            Assume(~(first.valid & second.valid & (first.batch == second.batch))),
        ]
        m.d.sync += out.eq((out | Mux(begin.valid, 1 << begin.batch, 0)) & ~ended)
        with m.If(begin.valid):
            m.d.sync += costs.word_select(begin.batch, 4).eq(begin.cost)
        held = sum(Mux(out[n], costs.word_select(n, 4), 0) for n in range(dut.batches))
        single = sum(out[n] & (costs.word_select(n, 4) != 0) for n in range(dut.batches))
        m.d.comb += Assert((held <= dut.share) | (single == 1))
        idle = Signal(2)
        m.d.sync += idle.eq(Cat(out == 0, idle[0]))
        with m.If(idle.all() & (out == 0)):
            m.d.comb += Assert(dut.room & dut.loose)
        # Who was let through without being asked what it costs finds room.
        m.d.comb += Assert(~dut.loose | (dut.cost > dut.most) | dut.room)
        return m


class Keeps(Confine):
    """A mutant that gives nothing back."""
    _returns = False


@pytest.mark.formal
@pytest.mark.parametrize("share", (2, 5))
@pytest.mark.parametrize("kind", (Confine, Keeps))
def test_spec_slow_functions_hold_their_share(kind, share):
    spec = ConfineSpec(kind(batches=3, most=3, share=share))
    if kind is Confine:
        prove(spec, depth=7)
    else:
        with pytest.raises(ProofFailed):
            prove(spec, depth=7)


def test_what_makes_a_function_slow_and_what_heals_it():
    dut = Slow(Geometry(TINY))
    found = []

    async def story(ctx):
        async def tell(function_id, late, times=1):
            ctx.set(dut.told, {"valid": 1, "late": late, "function_id": function_id})
            await ctx.tick().repeat(times)
            ctx.set(dut.told.valid, 0)
            await ctx.tick().repeat(2)

        async def slow(row):
            ctx.set(dut.look, row)
            await ctx.tick()
            found.append(ctx.get(dut.slow))
        await slow(2)                                 # nobody knows it yet
        await tell(2, 0, NEW_READS - 1)
        await slow(2)
        await tell(2, 0)
        await slow(2)                                 # trusted
        await slow(3)                                 # its neighbour is not
        await tell(TINY.first_nvme_vf + 2, 1)         # a drive's reads are nobody's here
        await slow(2)
        await tell(2, 1)
        await tell(2, 0, PENANCE_READS - 1)
        await slow(2)                                 # still
        await tell(2, 0)
        await slow(2)

    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    simulator.add_testbench(story)
    simulator.run()
    assert found == [1, 1, 0, 1, 0, 1, 0]


def test_a_charge_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`most` must be at least 1"):
        Confine(batches=4, most=0, share=1)


CONFIG = replace(TINY, name="confine", virtio_net_vfs=10, nvme_vfs=1, function_id_width=4)
FEATURES = PLAIN & ~(1 << spec.VIRTIO_NET_F_CSUM)  # a frame is one read of its own length
ATTACKERS, VICTIM, FRAMES = range(3, 12), 2, 8


class Trusting(confine.Slow):
    """A mutant to which nobody is slow."""

    def elaborate(self, platform):
        return Module()


def _beside_silence():
    """Frames that left of a victim, trusted by then, beside tenants whose payload never comes."""
    host = Host(device.Device(CONFIG), latency=30, size=1 << 22)
    queues = {n: Queue(host, n, 1, size=8) for n in (VICTIM, *ATTACKERS)}
    victim = queues[VICTIM]
    silent = set()
    host.answers = lambda request: request.function_id not in silent or request.length != 60

    async def story(ctx):
        for queue in queues.values():
            await host.start(ctx, queue.function_id, [queue], features=FEATURES)
        for number in range(NEW_READS):
            victim.send(frame_of(60, number))
            victim.publish()
            await victim.notify(ctx)
            await host.until(ctx, lambda: victim.used_idx() == victim.next)
            victim.take()
        silent.update(ATTACKERS)
        for number in range(FRAMES):  # one by one, as many as they are given reads for
            for n in ATTACKERS:
                queues[n].send(frame_of(60, number))
                queues[n].publish()
                await queues[n].notify(ctx)
            for _ in range(200):
                await ctx.tick()
        host.sent.clear()
        for number in range(FRAMES):
            victim.send(frame_of(60, number))
        victim.publish()
        await victim.notify(ctx)
        for _ in range(2_000):
            await ctx.tick()

    host.simulate(story)
    return len(host.sent)


def test_a_victim_sends_beside_silent_memory(monkeypatch):
    assert _beside_silence() == FRAMES
    monkeypatch.setattr(device, "Slow", Trusting)
    assert _beside_silence() < FRAMES
