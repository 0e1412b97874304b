"""The packet buffer: every cell is lent once, every packet is read as it was written."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.gft.exception import ExceptionQueue
from offloadcard.gft.packet_buffer import CellPool, PacketBuffer
from offloadcard.gft.records import CELL_OCTETS
from tests.support.formal import ProofFailed, prove
from tests.support.streams import Stalls


@pytest.mark.parametrize("data_width", (64, 512))
def test_packets_in_any_order(data_width):
    """Packets of all sizes, read in another order, some in part, some not at all; many times more
    than there are cells, so each cell must have come back each time."""
    dut = PacketBuffer(data_width=data_width, cells=16)
    rng, octets = random.Random(3), data_width // 8
    written, jobs, expected, got, dropped = [], [], [], [], []

    async def write(ctx):
        for number in range(40):
            length = rng.choice((1, octets, 60, 256, 257, 700))
            beats = -(-length // octets)
            values = [number << 16 | n for n in range(beats)]
            for place, value in enumerate(values):
                ctx.set(dut.i.payload, {"data": value, "first": place == 0,
                                        "last": place == beats - 1})
                ctx.set(dut.i.valid, 1)
                ready = False
                while not ready:
                    handle = ctx.get(dut.handle)
                    *_, ready, handle = await ctx.tick().sample(dut.i.ready, dut.handle)
                if place == 0:
                    first = handle
                assert handle == first
            ctx.set(dut.i.valid, 0)
            written.append((first, -(-beats * octets // CELL_OCTETS), values))

    async def read(ctx):
        for _ in range(40):
            while not written:
                await ctx.tick()
            handle, cells, values = written.pop(rng.randrange(len(written)))
            skip = rng.choice((0, 0, 1)) if len(values) > 1 else 0
            take = rng.choice((0, len(values) - skip, len(values) - skip, 1))
            if skip + take > len(values):
                take = 0
            expected.extend(values[skip:skip + take])
            jobs.append(take == 0)
            if rng.random() < 0.25:
                await ctx.tick().repeat(2)
                assert ctx.get(dut.used)
            ctx.set(dut.jobs.payload, {"handle": handle, "cells": cells, "skip": skip,
                                       "take": take, "drops": take == 0, "reads": take != 0,
                                       "one": take == 1, "one_cell": cells == 1})
            ctx.set(dut.jobs.valid, 1)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(dut.jobs.ready)
            ctx.set(dut.jobs.valid, 0)
        await ctx.tick().repeat(10)
        assert not ctx.get(dut.used)

    async def take(ctx):
        stalls = Stalls(2, 0.2)
        while True:
            ready = not stalls()
            ctx.set(dut.o.ready, ready)
            *_, valid, value, ended = await ctx.tick().sample(dut.o.valid, dut.o.payload,
                                                              dut.dropped)
            if ended:
                dropped.append(1)
            if valid and ready:
                got.append(value)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(write)
    simulator.add_testbench(read)
    simulator.add_testbench(take, background=True)
    simulator.run()
    assert got == expected
    assert len(dropped) == sum(jobs)


class CellPoolSpec(Elaboratable):
    """One chosen cell is never lent while it is lent."""

    def __init__(self, dut):
        self.dut = dut
        self.cell = Signal(2)
        self.free = [self.cell]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        started, cell_r, lent = Signal(), Signal(2), Signal()
        m.d.sync += [started.eq(1), cell_r.eq(self.cell)]
        with m.If(started):
            m.d.comb += Assume(cell_r == self.cell)
        mine_out, mine_back = Signal(), Signal()
        m.d.comb += [
            mine_out.eq(dut.lent.valid & dut.lent.ready & (dut.lent.payload == self.cell)),
            mine_back.eq(dut.back.valid & (dut.back.payload == self.cell)),
            Assume(~mine_back | lent),
        ]
        with m.If(mine_out):
            m.d.comb += Assert(~lent)
            m.d.sync += lent.eq(1)
        with m.If(mine_back):
            m.d.sync += lent.eq(0)
        return m


class ForgetfulPool(CellPool):
    """A mutant: counts half of what it lends."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.lent.payload[0].eq(0)
        return m


@pytest.mark.formal
def test_cell_pool_spec():
    # Each cell is its own: those of others come back only if they were lent, as one of them shows.
    prove(CellPoolSpec(CellPool(cells=4)), depth=4)
    with pytest.raises(ProofFailed):
        prove(CellPoolSpec(ForgetfulPool(cells=4)), depth=4)


class HoldSpec(Elaboratable):
    """What is offered stays offered, unchanged, until it is taken."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        before, stalled = Signal.like(dut.o.payload.as_value()), Signal()
        m.d.sync += [stalled.eq(dut.o.valid & ~dut.o.ready), before.eq(dut.o.payload)]
        with m.If(stalled):
            m.d.comb += Assert(dut.o.valid & (dut.o.payload.as_value() == before))
        return m


class ImpatientQueue(ExceptionQueue):
    """A mutant: goes on whether or not a beat was taken."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.left.eq(0)
        m.d.comb += m.submodules["store"]._read_ports[0].en.eq(1)
        return m


@pytest.mark.formal
def test_exception_queue_stream_rules():
    widths = {"data_width": 64, "function_id_width": 2, "depth": 4}
    prove(HoldSpec(ExceptionQueue(**widths)), depth=8)
    with pytest.raises(ProofFailed):
        prove(HoldSpec(ImpatientQueue(**widths)), depth=8)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`cells` must be a power of two, 4 or more, not 6"):
        CellPool(cells=6)
