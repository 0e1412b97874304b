"""What is said of a read: prompt, late, or excused by a link that was full."""

import pytest
from amaranth.sim import Simulator

from offloadcard.pcie.promptness import UNIT_CYCLES, Promptness

LATE = 4 * UNIT_CYCLES


class Strict(Promptness):
    """A mutant that excuses nothing."""
    _excuses = False


def _news(kind, *, answer_after, busy=False, cycles=4 * LATE):
    """News of one read of function 5, from slot 3, as (cycle, late)."""
    dut = kind(tags=8, function_id_width=4, late_cycles=LATE, longest_cycles=64 * LATE)
    found = []

    async def story(ctx):
        ctx.set(dut.busy, busy)
        ctx.set(dut.opened.p, {"slot": 3, "function_id": 5})
        ctx.set(dut.opened.valid, 1)
        await ctx.tick()
        ctx.set(dut.opened.valid, 0)
        for cycle in range(cycles):
            ctx.set(dut.answered.p, {"slot": 3, "function_id": 5})
            ctx.set(dut.answered.valid, cycle == answer_after)
            await ctx.tick()
            if ctx.get(dut.told.valid):
                assert ctx.get(dut.told.function_id) == 5
                found.append((cycle, bool(ctx.get(dut.told.late))))

    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    simulator.add_testbench(story)
    simulator.run()
    return found


def test_a_prompt_answer_is_told_once():
    assert [late for _, late in _news(Promptness, answer_after=LATE // 2)] == [False]


def test_silence_is_told_again_and_again():
    found = _news(Promptness, answer_after=None)
    assert len(found) > 8 and all(late for _, late in found)
    assert LATE <= found[0][0] <= LATE + 2 * UNIT_CYCLES + 8


def test_a_late_answer_ends_it():
    found = _news(Promptness, answer_after=2 * LATE)
    assert all(late for _, late in found) and found[-1][0] < 2 * LATE + 4


def test_a_full_link_is_an_excuse():
    assert _news(Promptness, answer_after=None, busy=True) == []
    assert _news(Strict, answer_after=None, busy=True) != []


@pytest.mark.parametrize("parameters, message", (
    ({"tags": 6}, "`tags` must be a power of two"),
    ({"late_cycles": 1}, "`late_cycles` must be"),
))
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Promptness(**{"tags": 8, "function_id_width": 4, "late_cycles": LATE,
                      "longest_cycles": 64 * LATE} | parameters)
