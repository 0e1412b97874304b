"""Submission: what is fetched has a place for its answer, and lies in its owner's queue."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.nvme_emul.submission import Submission
from tests.support.formal import ProofFailed, prove

from .rules import assert_producer

PARAMETERS = {"function_id_width": 1, "qid_width": 1, "queues": 1, "slots": 16, "cap": 16,
              "functions": 2, "fetches": 4, "count_width": 6}


def test_bad_parameter():
    with pytest.raises(ValueError, match="`cap` must be 8 to `slots`, not 4"):
        Submission(**{**PARAMETERS, "cap": 4})
    with pytest.raises(ValueError, match="`fetches` must be at least 4, not 2"):
        Submission(**{**PARAMETERS, "fetches": 2})


class SubmissionSpec(Elaboratable):
    """Function 1 has one queue pair, its guest never takes a completion and none is posted: no
    more entries are ever fetched than its completion queue holds, all of its own queue.

    The queues are created first; doorbells ring and tails move as they like, inside the queue.
    """

    def __init__(self, dut):
        self.dut = dut
        self.free = []

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        step    = Signal(range(4))
        sq_base = Signal(64)
        sq_size = Signal(16)
        cq_size = Signal(16)
        fetched = Signal(8)
        update  = dut.updates
        m.d.comb += [
            Assume(update.valid == (step < 2)),
            Assume((update.p.function_id == 1) & (update.p.qid == 0) & update.p.valid
                   & (update.p.completion == (step == 0)) & (update.p.cqid == 0)
                   & (update.p.size != 0) & (update.p.size < 16) & (update.p.base[:12] == 0)),
            Assume(dut.posted.as_value() == 0), Assume(dut.head == 0),
            Assume(dut.tail <= sq_size), Assume(dut.done == 0), Assume(~dut.released.valid),
            Assume(~dut.events.valid),
        ]
        with m.If(update.valid & update.ready):
            m.d.sync += step.eq(step + 1)
            with m.If(step == 0):
                m.d.sync += cq_size.eq(update.p.size)
            with m.Else():
                m.d.sync += [sq_size.eq(update.p.size), sq_base.eq(update.p.base)]
        assert_producer(m, dut.fetches, "fetches")
        p = dut.fetches.p
        with m.If(dut.fetches.valid):
            m.d.comb += [
                Assert(p.function_id == 1), Assert(p.qid == 0), Assert(p.count != 0),
                Assert(p.address >= sq_base),
                Assert((p.address - sq_base)[6:] + p.count <= sq_size + 1),
                Assert(fetched + p.count <= cq_size),
            ]
            with m.If(dut.fetches.ready):
                m.d.sync += fetched.eq(fetched + p.count)
        return m


@pytest.mark.formal
def test_spec_every_entry_has_a_place():
    prove(SubmissionSpec(Submission(**PARAMETERS)), depth=20)


@pytest.mark.formal
def test_spec_every_entry_sees_a_mutant():
    dut = Submission(**PARAMETERS)
    dut.check_room = False
    with pytest.raises(ProofFailed):
        prove(SubmissionSpec(dut), depth=20)
