"""Proofs of the front: isolation, one end per request, ends of functions; each with a mutant."""

from dataclasses import replace

import pytest
from amaranth import *
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume

from offloadcard.config import TINY
from offloadcard.pcie.bar_decode import TO_MSIX, TO_NET, TO_NONE, TO_NVME, BarDecode
from offloadcard.pcie.lifecycle import Lifecycle
from offloadcard.pcie.mmio_lane import MmioLane
from offloadcard.pcie.msix_bank import MsixBank
from tests.support.formal import ProofFailed, prove

FOUR = replace(TINY, virtio_net_vfs=1, nvme_vfs=1, function_id_width=2)


class BarDecodeSpec(Elaboratable):
    """What leaves for function f has its address in a BAR of f, and f's BAR is enabled."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        config, settings = dut.config, dut.settings

        fixed = Signal(settings.shape())
        m.d.comb += [fixed.as_value().eq(AnyConst(len(fixed.as_value()))), settings.eq(fixed)]
        address = dut.o.p.address[16:]
        function = dut.access.function_id
        in_bar = Signal()
        for family, first in enumerate((config.first_net_vf, config.first_nvme_vf)):
            pf = settings.pf[family]
            shift = Signal(3, name=f"shift{family}")
            m.d.comb += [Assume(settings.aperture[family] < 4),
                         Assume(pf.num_vfs <= config.first_nvme_vf - 2),  # as `config_pf` holds
                         shift.eq(settings.aperture[family] << 1)]
            is_vf = (function >= first) & (function < first + pf.num_vfs)
            place = (function - first)[:config.function_id_width]
            for bar, vf_bar, to in ((pf.bar0, pf.vf_bar0, (TO_NET, TO_NVME)[family]),
                                    (pf.bar2, pf.vf_bar2, TO_MSIX)):
                low  = Signal(48, name=f"low{family}{to}")
                size = Signal(48, name=f"size{family}{to}")
                m.d.comb += [low.eq(vf_bar + (place << shift)), size.eq(1 << shift)]
                inside = Signal(48, name=f"inside{family}{to}")
                m.d.comb += inside.eq(address - low)
                with m.If((dut.to == to) & (function == family) & pf.memory & (address == bar)):
                    m.d.comb += in_bar.eq(1)
                with m.If((dut.to == to) & is_vf & pf.vf_memory & (inside < size)):
                    m.d.comb += in_bar.eq(1)
                    # Behind the 64 KiB of registers nothing is enabled.
                    with m.If((inside != 0) & ~(pf.memory & (address == bar))):
                        m.d.comb += Assert((dut.access.byte_enable == 0) | (function < 2)
                                           | ~dut.o.valid)
        settled = Signal(range(5))
        with m.If(settled != 4):
            m.d.sync += settled.eq(settled + 1)
        with m.If(dut.o.valid & (dut.to != TO_NONE) & (settled == 4)):
            m.d.comb += Assert(in_bar)
        return m


class MmioLaneSpec(Elaboratable):
    """The gate: nothing reaches a device for a function whose row does not allow it.

    And one end per read: no more completions than reads, none before its read, each in bounded
    time while the device answers; completions keep the stream rules.
    """

    def __init__(self, dut, *, bound=None):
        self.dut = dut
        self.bound = bound

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        # The row of one function, as it was told.
        who   = Signal(dut.rows.p.function_id.shape())
        alive, enabled = Signal(), Signal()
        alive_r, enabled_r = Signal(), Signal()
        m.d.comb += who.eq(AnyConst(len(who)))
        with m.If(dut.rows.valid & (dut.rows.p.function_id == who)):
            m.d.sync += [alive.eq(dut.rows.p.alive), enabled.eq(dut.rows.p.memory)]
        m.d.sync += [alive_r.eq(alive), enabled_r.eq(enabled)]
        m.d.comb += dut.requests.ready.eq(1)
        config_access = Signal()
        with m.If(dut.accesses.valid & dut.accesses.ready):
            m.d.sync += config_access.eq(1)
        with m.Else():
            m.d.sync += config_access.eq(0)
        with m.If(dut.requests.valid & (dut.requests.p.function_id == who)):
            m.d.comb += Assert(alive & (enabled | config_access))

        # The credits bound what is asked; the device answers in the next cycle.
        writes, reads = Signal(4), Signal(4)
        came, read_came = Signal(), Signal()
        m.d.comb += [came.eq(dut.i.valid & dut.i_write), read_came.eq(dut.i.valid & ~dut.i_write)]
        m.d.sync += [writes.eq(writes + came - dut.write_done),
                     reads.eq(reads + read_came - dut.read_done)]
        m.d.comb += [
            Assume(~(came & (writes == dut.writes_depth))),
            Assume(~(read_came & (reads == dut.reads_depth))),
            Assert(~(dut.read_done & (reads == 0))),
            Assert(~(dut.write_done & (writes == 0))),
        ]
        replied = Signal()
        m.d.sync += replied.eq(dut.requests.valid & ~dut.requests.p.write)
        m.d.comb += dut.replies.valid.eq(replied)

        # The stream rules.
        stalled = Signal()
        before  = Signal.like(dut.completions.p.transaction.as_value())
        status  = Signal(3)
        m.d.sync += [
            stalled.eq(dut.completions.valid & ~dut.completions.ready),
            before.eq(dut.completions.p.transaction), status.eq(dut.completions.p.status),
        ]
        with m.If(stalled):
            m.d.comb += [
                Assert(dut.completions.valid),
                Assert(dut.completions.p.transaction.as_value() == before),
                Assert(dut.completions.p.status == status),
            ]

        if self.bound is not None:
            age = Signal(8)
            total = Signal()
            m.d.sync += total.eq(total | read_came)
            m.d.comb += [dut.completions.ready.eq(1), Assume(~came), Assume(~dut.accesses.valid),
                         Assert(age < self.bound), Assume(~(read_came & total))]
            m.d.sync += age.eq(Mux((reads != 0) & ~dut.read_done, age + 1, 0))
        return m


class MsixBankSpec(Elaboratable):
    """A message of function g carries what was written for g, and only if g ever allowed it.

    All that others write is coloured by a bit; no message of g bears the colour.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        g = Signal(dut.rows.p.function_id.shape())
        m.d.comb += g.eq(AnyConst(len(g)))
        request = dut.requests
        colour  = Signal()
        m.d.comb += [
            colour.eq(request.p.function_id != g),
            Assume(request.p.data[31] == colour),
            Assume(request.p.data[63] == colour),
            Assume(request.p.byte_enable.all()),
            Assume(dut.interrupts.requests.p.function_id < dut.functions),
            Assume(request.p.function_id < dut.functions),
            Assume(dut.rows.p.function_id < dut.functions),
            Assume(~dut.stops.valid),
        ]
        allowed = Signal()
        with m.If(dut.rows.valid & (dut.rows.p.function_id == g) & dut.rows.p.msix_enable
                  & ~dut.rows.p.msix_mask & dut.rows.p.alive & dut.rows.p.bus_master):
            m.d.sync += allowed.eq(1)
        beat = dut.writes.p
        with m.If(dut.writes.valid & (beat.function_id == g)):
            m.d.comb += [
                Assert(~beat.data[3][7]), Assert(~beat.address[31]), Assert(~beat.address[63]),
                Assert(allowed), Assert(beat.length == 4), Assert(beat.first & beat.last),
            ]
        stalled = Signal()
        before  = Signal(64)
        owner   = Signal.like(beat.function_id)
        m.d.sync += [stalled.eq(dut.writes.valid & ~dut.writes.ready), before.eq(beat.address),
                     owner.eq(beat.function_id)]
        with m.If(stalled):
            m.d.comb += Assert(dut.writes.valid & (beat.address == before)
                               & (beat.function_id == owner))
        # One answer per interrupt.
        open_count = Signal(2)
        m.d.sync += open_count.eq(
            open_count + (dut.interrupts.requests.valid & dut.interrupts.requests.ready)
            - dut.interrupts.answers.valid)
        m.d.comb += [Assert(open_count <= 1),
                     Assert(~(dut.interrupts.answers.valid & (open_count == 0)))]
        return m


