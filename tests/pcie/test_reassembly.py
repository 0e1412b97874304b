"""Tracker: law 2 for reads. Each ends once, gives back its tag once, and by its owner's octets."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.pcie import spec
from offloadcard.pcie.reassembly import Tracker
from tests.support.completer import beats_of, completion
from tests.support.formal import ProofFailed, prove

TAG = 1  # the watched one; tags are addresses only, so it stands for all


class TrackerSpec(Elaboratable):
    """One read of one TLP, watched among any completions and any other reads.

    *Exactly once*: it is answered once, and its tag returns once, with the answer or later.
    *Owner*: octets reach its slot only from completions that bear its requester id.
    *Quarantine*: its tag returns only after its last completion, a refusal, the link's fall, or
    twice the timeout.
    """

    def __init__(self, dut, *, quiet=False):
        self.dut   = dut
        self.quiet = quiet  # no completions and no other reads, to look further in time

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        launch, opening, refusal = dut.launches, dut.openings, dut.refusals
        record = launch.p.record

        lent     = Signal()       # the pool lacks the tag
        opened   = Signal()
        launched = Signal()
        answered = Signal()
        toggle   = Signal()
        owner    = Signal(16)
        refused, fell, closed = Signal(), Signal(), Signal()
        age      = Signal(8)

        launches, opens, refuses = Signal(), Signal(), Signal()
        m.d.comb += [
            launches.eq(launch.valid & (launch.p.tag == TAG)),
            opens.eq(opening.valid & (opening.p.slot == TAG)),
            refuses.eq(refusal.valid & refusal.ready & (refusal.payload == TAG)),
            # What the issuing side does: a slot, then a launch, refused in that cycle or never.
            Assume(~opens | ~lent),
            Assume(~launches | (opened & ~launched)),
            Assume(~refuses | launches),
            Assume(~launch.valid | ((record.slot == TAG) == (launch.p.tag == TAG))),
        ]
        with m.If(launches):
            m.d.comb += [Assume(record.toggle == ~toggle), Assume(record.last),
                         Assume(record.index == 0), Assume(record.octets != 0),
                         Assume(record.octets <= 16), Assume(record.epoch == dut.epoch)]
            m.d.sync += [launched.eq(1), owner.eq(record.requester_id), toggle.eq(~toggle),
                         refused.eq(refuses), age.eq(0)]
        with m.Elif(launched & (age != 255)):
            m.d.sync += age.eq(age + 1)
        with m.If(opens):
            m.d.sync += [lent.eq(1), opened.eq(1), launched.eq(0), answered.eq(0),
                         refused.eq(0), fell.eq(0), closed.eq(0)]

        # Completions: headers are constant inside a TLP, and these are of one beat.
        header = Signal(spec.Completion)
        beat   = dut.completions.p
        m.d.comb += [
            header.eq(beat.header.as_value()),
            Assume(~dut.completions.valid | (beat.first & beat.last)),
        ]
        started, fallen = Signal(), Signal()
        if self.quiet:
            m.d.comb += [
                Assume(~dut.completions.valid),
                Assume(~launch.valid | (launch.p.tag == TAG)),
                Assume(~opening.valid | (opening.p.slot == TAG)),
                Assume(~refusal.valid | (refusal.payload == TAG)),
                Assume(~opening.valid | ~started),
                # A link that fell stays down; the record is one and the same.
                Assume(dut.link_up <= ~fallen),
                Assume(dut.timeout_disable == 0),
                Assume(opening.p.record.as_value() == 0),
                *[Assume(record[name] == value) for name, value in (
                    ("octets", 4), ("position", 0), ("requester_id", 0), ("function_id", 0),
                    ("port", 0), ("lower", 0))],
            ]
            m.d.sync += fallen.eq(fallen | ~dut.link_up)
            with m.If(opening.valid):
                m.d.sync += started.eq(1)
        with m.If(~dut.link_up):
            m.d.sync += fell.eq(1)
        # The tracker's records are read a cycle after its input, and used in the next.
        rid, rid_r, came = Signal(16), Signal(16), Signal()
        ends_read, room = Signal(), Signal(13)
        m.d.comb += [
            room.eq(Cat(C(0, 2), header["length"], header["length"] == 0)
                    - header.lower_address[:2]),
            ends_read.eq((header.status != spec.CplStatus.SC)
                         | (Cat(header.byte_count, header.byte_count == 0) <= room)),
        ]
        m.d.sync += [rid.eq(header.requester_id), rid_r.eq(rid),
                     came.eq(dut.completions.valid & (header.tag == TAG) & ~beat.error
                             & ends_read)]
        with m.If(came & launched & (owner == rid)):
            m.d.sync += closed.eq(1)
        with m.If(dut.pieces.valid & (dut.pieces.p.slot == TAG)):
            m.d.comb += Assert(launched & (rid_r == owner))

        answer, back = dut.answers, dut.returns
        ends, returns = Signal(), Signal()
        m.d.comb += [
            ends.eq(answer.valid & (answer.p.slot == TAG)),
            returns.eq(back.valid & (back.p.tag == TAG)),
        ]
        with m.If(ends):
            m.d.comb += Assert(lent & launched & ~answered)
            m.d.sync += answered.eq(1)
            with m.If(~answer.p.error):
                m.d.comb += Assert(closed & ~refused)
        with m.If(returns | (ends & answer.p.free)):
            m.d.comb += [
                Assert(lent & ~(returns & ends & answer.p.free)),
                Assert(closed | refused | fell | (age >= 2 * dut.timeout_cycles)),
            ]
            m.d.sync += [lent.eq(0), opened.eq(0)]
        with m.If(returns):
            m.d.comb += Assert(answered | ends)

        # Conservation, with a bound: a fallen link ends and returns everything.
        down = Signal(8)
        m.d.sync += down.eq(Mux(dut.link_up | ~launched | launches, 0, down + 1))
        with m.If(down >= 14):
            m.d.comb += Assert(~lent | opens)
        return m


class Careless(Tracker):
    keeps_slots = False


def ends_of_a_held_tag(dut):
    """Ends of a read of two TLPs: ``[("answer" or "return", tag, free)]``.

    The first TLP's completion is malformed, so its tag, which is also the slot, is quarantined;
    the second is sent only when the quarantine is over.
    """
    found = []

    async def story(ctx):
        async def cycles(count):
            for _ in range(count):
                if ctx.get(dut.answers.valid):
                    found.append(("answer", ctx.get(dut.answers.p.slot),
                                  ctx.get(dut.answers.p.free)))
                if ctx.get(dut.returns.valid):
                    found.append(("return", ctx.get(dut.returns.p.tag), 0))
                await ctx.tick()
                for port in (dut.openings, dut.launches, dut.completions):
                    ctx.set(port.valid, 0)

        async def launch(tag, index):
            ctx.set(dut.launches.payload, {"tag": tag, "record": {
                "requester_id": 9, "slot": 0, "index": index, "last": index, "octets": 4,
                "epoch": ctx.get(dut.epoch), "toggle": 1}})
            ctx.set(dut.launches.valid, 1)
            await cycles(4)

        async def complete(tag, byte_count):
            beat, = beats_of(*completion(requester_id=9, tag=tag, byte_count=byte_count,
                                         octets=bytes(4)), dut.data_width)
            ctx.set(dut.completions.payload, beat)
            ctx.set(dut.completions.valid, 1)
            await cycles(8)

        ctx.set(dut.link_up, 1)
        ctx.set(dut.openings.payload, {"slot": 0, "record": {"length": 8}})
        ctx.set(dut.openings.valid, 1)
        await cycles(1)
        await launch(0, 0)
        await complete(0, 5)
        await cycles(3 * dut.timeout_cycles)
        await launch(1, 1)
        await complete(1, 4)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(story)
    simulator.run()
    return found


WIDTHS = {"tags": 4, "function_id_width": 2, "tag_width": 2, "data_width": 64,
          "timeout_cycles": 64}


def test_a_slot_keeps_its_tag_until_it_is_answered():
    """A tag that is free before its request has ended would lend the request's slot twice."""
    assert ends_of_a_held_tag(Tracker(**WIDTHS)) == [("answer", 0, 1), ("return", 1, 0)]
    assert ends_of_a_held_tag(Careless(**WIDTHS))[0] == ("return", 0, 0)


class Trusting(Tracker):
    checks_owner = False


class Hasty(Tracker):
    keeps_quarantine = False


def tracker(kind):
    return kind(tags=2, function_id_width=1, tag_width=1, data_width=64, timeout_cycles=16)


@pytest.mark.formal
def test_spec_law_2_each_read_ends_once():
    prove(TrackerSpec(tracker(Tracker)), depth=9)


@pytest.mark.formal
def test_spec_law_2_the_links_fall_ends_reads():
    prove(TrackerSpec(tracker(Tracker), quiet=True), depth=18)


@pytest.mark.formal
def test_spec_law_1_completions_of_the_owner_only_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(TrackerSpec(tracker(Trusting)), depth=9)


@pytest.mark.formal
def test_spec_quarantine_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(TrackerSpec(tracker(Hasty)), depth=9)
