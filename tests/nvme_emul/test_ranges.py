"""Ranges: what is made zero lies inside the volume that the command was given."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.nvme_emul.ranges import Ranges
from tests.support.formal import ProofFailed, prove

PARAMETERS = {"function_id_width": 1, "qid_width": 1, "slot_width": 1, "data_width": 512}


class RangesSpec(Elaboratable):
    """One command, of one function; its list is whatever the guest's memory answers. Segments lie
    inside the volume, bear its owner, and are zeros."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        told, begun, asked = Signal(), Signal(), Signal()
        given = Signal.like(dut.commands.payload)
        beat  = dut.reads.beats
        m.d.comb += [
            Assume(dut.commands.valid == ~told), Assume(~dut.marked),
            Assume(dut.i.valid == (told & ~begun)), Assume(dut.i.payload == given.slot),
            # One answer of one line to each request.
            Assume(~beat.valid | (asked & beat.p.first & beat.p.last
                                  & (beat.p.tag == given.slot))),
        ]
        with m.If(~told):
            m.d.comb += Assume(dut.commands.p.blocks < 1 << 8)
            m.d.sync += [told.eq(1), given.eq(dut.commands.payload)]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += begun.eq(1)
        with m.If(beat.valid):
            m.d.sync += asked.eq(0)
        with m.If(dut.reads.requests.valid):
            m.d.comb += Assert(dut.reads.requests.p.function_id == given.function_id)
            with m.If(dut.reads.requests.ready):
                m.d.sync += asked.eq(1)
        p = dut.segments.p
        size = Signal(53)
        m.d.comb += size.eq(Mux(given.blocks_4096, given.blocks << 12, given.blocks << 9))
        with m.If(dut.segments.valid):
            m.d.comb += Assert((p.function_id == given.function_id) & (p.volume == given.volume)
                               & p.zeroes & (p.length != 0) & (p.offset + p.length <= size))
        return m


@pytest.mark.formal
def test_spec_segments_stay_inside():
    prove(RangesSpec(Ranges(**PARAMETERS)), depth=24)


@pytest.mark.formal
def test_spec_segments_see_a_mutant():
    dut = Ranges(**PARAMETERS)
    dut.check_range = False
    with pytest.raises(ProofFailed):
        prove(RangesSpec(dut), depth=24)
