"""Events: told once for each kind and row, until the row is written again."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.gft.events import Events
from offloadcard.gft.spec import EventKind
from tests.support.formal import ProofFailed, prove


class EventsSpec(Elaboratable):
    """Of one chosen row each kind is told once at most between two writes of it."""

    def __init__(self, dut):
        self.dut  = dut
        self.row  = Signal(dut.row_width)
        self.free = [self.row]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        started, row_r = Signal(), Signal.like(self.row)
        m.d.sync += [started.eq(1), row_r.eq(self.row)]
        with m.If(started):
            m.d.comb += Assume(row_r == self.row)
        m.d.comb += Assume(~(dut.wrote & (dut.wrote_row == self.row)))
        event = dut.o.p
        for kind in EventKind:
            told = Signal(name=f"told_{kind.name}")
            with m.If(dut.o.valid & dut.o.ready & (event.handle == self.row)
                      & (event.kind == kind)):
                m.d.sync += told.eq(1)
                m.d.comb += Assert(~told)
        return m


class ForgetfulEvents(Events):
    """A mutant: does not remember what was told."""
    _remembers = False


@pytest.mark.formal
def test_events_spec():
    prove(EventsSpec(Events(row_width=1)), depth=8)
    with pytest.raises(ProofFailed):
        prove(EventsSpec(ForgetfulEvents(row_width=1)), depth=8)


def test_what_finds_no_room_is_told_later():
    """The ring is full and stands still: who was not told is told by its next packet."""
    dut = Events(row_width=7)
    told, lost = [], []

    async def packet(ctx, row, **facts):
        ctx.set(dut.row, row)
        for name in ("soft", "notify"):
            ctx.set(getattr(dut, name), facts.get(name, 0))
        await ctx.tick()
        ctx.set(dut.soft, 0)
        ctx.set(dut.notify, 0)

    async def bench(ctx):
        for row in range(100):
            await packet(ctx, row, soft=1)
        await ctx.tick().repeat(4)
        assert len(lost) == 100 - 64 and ctx.get(dut.waiting) == 64
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(100)
        for row in range(100):
            await packet(ctx, row, soft=1)
        await ctx.tick().repeat(8)
        assert told == [(row, EventKind.GENERATION) for row in range(100)]
        assert ctx.get(dut.waiting) == 0
        # Both at once: one after the other; a row that is written tells again.
        for _ in range(3):
            await packet(ctx, 3, soft=1, notify=1)
            await packet(ctx, 101, soft=1, notify=1)
        ctx.set(dut.wrote_row, 3)
        ctx.set(dut.wrote, 1)
        await ctx.tick()
        ctx.set(dut.wrote, 0)
        await ctx.tick()
        await packet(ctx, 3, soft=1)
        await ctx.tick().repeat(8)
        assert told[100:] == [(3, EventKind.TCP_FLAGS), (101, EventKind.TCP_FLAGS),
                              (101, EventKind.GENERATION), (3, EventKind.GENERATION)]

    async def watch(ctx):
        async for *_, valid, ready, event, is_lost in ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.lost):
            if valid and ready:
                told.append((event.handle, event.kind))
            if is_lost:
                lost.append(1)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(watch, background=True)
    simulator.run()


def test_bad_parameter():
    with pytest.raises(ValueError, match="`row_width` must be positive, not 0"):
        Events(row_width=0)
