"""Doorbell: what is kept lies inside its queue; what is refused is told."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.sim import Simulator

from offloadcard.nvme_emul.doorbell import Doorbell
from tests.support.formal import ProofFailed, prove

from .rules import symbolic


def test_errors_are_told():
    """Register that is not, value outside, both halves at once; each as fast as they come."""
    dut = Doorbell(function_id_width=1, qid_width=2, queues=2)
    work, wakes, events = [], [], []

    async def test(ctx):
        for completion in (0, 1):
            ctx.set(dut.updates.payload, {"function_id": 1, "qid": 1, "valid": 1, "size": 7,
                                          "completion": completion})
            ctx.set(dut.updates.valid, 1)
            await ctx.tick().until(dut.updates.ready)
        ctx.set(dut.updates.valid, 0)
        ctx.set(dut.writes.valid, 1)
        for fields in ({"qid": 1, "tail_valid": 1, "tail": 7},
                       {"qid": 1, "tail_valid": 1, "tail": 8},
                       {"qid": 1, "head_valid": 1, "head": 3, "tail_valid": 1, "tail": 2},
                       {"qid": 1, "tail_valid": 1, "tail": 0x10001},
                       {"qid": 4, "tail_valid": 1, "tail": 1},
                       {"qid": 0, "head_valid": 1, "head": 0}):
            ctx.set(dut.writes.payload, {"function_id": 1, **fields})
            await ctx.tick()
        ctx.set(dut.writes.valid, 0)
        ctx.set(dut.tail_address, 1 << 2 | 1)
        ctx.set(dut.head_address, 1 << 2 | 1)
        for _ in range(4):
            await ctx.tick()
        assert (ctx.get(dut.tail), ctx.get(dut.head)) == (2, 3)
        assert ctx.get(dut.errors) == 4

    async def watch(ctx):
        while True:
            *_, w, q, k, f, e, g = await ctx.tick().sample(
                dut.work.valid, dut.work.payload, dut.wakes.valid, dut.wakes.payload,
                dut.events.valid, dut.events.payload)
            work.extend([q] if w else [])
            wakes.extend([f] if k else [])
            events.extend([g] if e else [])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert (work, wakes, events) == ([5, 5], [1], [1] * 4)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`queues` must be 1 to 3, not 4"):
        Doorbell(function_id_width=1, qid_width=2, queues=4)


class DoorbellSpec(Elaboratable):
    """The tail kept for a queue is never outside it: of a hostile guest neither."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        queue = symbolic(m, self.free, 2, "queue")
        size  = Signal(16)
        mine  = dut.updates.valid & dut.updates.ready & ~dut.updates.p.completion \
            & (Cat(dut.updates.p.qid, dut.updates.p.function_id) == queue)
        fresh = Signal(2)  # the look-up is a cycle behind
        with m.If(mine):
            m.d.sync += size.eq(dut.updates.p.size)
        m.d.sync += fresh.eq(Mux(mine, 0, Mux(fresh == 3, 3, fresh + 1)))
        m.d.comb += dut.tail_address.eq(queue)
        with m.If(fresh == 3):
            m.d.comb += Assert(dut.tail <= size)
        return m


@pytest.mark.formal
def test_spec_tail_stays_inside():
    prove(DoorbellSpec(Doorbell(function_id_width=1, qid_width=1, queues=1)), depth=10)


@pytest.mark.formal
def test_spec_tail_sees_a_mutant():
    dut = Doorbell(function_id_width=1, qid_width=1, queues=1)
    dut.check_value = False
    with pytest.raises(ProofFailed):
        prove(DoorbellSpec(dut), depth=10)
