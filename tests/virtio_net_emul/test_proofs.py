"""Proofs of the queue engines, each with a mutant that must be refused."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.config import TINY
from offloadcard.virtio_net_emul.account import Account
from offloadcard.virtio_net_emul.avail import Avail
from offloadcard.virtio_net_emul.chain import Chain
from offloadcard.virtio_net_emul.layouts import Geometry
from offloadcard.virtio_net_emul.lifecycle import Lifecycle
from offloadcard.virtio_net_emul.profile import EVENT_END, EVENT_QUEUE, WAYS
from offloadcard.virtio_net_emul.scatter import Scatter
from offloadcard.virtio_net_emul.table import Pool
from tests.support.formal import ProofFailed, prove


class Small(Geometry):
    """The smallest engines that have all their parts."""

    def __init__(self):
        super().__init__(TINY)
        self.functions, self.row_bits = 2, 1
        self.pairs, self.pair_bits    = 1, 0
        self.queue_bits, self.queues  = 1, 2
        self.batch, self.batch_bits   = 4, 2
        self.batches, self.per_queue  = 4, 2
        self.pages, self.page_bits    = 4, 2
        self.next_tags = self.desc_tags = self.used_slots = 2


def held(m, stream):
    """[style: streams] what was offered stays until it is taken."""
    waited = Signal()
    before = Signal.like(stream.payload if isinstance(stream.payload, Value)
                         else stream.payload.as_value())
    value  = stream.payload if isinstance(stream.payload, Value) else stream.payload.as_value()
    m.d.sync += [waited.eq(stream.valid & ~stream.ready), before.eq(value)]
    m.d.comb += Assert(~waited | stream.valid & (value == before))


class AvailSpec(Elaboratable):
    """Isolation: a read of a queue's rings carries the ``function_id`` of the queue's owner.

    The queue's number stands in the upper half of its ring's address, so that the address of a
    request tells whose memory it is.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        queue = Signal.like(dut.queue)
        m.d.sync += queue.eq(dut.queue)
        m.d.comb += [
            dut.setup.driver.eq(Cat(Const(0x40, 32), queue)), dut.setup.size.eq(4),
            dut.setup.enable.eq(1), dut.done.eq(0), dut.quiet.eq(1),
        ]
        # An answer comes for a request only; here none is needed to see requests of both kinds.
        m.d.comb += Assume(~dut.reads.beats.valid | dut.reads.beats.p.last)
        request = dut.reads.requests
        with m.If(request.valid):
            m.d.comb += Assert(request.p.function_id == request.p.address[32:])
            m.d.comb += Assert(request.p.length != 0)
        held(m, request)
        return m


class WrongOwner(Small):
    """A mutant: every request is the first function's."""

    def function_of(self, queue):
        return Const(0, 1)


@pytest.mark.formal
def test_spec_a_request_is_its_queues_owners():
    prove(AvailSpec(Avail(Small(), limited=False)), depth=13)


@pytest.mark.formal
def test_spec_owner_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(AvailSpec(Avail(WrongOwner(), limited=False)), depth=13)


class LifecycleSpec(Elaboratable):
    """A function's end is said only after a round in which all its engines were idle, a queue's
    only after its own engine was."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += Assume(dut.queue_resets.p.way < WAYS)
        idle = Signal(WAYS)
        for way in range(WAYS):
            asked = Signal(name=f"asked_{way}")
            check = dut.checks[way]
            m.d.comb += Assume(~dut.checked[way] | asked)
            with m.If(check.valid & check.ready):
                m.d.sync += [asked.eq(1), idle[way].eq(0)]
            with m.Elif(dut.checked[way]):
                m.d.sync += [asked.eq(0), idle[way].eq(dut.idle[way])]
        with m.If(dut.events.valid & (dut.events.p.kind == EVENT_END)):
            m.d.comb += Assert(idle.all())
        with m.If(dut.lifecycle.drained.valid):
            m.d.comb += Assert(idle.all())
        with m.If(dut.events.valid & (dut.events.p.kind == EVENT_QUEUE)):
            m.d.comb += Assert(idle.bit_select(dut.events.p.way, 1))
        held(m, dut.lifecycle.drained)
        held(m, dut.events)
        return m


class Hasty(Lifecycle):
    """A mutant that does not wait."""
    _waits = False


@pytest.mark.formal
@pytest.mark.parametrize("kind", (Lifecycle, Hasty))
def test_spec_drained_means_idle(kind):
    spec = LifecycleSpec(kind(Small(), life=_life()))
    if kind is Lifecycle:
        prove(spec, depth=24)
    else:
        with pytest.raises(ProofFailed):
            prove(spec, depth=24)


def _life():
    from amaranth.lib import data
    return data.StructLayout({"status": 8, "resetting": 1, "stopping": 1})


class ChainSpec(Elaboratable):
    """A chain of a queue of two descriptors has at most two segments, the last one marked."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        begun = Signal()
        count = Signal(3)
        beats = dut.reads.beats
        m.d.comb += [
            dut.batch_row.size.eq(2), dut.batch_row.frame_pages.eq(1), dut.segments.ready.eq(1),
            dut.reads.requests.ready.eq(1),
            Assume(~dut.heads.p.marker), Assume(~dut.heads.valid | ~begun),
            Assume(dut.heads.p.slot.as_value() == 0), Assume(dut.heads.p.desc.addr == 0),
        ]
        # One read at a time is answered, whole, and nothing that was not asked for.
        asked = Signal()
        tag   = Signal.like(beats.p.tag)
        with m.If(dut.reads.requests.valid):
            m.d.sync += [asked.eq(1), tag.eq(dut.reads.requests.p.tag)]
        with m.Elif(beats.valid & beats.p.last):
            m.d.sync += asked.eq(0)
        m.d.comb += [Assume(~beats.valid | asked & (beats.p.tag == tag) & beats.p.last)]
        with m.If(dut.heads.valid & dut.heads.ready):
            m.d.sync += begun.eq(1)
        with m.If(dut.segments.valid):
            m.d.sync += count.eq(count + 1)
            m.d.comb += Assert(count < 2)
            m.d.comb += Assert((count == 0) | dut.segments.p.last)
        return m


