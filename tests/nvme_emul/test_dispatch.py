"""Dispatch: what is carried out lies inside its owner's volume."""

import pytest
from amaranth import *
from amaranth.hdl import Assert

from offloadcard.nvme_emul.dispatch import Dispatch
from offloadcard.nvme_emul.spec import Opcode
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer, assume_producer, symbolic

PARAMETERS = {"function_id_width": 1, "qid_width": 2, "slot_width": 1, "mdts_octets": 128 * 1024}


class DispatchSpec(Elaboratable):
    """A command goes to a transfer only if its blocks exist and may be accessed so; its owner is
    the entry's; each entry goes to one place, once."""

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        owner  = symbolic(m, self.free, 1, "owner")
        volume = symbolic(m, self.free, 2, "volume")
        row    = Signal.like(dut.volumes.p.row)
        taken  = dut.i.valid & dut.i.ready
        stored = Signal()
        mine   = dut.volumes.valid & (dut.volumes.p.function_id == owner) \
            & (dut.volumes.p.volume == volume)
        with m.If(mine):
            m.d.sync += [row.eq(dut.volumes.p.row), stored.eq(1)]
        with m.If(taken):
            m.d.sync += stored.eq(0)
        with m.If(mine & taken):
            m.d.sync += stored.eq(0)
        assume_producer(m, dut.i, "i")
        assume_producer(m, dut.slots, "slots")
        targets = {"admin": dut.admin, "read": dut.read, "write": dut.write,
                   "ranges": dut.ranges, "results": dut.results}
        for name, port in targets.items():
            assert_producer(m, port, name)

        # The command as it was told in the cycle before it is sent.
        told   = Signal.like(dut.commands.payload)
        inside = Signal()   # an entry was taken and has not been sent
        given  = Signal(1)
        sent   = Cat(port.valid & port.ready for port in targets.values()).any()
        with m.If(dut.commands.valid):
            m.d.sync += told.eq(dut.commands.payload)
        with m.If(taken):
            m.d.sync += [inside.eq(1), given.eq(dut.i.p.function_id)]
            m.d.comb += Assert(~inside)
        with m.If(sent):
            m.d.sync += inside.eq(0)
            m.d.comb += Assert(inside & (told.function_id == given))
        p = told
        with m.If(dut.ranges.valid & (p.function_id == owner) & (p.volume == volume) & ~stored):
            m.d.comb += Assert(row.valid & ~row.read_only & (p.blocks == row.blocks)
                               & (p.blocks_4096 == row.blocks_4096))
        size = Signal(53)
        m.d.comb += size.eq(Mux(row.blocks_4096, row.blocks << 12, row.blocks << 9))
        with m.If((dut.read.valid | dut.write.valid) & (p.function_id == owner)
                  & (p.volume == volume) & ~stored):
            m.d.comb += [Assert(row.valid), Assert(p.offset + p.octets <= size)]
            with m.If(dut.write.valid):
                # What is compared is not written; it is known by its opcode and nothing else.
                m.d.comb += [Assert(~row.read_only | p.compare),
                             Assert(p.compare == (p.opcode == Opcode.COMPARE))]
        return m


@pytest.mark.formal
def test_spec_range():
    prove(DispatchSpec(Dispatch(**PARAMETERS)), depth=9)


@pytest.mark.formal
def test_spec_range_sees_a_mutant():
    dut = Dispatch(**PARAMETERS)
    dut.check_range = False
    with pytest.raises(ProofFailed):
        prove(DispatchSpec(dut), depth=9)
