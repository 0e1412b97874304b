"""Issue: isolation of reads. Law 1: own requester id, alive, bus master."""

import pytest
from amaranth import *
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume

from offloadcard.pcie import spec
from offloadcard.pcie.requester_issue import Issue
from tests.support.formal import ProofFailed, prove


class IssueSpec(Elaboratable):
    """A read of function f leaves with f's requester id, and only while f may; else it is refused.

    The function and the tag are any. Each TLP handed in ends once: sent or refused. The output
    keeps the stream rules. Once news have shut f out and nothing is `passing`, none of f stands
    at the border.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        function = AnyConst(len(dut.tlps.p.function_id))
        tag      = AnyConst(len(dut.tlps.p.tag))
        settings, bus, ari = dut.settings, AnyConst(8), AnyConst(1)
        m.d.comb += [Assume(settings.bus == bus), Assume(settings.ari == ari),
                     Assume(dut.headers.infinite), Assume(dut.link_up)]
        may = Signal()  # f is alive and bus master, by all rows before this cycle
        with m.If(dut.rows.valid & (dut.rows.p.function_id == function)):
            m.d.sync += may.eq(dut.rows.p.alive & dut.rows.p.bus_master)
        may_before = Signal()
        m.d.sync += may_before.eq(may)

        # Stream rules of the input; the watched tag is lent once.
        stalled, before = Signal(), Signal.like(dut.tlps.payload.as_value())
        m.d.sync += [stalled.eq(dut.tlps.valid & ~dut.tlps.ready),
                     before.eq(dut.tlps.payload)]
        with m.If(stalled):
            m.d.comb += Assume(dut.tlps.valid & (dut.tlps.payload.as_value() == before))
        lent, owner, launched = Signal(), Signal.like(function), Signal()
        mine = Signal()
        m.d.comb += mine.eq(dut.tlps.valid & (dut.tlps.p.tag == tag))
        m.d.comb += Assume(~(mine & lent))
        with m.If(mine & dut.tlps.ready):
            m.d.sync += [lent.eq(1), owner.eq(dut.tlps.p.function_id)]

        refuses = Signal()
        m.d.comb += refuses.eq(dut.refusals.valid & dut.refusals.ready)
        record = dut.launches.p.record
        expected = Signal(16)
        m.d.comb += expected.eq(Cat(Const(0, 8), bus) + owner
                                + Mux(~ari & (owner >= 2), 256, 0))
        with m.If(dut.launches.valid & (dut.launches.p.tag == tag)):
            m.d.comb += [Assert(lent & ~launched), Assert(record.function_id == owner),
                         Assert(record.requester_id == expected),
                         Assert(~refuses | (dut.refusals.payload == tag))]
            m.d.sync += launched.eq(1)
        with m.If(dut.launches.valid & ~refuses & (record.function_id == function)):
            m.d.comb += Assert(may_before | may)
        header = Signal(spec.MemoryRequest)
        sent = Signal()
        m.d.comb += header.eq(dut.reads.p.header.as_value())
        with m.If(dut.reads.valid & (header.tag == tag)):
            m.d.comb += [Assert(launched & ~sent), Assert(header.requester_id == expected)]
            with m.If(dut.reads.ready):
                m.d.sync += sent.eq(1)
        shut = Signal()
        with m.If(dut.rows.valid & (dut.rows.p.function_id == function)):
            m.d.sync += shut.eq(~(dut.rows.p.alive & dut.rows.p.bus_master))
        own_id = Signal(16)
        m.d.comb += own_id.eq(Cat(Const(0, 8), bus) + function
                              + Mux(~ari & (function >= 2), 256, 0))
        with m.If(shut & ~dut.passing & dut.reads.valid):
            m.d.comb += Assert(header.requester_id != own_id)
        waits, offered = Signal(), Signal.like(dut.reads.payload.as_value())
        m.d.sync += [waits.eq(dut.reads.valid & ~dut.reads.ready), offered.eq(dut.reads.payload)]
        with m.If(waits):
            m.d.comb += Assert(dut.reads.valid & (dut.reads.payload.as_value() == offered))
        return m


class Careless(Issue):
    obeys_gate = False


class Hasty(Issue):
    waits_for_leavers = False


def issue(kind):
    return kind(tags=4, function_id_width=2, data_width=64)


@pytest.mark.formal
def test_spec_law_1_reads_leave_for_their_function_only():
    prove(IssueSpec(issue(Issue)), depth=9)


@pytest.mark.formal
@pytest.mark.parametrize("mutant", [Careless, Hasty])
def test_spec_law_1_sees_a_mutant(mutant):
    with pytest.raises(ProofFailed):
        prove(IssueSpec(issue(mutant)), depth=9)