class Endless(Chain):
    """A mutant that follows a loop for ever."""
    _counts_hops = False


@pytest.mark.formal
@pytest.mark.parametrize("kind", (Chain, Endless))
def test_spec_a_loop_ends(kind):
    spec = ChainSpec(kind(Small(), receive=False))
    if kind is Chain:
        prove(spec, depth=17)
    else:
        with pytest.raises(ProofFailed):
            prove(spec, depth=17)


class AccountSpec(Elaboratable):
    """Each entry of a batch is given back exactly once, and not before its chain ended.

    Watches one entry, freely chosen, of batch 0 in one life of it.
    """

    def __init__(self, dut):
        self.dut = dut
        self.entry = Signal(2)
        self.free = (self.entry,)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        chosen = Signal(2)
        first  = Signal(init=1)
        m.d.sync += first.eq(0)
        with m.If(first):
            m.d.sync += chosen.eq(self.entry)
        end, job = dut.ends, dut.jobs
        seen  = Signal(4)
        over  = Signal()
        given = Signal()
        upto  = Signal(3)
        mask  = Signal(4)
        m.d.comb += mask.eq(1 << end.p.slot.index)
        m.d.comb += Assume(~(first & end.valid))
        # The producer: every entry ends once, markers rise, the last is final.
        m.d.comb += [Assume(end.p.slot.batch == 0), Assume(~end.p.skip & ~end.p.error)]
        with m.If(end.valid):
            m.d.comb += Assume(~over | ~end.p.marker)
            with m.If(end.p.marker):
                m.d.comb += Assume((end.p.upto > upto) & (end.p.upto <= 4)
                                   & (end.p.final == (end.p.upto == 4)))
            with m.Else():
                m.d.comb += Assume((seen & mask) == 0)
        stalled = Signal()
        before  = Signal.like(end.payload.as_value())
        m.d.sync += [stalled.eq(end.valid & ~end.ready), before.eq(end.payload)]
        m.d.comb += Assume(~stalled | end.valid & (end.payload.as_value() == before))
        with m.If(end.valid & end.ready):
            with m.If(end.p.marker):
                m.d.sync += [upto.eq(end.p.upto), over.eq(end.p.final)]
            with m.Else():
                m.d.sync += seen.eq(seen | mask)
        with m.If(job.valid & job.ready):
            inside = Signal()
            m.d.comb += inside.eq((job.p.start <= chosen) & (chosen < job.p.start + job.p.count))
            with m.If(inside):
                m.d.comb += Assert(~given)
                m.d.comb += Assert((seen >> chosen)[0])
                m.d.sync += given.eq(1)
            with m.If(job.p.final):
                m.d.comb += Assert(given | inside)
        held(m, job)
        return m


class Early(Account):
    """A mutant that does not wait for the chains below a marker."""
    _waits = False


@pytest.mark.formal
@pytest.mark.parametrize("kind", (Account, Early))
def test_spec_2_7_8_each_chain_is_used_once(kind):
    g = Small()
    spec = AccountSpec(kind(g, end=Scatter(g).end))
    if kind is Account:
        prove(spec, depth=18)
    else:
        with pytest.raises(ProofFailed):
            prove(spec, depth=18)


class PoolSpec(Elaboratable):
    """An id that is out is not lent again, if only ids that are out come back."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        out = Signal(dut.count)
        lent, back = Signal(dut.count), Signal(dut.count)
        m.d.comb += [
            lent.eq(Mux(dut.o.valid & dut.o.ready, 1 << dut.o.payload, 0)),
            back.eq(Mux(dut.i.valid, 1 << dut.i.payload, 0)),
            Assume((back & ~out) == 0),
            Assert((lent & out) == 0),
        ]
        m.d.sync += out.eq((out | lent) & ~back)
        return m


class Generous(Pool):
    """A mutant that forgets that its ids are new only once."""
    _forgets = True


@pytest.mark.formal
@pytest.mark.parametrize("kind", (Pool, Generous))
def test_spec_an_id_is_lent_once(kind):
    spec = PoolSpec(kind(count=2))
    if kind is Pool:
        prove(spec, depth=9)
    else:
        with pytest.raises(ProofFailed):
            prove(spec, depth=9)
