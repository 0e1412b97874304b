"""Proof of configuration space: a request for one function leaves all others as they were."""

from dataclasses import replace

import pytest
from amaranth import *
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.config_map import VIRTIO_PCI_DATA
from offloadcard.pcie.config_resolve import Resolver
from offloadcard.pcie.config_space import ConfigSpace
from offloadcard.pcie.transactions import RESET_FUNCTION, SC
from tests.support.formal import ProofFailed, prove

FOUR = replace(TINY, virtio_net_vfs=1, nvme_vfs=1, function_id_width=2)
_SHARED = (spec.SRIOV + 0x14) // 4  # First VF Offset follows PF0's ARI bit, by the standard


class Known(Resolver):
    """Every function is there, whatever was enabled."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.function_id.eq(self.bdf), self.exists.eq(1)]
        return m


class OpenConfigSpace(ConfigSpace):
    """The one that is proved."""
    resolver = Known


class SharedRow(OpenConfigSpace):
    """Mutant: all write into the row of function 0."""
    _OWN = False


class ConfigSpaceSpec(Elaboratable):
    """A read of function g, one request of another function, the read again: the same answer.

    The request between is any: read or write, of any register, poisoned or not. Gates are told of
    the function of the request only; a virtual function's request ends nobody but itself and
    changes no setting of the card.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        g, r = Signal(2), Signal(7)
        m.d.comb += [g.eq(AnyConst(2)), r.eq(AnyConst(7)),
                     Assume(r != VIRTIO_PCI_DATA // 4), Assume(r != _SHARED)]
        request, answer = dut.requests, dut.completions
        number = Signal(2)   # of the request that is offered
        owner  = Signal(2)   # of the last one taken
        m.d.comb += [
            # Requests come one behind the other, and nothing else happens.
            request.valid.eq(number != 3), answer.ready.eq(1), dut.accesses.ready.eq(1),
            dut.access_replies.valid.eq(1), dut.errors.valid.eq(0), dut.closings.valid.eq(0),
            dut.openings.valid.eq(0), dut.management.requests.valid.eq(0), dut.link_up.eq(1),
            dut.pending.eq(0), dut.passing.eq(0), dut.walking.eq(0),
            Assume(~request.p.type1), Assume(request.p.bdf[2:] == 0),
        ]
        with m.If(number == 1):
            m.d.comb += Assume(request.p.bdf[:2] != g)
        with m.Else():
            m.d.comb += [Assume(request.p.bdf[:2] == g), Assume(~request.p.write),
                         Assume(request.p.register == r)]
        with m.If(request.valid & request.ready):
            m.d.sync += [number.eq(number + 1), owner.eq(request.p.bdf)]

        before = Signal(32)
        good   = Signal()
        with m.If(answer.valid & (number == 1)):
            m.d.sync += [before.eq(answer.p.data[:32]), good.eq(answer.p.status == SC)]
        with m.If(answer.valid & (number == 3)):
            m.d.comb += [Assert((answer.p.status == SC) == good),
                         Assert(~good | (answer.p.data[:32] == before))]

        with m.If((number != 0) & dut.rows.valid):
            m.d.comb += Assert(dut.rows.p.function_id == owner)
        settings = Signal.like(dut.settings.as_value())
        m.d.comb += settings.eq(dut.settings.as_value()[8:])  # the bus number is the link's
        was = Signal.like(settings)
        m.d.sync += was.eq(settings)
        with m.If((number == 2) & (owner >= 2)):
            m.d.comb += [
                Assert(settings == was),
                Assert(~dut.resets.valid | ((dut.resets.p.function_id == owner)
                                            & (dut.resets.p.scope == RESET_FUNCTION))),
            ]
        return m


@pytest.mark.formal
def test_spec_a_request_leaves_others_as_they_were():
    prove(ConfigSpaceSpec(OpenConfigSpace(FOUR)), depth=29)


@pytest.mark.formal
def test_spec_config_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(ConfigSpaceSpec(SharedRow(FOUR)), depth=29)