class LifecycleSpec(Elaboratable):
    """A function opens only after its device, the requester and MSI-X each said that it drained."""

    def __init__(self, dut, *, function_id, resets):
        self.dut = dut
        self.function_id = function_id
        self.resets = resets

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        f = Const(self.function_id, dut.resets.p.function_id.shape())
        resets = Signal(2)
        m.d.sync += resets.eq(resets + dut.resets.valid)
        m.d.comb += [
            Assume(dut.resets.p.function_id < 4),
            Assume(~(dut.resets.valid & (resets == self.resets))), dut.closings.ready.eq(1),
            dut.openings.ready.eq(1),
        ]
        family = Signal()
        m.d.comb += family.eq(Mux(f < 2, f[0], f >= dut.config.first_nvme_vf))
        heard = []
        for name, mine in (("net", ~family), ("nvme", family), ("requester", 1), ("msix", 1)):
            port    = getattr(dut, name)
            asked   = Signal(name=f"asked_{name}")
            said    = Signal(name=f"said_{name}")
            drained = port.drained
            with m.If(port.stops.valid & (port.stops.p.function_id == f)):
                m.d.sync += asked.eq(1)
                m.d.comb += [Assert(~asked), Assert(mine)]
            # No last word without a question; one that is offered stays.
            m.d.comb += Assume(~drained.valid | ((drained.p.function_id == f) & asked))
            with m.If(drained.valid & drained.ready):
                m.d.sync += [said.eq(1), asked.eq(0)]
            waiting = Signal(name=f"waiting_{name}")
            m.d.sync += waiting.eq(drained.valid & ~drained.ready)
            with m.If(waiting):
                m.d.comb += Assume(drained.valid)
            heard.append((said, mine))
            with m.If(dut.closings.valid & dut.closings.ready & (dut.closings.payload == f)):
                m.d.sync += said.eq(0)
        closed = Signal()
        with m.If(dut.closings.valid & dut.closings.ready & (dut.closings.payload == f)):
            m.d.sync += closed.eq(1)
            m.d.comb += Assert(~closed)
        with m.If(dut.openings.valid & (dut.openings.p.function_id == f)):
            m.d.comb += Assert(closed)
            for said, mine in heard:
                m.d.comb += Assert(said | ~mine)
            with m.If(dut.openings.ready):
                m.d.sync += closed.eq(0)
        return m


