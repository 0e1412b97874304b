"""Fetch: entries belong to who asked; a failed fetch yields none."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.nvme_emul.fetch import Fetch
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer, assume_producer

PARAMETERS = {"function_id_width": 1, "qid_width": 1, "data_width": 512, "slot_width": 1,
              "tag_width": 1, "functions": 2, "count_width": 4}


class FetchSpec(Elaboratable):
    """One fetch after the other: its read carries its owner, every entry and every fault too;
    entries are as many as asked, or none and one fault if the answer ended in error."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        i, request, beats = dut.i, dut.reads.requests, dut.reads.beats
        under_way = Signal()
        record    = Signal.like(i.payload)
        asked     = Signal()
        lines     = Signal(4)
        failed, answered = Signal(), Signal()
        entries   = Signal(4)
        tag       = Signal(2)
        for port, name in ((i, "i"),):
            assume_producer(m, port, name)
        for port, name in ((request, "request"), (dut.o, "o"), (dut.faults, "faults")):
            assert_producer(m, port, name)
        m.d.comb += Assume(~(i.valid & under_way))
        with m.If(i.valid):
            m.d.comb += Assume((i.p.count != 0) & (i.p.count <= 2) & ~i.p.event
                               & (~i.p.own | (i.p.count == 1)))
        with m.If(request.valid):
            m.d.comb += Assert((request.p.function_id == i.p.function_id)
                               & (request.p.length == i.p.count << 6)
                               & (request.p.address == i.p.address))
        with m.If(i.valid & i.ready):
            m.d.comb += Assert(request.valid & request.ready)
            m.d.sync += [under_way.eq(1), record.eq(i.payload), asked.eq(1), lines.eq(0),
                         answered.eq(0), entries.eq(0), tag.eq(request.p.tag)]
        # The port answers the one request, line by line.
        with m.If(beats.valid):
            m.d.comb += Assume(asked & ~answered & (beats.p.tag == tag)
                               & (beats.p.first == (lines == 0))
                               & (beats.p.last == (lines + 1 == record.count)))
            m.d.sync += lines.eq(lines + 1)
            with m.If(beats.p.last):
                m.d.sync += [answered.eq(1), failed.eq(beats.p.error)]
        with m.If(dut.o.valid):
            m.d.comb += Assert(under_way & answered & ~failed & (entries < record.count)
                               & (dut.o.p.function_id == record.function_id)
                               & (dut.o.p.qid == record.qid) & (dut.o.p.cqid == record.cqid))
            with m.If(dut.o.ready):
                m.d.sync += entries.eq(entries + 1)
                with m.If(entries + 1 == record.count):
                    m.d.sync += [under_way.eq(0), asked.eq(0)]
        with m.If(dut.faults.valid):
            m.d.comb += Assert(under_way & answered & failed
                               & (dut.faults.p.function_id == record.function_id)
                               & (dut.faults.p.count == record.count))
            with m.If(dut.faults.ready):
                m.d.sync += [under_way.eq(0), asked.eq(0)]
        return m


@pytest.mark.formal
def test_spec_entries_belong_to_their_fetch():
    prove(FetchSpec(Fetch(**PARAMETERS)), depth=10)


@pytest.mark.formal
def test_spec_entries_sees_a_mutant():
    dut = Fetch(**PARAMETERS)
    dut.check_error = False
    with pytest.raises(ProofFailed):
        prove(FetchSpec(dut), depth=10)
