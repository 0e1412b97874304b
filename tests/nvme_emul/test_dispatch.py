"""Dispatch: what is carried out lies inside its owner's volume."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

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
        slot   = symbolic(m, self.free, 1, "slot")
        row    = Signal.like(dut.volumes.p.row)
        # Of the one slot; others may be under way meanwhile.
        taken  = dut.i.valid & dut.i.ready & (dut.slots.payload == slot)
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

        # The command as it was told in a cycle before it is sent.
        told   = Signal.like(dut.commands.payload)
        inside = Signal()   # the slot was taken and has not been sent
        known  = Signal()   # and told
        given  = Signal(1)
        offers = {name: port.valid & (slot == (port.p.slot if name == "results" else port.payload))
                  for name, port in targets.items()}
        sent   = Cat(offers[name] & port.ready for name, port in targets.items()).any()
        m.d.comb += Assume(~(dut.slots.valid & (dut.slots.payload == slot) & inside))
        with m.If(dut.commands.valid & (dut.commands.p.slot == slot)):
            m.d.sync += [told.eq(dut.commands.payload), known.eq(1)]
            m.d.comb += Assert(inside & ~known)
        with m.If(taken):
            m.d.sync += [inside.eq(1), given.eq(dut.i.p.function_id)]
        with m.If(sent):
            m.d.sync += [inside.eq(0), known.eq(0)]
            m.d.comb += Assert(inside & known & (told.function_id == given))
        m.d.comb += Assert(sum(offers.values()) <= 1)
        p = told
        with m.If(offers["ranges"] & (p.function_id == owner) & (p.volume == volume) & ~stored):
            m.d.comb += Assert(row.valid & ~row.read_only & (p.blocks == row.blocks)
                               & (p.blocks_4096 == row.blocks_4096))
        size = Signal(53)
        m.d.comb += size.eq(Mux(row.blocks_4096, row.blocks << 12, row.blocks << 9))
        with m.If((offers["read"] | offers["write"]) & (p.function_id == owner)
                  & (p.volume == volume) & ~stored):
            m.d.comb += [Assert(row.valid), Assert(p.offset + p.octets <= size)]
            with m.If(offers["write"]):
                # What is compared is not written; it is known by its opcode and nothing else.
                m.d.comb += [Assert(~row.read_only | p.compare),
                             Assert(p.compare == (p.opcode == Opcode.COMPARE))]
        return m


@pytest.mark.formal
def test_spec_range():
    prove(DispatchSpec(Dispatch(**PARAMETERS)), depth=12)


@pytest.mark.formal
def test_spec_range_sees_a_mutant():
    dut = Dispatch(**PARAMETERS)
    dut.check_range = False
    with pytest.raises(ProofFailed):
        prove(DispatchSpec(dut), depth=12)
