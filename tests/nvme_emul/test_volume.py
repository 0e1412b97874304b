"""Volume: no access leaves its owner's volume; the media's latency and rate."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from amaranth.sim import Simulator

from offloadcard.nvme_emul.layouts import piece
from offloadcard.nvme_emul.volume import Media, Translate
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer, assume_producer, symbolic

WIDTHS = {"function_id_width": 1, "slot_width": 1, "tag_width": 1}


def arrivals(*, latency, rate, count=6):
    """Cycles after its arrival in which each piece of 512 octets leaves."""
    dut = Media(piece(**WIDTHS), depth=16)
    found = []

    async def test(ctx):
        ctx.set(dut.latency, latency)
        ctx.set(dut.rate, rate)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.payload, {"length": 512})
        for cycle in range(1200):
            ctx.set(dut.i.valid, cycle < count)
            *_, valid = await ctx.tick().sample(dut.o.valid)
            if valid:
                found.append(cycle - len(found))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.run()
    assert len(found) == count
    return found


def test_media_off():
    assert max(arrivals(latency=0, rate=0)) <= 2


def test_media_latency():
    found = arrivals(latency=500, rate=0)
    assert 500 <= min(found) <= max(found) <= 503


def test_media_rate():
    """16 octets a cycle: 32 cycles from one piece to the next."""
    found = arrivals(latency=0, rate=16 << 8)
    assert all(31 <= after - before + 1 <= 33 for before, after in zip(found, found[1:]))


class TranslateSpec(Elaboratable):
    """An accepted piece of a function lies in the row that was stored for it last."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        owner  = symbolic(m, self.free, 1, "owner")
        volume = symbolic(m, self.free, 2, "volume")
        row    = Signal.like(dut.volumes.p.row)
        stored = Signal()  # a store while a piece is under way is judged by the row it met
        mine   = dut.volumes.valid & (dut.volumes.p.function_id == owner) \
            & (dut.volumes.p.volume == volume)
        with m.If(mine):
            m.d.sync += row.eq(dut.volumes.p.row)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += stored.eq(0)
        with m.If(mine & ~(dut.i.valid & dut.i.ready)):
            m.d.sync += stored.eq(1)
        assume_producer(m, dut.i, "i")
        assert_producer(m, dut.o, "o")
        p = dut.o.p
        size = Signal(53)
        m.d.comb += size.eq(Mux(row.blocks_4096, row.blocks << 12, row.blocks << 9))
        with m.If(dut.o.valid & ~p.refused & (p.function_id == owner) & (p.volume == volume)
                  & ~stored):
            m.d.comb += Assert(row.valid)
            m.d.comb += Assert((p.offset - row.base)[:52] + p.length <= size)
        return m


@pytest.mark.formal
def test_spec_access_stays_inside():
    prove(TranslateSpec(Translate(**WIDTHS)), depth=8)


@pytest.mark.formal
def test_spec_access_sees_a_mutant():
    dut = Translate(**WIDTHS)
    dut.check_bounds = False
    with pytest.raises(ProofFailed):
        prove(TranslateSpec(dut), depth=8)
