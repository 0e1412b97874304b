"""Meter: what passes in a time is the burst and the rate, never more; rows are apart."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.rtl.meter import LATENCY, Meter
from tests.support.formal import ProofFailed, prove


def run(packets, limits):
    """Verdicts of (cycle, row, length) under ``limits`` by row: (octets, packets)."""
    dut = Meter(row_width=2, length_width=14)
    verdicts = []

    async def bench(ctx):
        for row, pair in limits.items():
            for number, (cycles, burst) in enumerate(pair):
                ctx.set(dut.limits[number], {"cycles": cycles, "burst": burst})
            ctx.set(dut.write_row, row)
            ctx.set(dut.write, 1)
            await ctx.tick()
        ctx.set(dut.write, 0)
        due = dict.fromkeys(range(max(cycle for cycle, *_ in packets) + 1))
        for cycle, row, length in packets:
            due[cycle] = (row, length)
        pending = {}
        for cycle in range(len(due) + LATENCY + 1):
            if cycle in pending:
                verdicts.append(ctx.get(dut.conforms))
            packet = due.get(cycle)
            ctx.set(dut.charge, due.get(cycle - LATENCY + 1) is not None)
            if packet:
                ctx.set(dut.row, packet[0])
                ctx.set(dut.length, packet[1])
                pending[cycle + LATENCY] = packet
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return verdicts


def test_burst_then_rate():
    """A burst of 4 packets back to back, then one each 10 cycles."""
    packets = [(cycle, 1, 100) for cycle in range(50, 110)]
    verdicts = run(packets, {1: ((0, 0), (10 << 16, 40))})
    assert verdicts[:4] == [1] * 4
    assert sum(verdicts) in (9, 10)


def test_octets():
    """Half a cycle an octet: 60 octets are 30 cycles."""
    packets = [(40 + 10 * n, 2, 60) for n in range(30)]
    verdicts = run(packets, {2: ((1 << 15, 60), (0, 0))})
    assert verdicts[:3] == [1, 1, 0] or verdicts[:3] == [1, 1, 1]
    assert 10 <= sum(verdicts) <= 13


def test_both_must_allow():
    """A packet that one bucket refuses is not charged to the other."""
    packets = [(40 + n, 1, 1000) for n in range(5)] + [(60 + n, 1, 1) for n in range(3)]
    verdicts = run(packets, {1: ((1 << 16, 1500), (1 << 16, 5))})
    assert verdicts == [1, 0, 0, 0, 0, 1, 1, 1]


def test_rows_are_apart_and_0_is_no_limit():
    packets = [(40 + n, n % 2, 1000) for n in range(20)]
    verdicts = run(packets, {1: ((0, 0), (1000 << 16, 1000))})
    assert verdicts[0::2] == [1] * 10
    assert verdicts[1::2] == [1] + [0] * 9


class MeterSpec(Elaboratable):
    """A row with limits of 0 refuses nobody, whatever its neighbours do."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        free = Signal(LATENCY + 1)  # the packets of row 0, as they pass
        m.d.comb += Assume(~dut.write | (dut.write_row != 0))
        m.d.comb += free[0].eq(dut.row == 0)
        m.d.sync += free[1:].eq(free[:-1])
        with m.If(free[LATENCY]):
            m.d.comb += Assert(dut.conforms)
        return m


class SpilledMeter(Meter):
    """A mutant: the written row loses its high bit."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules["limits"]._write_ports[0].addr.eq(self.write_row & 1)
        return m


@pytest.mark.formal
def test_spec():
    prove(MeterSpec(Meter(row_width=2, length_width=4)), depth=7)
    with pytest.raises(ProofFailed):
        prove(MeterSpec(SpilledMeter(row_width=2, length_width=4)), depth=7)


def test_bad_parameter():
    with pytest.raises(ValueError, match="must be positive"):
        Meter(row_width=0, length_width=14)
