"""Table: what was inserted is found, what was removed is not, however full the buckets are."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.rtl.table import LATENCY, Table, TableOpcode, TableStatus
from tests.support.formal import ProofFailed, prove


class Driver:
    """Requests one at a time; lookups."""

    def __init__(self, dut):
        self.dut = dut

    async def request(self, ctx, opcode, hashed, row):
        dut = self.dut
        ctx.set(dut.requests.payload, {"opcode": opcode, "row": row, "hash": dict(zip(
            ("first", "second", "fingerprint"), hashed))})
        ctx.set(dut.requests.valid, 1)
        await ctx.tick().until(dut.requests.ready)
        ctx.set(dut.requests.valid, 0)
        ctx.set(dut.answers.ready, 1)
        answer, = await ctx.tick().sample(dut.answers.payload).until(dut.answers.valid)
        ctx.set(dut.answers.ready, 0)
        return TableStatus(answer.status), answer.row

    async def lookup(self, ctx, hashed):
        dut = self.dut
        ctx.set(dut.lookup, dict(zip(("first", "second", "fingerprint"), hashed)))
        await ctx.tick().repeat(LATENCY)
        return ctx.get(dut.row) if ctx.get(dut.found) else None


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_against_a_dictionary():
    """Random inserts and removals at high load; every row is found after every step of one in 8."""
    dut = Table(index_width=2, fingerprint_width=5, row_width=6)
    driver, rng = Driver(dut), random.Random(11)
    rows = {}

    async def bench(ctx):
        statuses = set()
        for step in range(150):
            if rows and rng.random() < 0.35:
                hashed = rng.choice(list(rows))
                status, _ = await driver.request(ctx, TableOpcode.REMOVE, hashed, rows.pop(hashed))
                assert status == TableStatus.OK
            else:
                hashed = (rng.randrange(4), rng.randrange(4), rng.randrange(32))
                row = next(n for n in range(64) if n not in rows.values())
                status, told = await driver.request(ctx, TableOpcode.INSERT, hashed, row)
                statuses.add(status)
                if hashed in rows:
                    assert status == TableStatus.COLLISION and told == rows[hashed]
                elif status == TableStatus.OK:
                    rows[hashed] = row
                else:
                    assert status == TableStatus.FULL and len(rows) > 24
            if step % 8 == 0:
                for hashed, row in rows.items():
                    assert await driver.lookup(ctx, hashed) == row
                assert await driver.lookup(ctx, (0, 0, 0)) == rows.get((0, 0, 0))
        assert statuses >= {TableStatus.OK, TableStatus.COLLISION}

    simulate(dut, bench)


def test_displacement_stash_and_full():
    """Rows of one pair of buckets: 8 find a way, then a victim moves, then the stash, then FULL."""
    dut = Table(index_width=3, fingerprint_width=6, row_width=6)
    driver = Driver(dut)

    async def bench(ctx):
        rows = {}

        async def insert(hashed, row):
            status, _ = await driver.request(ctx, TableOpcode.INSERT, hashed, row)
            if status == TableStatus.OK:
                rows[hashed] = row
            for known, number in rows.items():
                assert await driver.lookup(ctx, known) == number
            return status

        for n in range(4):  # they fill bucket 1 of the first table, and could go elsewhere
            assert await insert((1, 5, n), n) == TableStatus.OK
        for n in range(4, 8):
            assert await insert((1, 2, n), n) == TableStatus.OK
        # Both buckets of these are full; a victim moves to bucket 5 of the second table.
        for n in range(8, 12):
            assert await insert((1, 2, n), n) == TableStatus.OK
        for n in range(12, 16):
            assert await insert((1, 2, n), n) == TableStatus.OK  # the stash
        assert await insert((1, 2, 16), 16) == TableStatus.FULL
        status, _ = await driver.request(ctx, TableOpcode.REMOVE, (1, 2, 12), 12)
        assert status == TableStatus.OK
        del rows[(1, 2, 12)]
        assert await driver.lookup(ctx, (1, 2, 12)) is None
        assert await insert((1, 2, 16), 16) == TableStatus.OK
        status, _ = await driver.request(ctx, TableOpcode.REMOVE, (1, 2, 12), 12)
        assert status == TableStatus.NOT_FOUND
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().until(dut.ready)
        for hashed in rows:
            assert await driver.lookup(ctx, hashed) is None

    simulate(dut, bench)


class TableSpec(Elaboratable):
    """One chosen hash: from the answer to its insert until its removal begins, a lookup finds its
    row and no other; before and after, nothing."""

    def __init__(self, dut):
        self.dut = dut
        self.hashed = Signal(dut.hash_shape)
        self.row    = Signal(dut.row_width)
        self.free   = [self.hashed.as_value(), self.row]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        request = dut.requests.p
        mine = Signal()
        started = Signal()
        hashed_r, row_r = Signal.like(self.hashed.as_value()), Signal.like(self.row)
        m.d.sync += [started.eq(1), hashed_r.eq(self.hashed), row_r.eq(self.row)]
        with m.If(started):
            m.d.comb += Assume((hashed_r == self.hashed.as_value()) & (row_r == self.row))

        # The engine's user: holds a request until it is taken; the row belongs to the hash.
        held, before = Signal(), Signal.like(request.as_value())
        m.d.sync += [held.eq(dut.requests.valid & ~dut.requests.ready), before.eq(request)]
        with m.If(held):
            m.d.comb += Assume(dut.requests.valid & (request.as_value() == before))
        m.d.comb += [
            mine.eq(request.hash.as_value() == self.hashed.as_value()),
            Assume((request.row != self.row) | mine),
            Assume(~dut.clear),
        ]
        present, absent = Signal(), Signal(init=1)
        with m.If(dut.requests.valid & mine):
            with m.If(request.opcode == TableOpcode.REMOVE):
                m.d.sync += present.eq(0)
            with m.Else():
                m.d.sync += absent.eq(0)
            with m.If(dut.requests.ready & (request.opcode == TableOpcode.INSERT)
                      & (request.row == self.row) & dut.answers.valid
                      & (dut.answers.p.status == TableStatus.OK)):
                m.d.sync += present.eq(1)
        looks    = Signal(LATENCY + 1)
        presents = Signal(LATENCY + 1)
        absents  = Signal(LATENCY + 1)
        m.d.comb += [looks[0].eq(dut.lookup.as_value() == self.hashed.as_value()),
                     presents[0].eq(present), absents[0].eq(absent)]
        m.d.sync += [looks[1:].eq(looks[:-1]), presents[1:].eq(presents[:-1]),
                     absents[1:].eq(absents[:-1])]
        with m.If(looks[LATENCY]):
            with m.If(presents.all()):
                m.d.comb += Assert(dut.found & (dut.row == self.row))
            with m.If(absents.all()):
                m.d.comb += Assert(~dut.found)
        return m


class CollidingTable(Table):
    """A mutant: two rows may share all hash bits."""
    _refuses_collision = False


@pytest.mark.formal
def test_spec():
    widths = {"index_width": 1, "fingerprint_width": 1, "row_width": 2}
    prove(TableSpec(Table(**widths)), depth=20)
    with pytest.raises(ProofFailed):
        prove(TableSpec(CollidingTable(**widths)), depth=20)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`row_width` must be positive, not 0"):
        Table(index_width=2, fingerprint_width=3, row_width=0)