class BadBarDecode(BarDecode):
    _BOUNDED = False


class UngatedLane(MmioLane):
    _GATED = False


class HastyLane(MmioLane):
    _SINGLE = False


class SharedMsixBank(MsixBank):
    _OWN = False


class HastyLifecycle(Lifecycle):
    _WAITED_FOR = 0b101


def lane(kind):
    return kind(functions=2, function_id_width=1, writes_depth=2, reads_depth=2)


def bank(kind):
    return kind(functions=2, vectors=2, function_id_width=1, tag_width=2, data_width=64)


@pytest.mark.formal
def test_spec_an_access_lies_in_its_function_s_bar():
    prove(BarDecodeSpec(BarDecode(FOUR)), depth=7)


@pytest.mark.formal
def test_spec_bar_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(BarDecodeSpec(BadBarDecode(FOUR)), depth=7)


@pytest.mark.formal
def test_spec_the_lane_s_gate():
    prove(MmioLaneSpec(lane(MmioLane)), depth=8)


@pytest.mark.formal
@pytest.mark.parametrize("mutant", [UngatedLane, HastyLane])
def test_spec_lane_sees_mutants(mutant):
    with pytest.raises(ProofFailed):
        prove(MmioLaneSpec(lane(mutant)), depth=10)


@pytest.mark.formal
def test_spec_each_read_ends_in_time():
    prove(MmioLaneSpec(lane(MmioLane), bound=8), depth=11)


@pytest.mark.formal
def test_spec_read_bound_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(MmioLaneSpec(lane(MmioLane), bound=4), depth=11)


@pytest.mark.formal
def test_spec_a_message_is_its_function_s_own():
    prove(MsixBankSpec(bank(MsixBank)), depth=12)


@pytest.mark.formal
def test_spec_msix_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(MsixBankSpec(bank(SharedMsixBank)), depth=12)


@pytest.mark.formal
@pytest.mark.parametrize("function_id", [0, 3])
def test_spec_drained_only_when_all_said_so(function_id):
    prove(LifecycleSpec(Lifecycle(FOUR, settle=4), function_id=function_id, resets=1), depth=21)


@pytest.mark.formal
def test_spec_lifecycle_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(LifecycleSpec(HastyLifecycle(FOUR, settle=4), function_id=3, resets=1), depth=21)
