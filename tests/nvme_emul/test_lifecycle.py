"""Lifecycle: drained is said only when nothing is in flight."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.nvme_emul.lifecycle import Lifecycle
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer

PARAMETERS = {"function_id_width": 1, "qid_width": 1, "queues": 1, "count_width": 1}


class LifecycleSpec(Elaboratable):
    """Function 1 has commands in flight until some moment; before it, whatever happens to it and
    to the other function, neither ``drained`` nor the fall of CSTS.RDY is told of it."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        busy  = Signal(init=1)
        ends  = Signal()
        self.free.append(ends)
        address = Signal(1)
        running = Signal()
        m.d.sync += address.eq(dut.function_address)
        with m.If(ends):
            m.d.sync += busy.eq(0)
        m.d.comb += [
            Assume((dut.fetched != dut.ended) == (busy & address)),
            # Everybody takes what is told at once; nobody else asks for anything.
            Assume(dut.updates.ready), Assume(dut.admin_clears.ready), Assume(dut.clears.ready),
            Assume(~dut.changes.valid), *(Assume(~port.valid) for port in dut.faults),
        ]
        assert_producer(m, dut.lifecycle.drained, "drained")
        drained = dut.lifecycle.drained
        with m.If(drained.valid & drained.p.function_id):
            m.d.comb += Assert(~busy)
        with m.If(dut.status_write & dut.status_function_id):
            m.d.comb += Assert(~(running & ~dut.status.rdy & busy))
            m.d.sync += running.eq(dut.status.rdy)
        # At most one stop is open for a function.
        stops = dut.lifecycle.stops
        opened = Signal(2)
        for number in range(2):
            with m.If(drained.valid & drained.ready & (drained.p.function_id == number)):
                m.d.sync += opened[number].eq(0)
            with m.If(stops.valid & (stops.p.function_id == number)):
                m.d.comb += Assume(~opened[number])
                m.d.sync += opened[number].eq(1)
        return m


@pytest.mark.formal
def test_spec_drained_when_nothing_is_in_flight():
    prove(LifecycleSpec(Lifecycle(**PARAMETERS)), depth=36)


@pytest.mark.formal
def test_spec_drained_sees_a_mutant():
    dut = Lifecycle(**PARAMETERS)
    dut.wait_for_commands = False
    with pytest.raises(ProofFailed):
        prove(LifecycleSpec(dut), depth=36)
