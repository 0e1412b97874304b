"""Cutter: no TLP crosses 4 KiB or its limit, and the pieces are the request, once."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from offloadcard.pcie.requester_cut import Cutter
from tests.pcie.guest import simulate
from tests.support.formal import ProofFailed, prove
from tests.support.streams import Stalls, stream_get, stream_put


@pytest.mark.parametrize("length_max", [4096, 10_240])
@pytest.mark.parametrize("limit", [0, 1, 2, 5, 7])
def test_pieces_are_the_request(limit, length_max):
    """All octets once, in order, in as few pieces as the limit and the pages, up to four, allow."""
    dut, rng, rest = Cutter(8, length_max=length_max), random.Random(limit), Stalls(limit, 0.2)
    size = min(128 << limit, 4096)
    requests = [(rng.randrange(256), (rng.randrange(1 << 40) << 12) + 4096 - rng.choice(
        [1, 3, 4, 64, 4096, rng.randrange(1, 4097)]),
        rng.choice([1, 3, 4, 5, length_max, rng.randrange(1, length_max + 1)]))
        for _ in range(60)]

    async def put(ctx):
        for user, address, length in requests:
            while rest():
                await ctx.tick()
            await stream_put(ctx, dut.i, {"user": user, "address": address, "length": length,
                                          "limit": limit})

    async def get(ctx):
        for user, address, length in requests:
            at, count, last = 0, 0, False
            while not last:
                while rest():
                    await ctx.tick()
                piece = await stream_get(ctx, dut.o)
                assert piece.first == (at == 0) and piece.user == user
                assert (piece.address, piece.offset) == (address + at, at)
                begin = piece.address & ~3
                assert begin >> 12 == (piece.address + piece.octets - 1) >> 12
                assert 4 * piece.length_dw <= size
                lanes = ((1 << piece.octets) - 1) << (piece.address & 3)
                words = [lanes >> 4 * n & 15 for n in range(piece.length_dw)]
                assert lanes >> 4 * piece.length_dw == 0 and all(words)
                assert piece.first_be == words[0]
                assert piece.last_be == (words[-1] if len(words) > 1 else 0)
                at, count, last = at + piece.octets, count + 1, piece.last
            assert at == length
            page = min(length, 4096 - address % 4096)
            whole, rest_ = divmod(length - page, 4096)
            parts = [(address & 3) + page, *[4096] * whole, rest_]
            assert count == sum(-(-octets // size) for octets in parts)

    simulate(dut, put, get)


def test_one_piece_a_clock():
    """Requests of one piece follow one another without a gap."""
    dut, cycles = Cutter(8, length_max=512), []

    async def put(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, {"address": 0x1000, "length": 64, "limit": 2})
        for _ in range(40):
            await ctx.tick()

    async def get(ctx):
        ctx.set(dut.o.ready, 1)
        for cycle in range(36):
            *_, valid = await ctx.tick().sample(dut.o.valid)
            if valid:
                cycles.append(cycle)

    simulate(dut, put, get)
    assert cycles[0] <= 2 and cycles == list(range(cycles[0], 36))


@pytest.mark.parametrize("length_max", [0, 16_385])
def test_bad_length(length_max):
    with pytest.raises(ValueError, match="`length_max` must be 1 to 16384"):
        Cutter(8, length_max=length_max)


class CutterSpec(Elaboratable):
    """Law 5: pieces keep to page and limit, and are contiguous from the request's begin to its end.

    One request, any, is watched from its acceptance; it is alone.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        request, piece = dut.i.p, dut.o.p
        taken   = Signal()
        address = Signal(64)
        left    = Signal.like(request.length)
        limit   = Signal(13)
        m.d.comb += [Assume(request.length != 0), Assume(request.length <= dut.length_max),
                     Assume(~(dut.i.valid & taken)), Assume(request.limit < 2),
                     # Pages count by 1 above; two of them are enough for the solver.
                     Assume(request.address[14:] == 0x1_0000_0000)]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [taken.eq(1), address.eq(request.address), left.eq(request.length),
                         limit.eq(128 << request.limit)]
        begin, end = Signal(13), Signal(14)
        m.d.comb += [begin.eq(piece.address[:12] & ~3), end.eq(begin + (piece.length_dw << 2))]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(taken & (left != 0)),
                Assert(piece.address == address),
                Assert((piece.octets != 0) & (piece.octets <= left)),
                Assert(piece.last == (piece.octets == left)),
                Assert(end <= 4096),
                Assert((piece.length_dw << 2) <= limit),
                Assert((piece.length_dw << 2) >= piece.octets + piece.address[:2]),
                Assert((piece.length_dw << 2) < piece.octets + piece.address[:2] + 4),
                Assert((piece.last_be == 0) == (piece.length_dw == 1)),
                Assert(piece.first_be != 0),
            ]
            with m.If(dut.o.ready):
                m.d.sync += [address.eq(address + piece.octets), left.eq(left - piece.octets)]
        stalled, before = Signal(), Signal.like(piece.as_value())
        m.d.sync += [stalled.eq(dut.o.valid & ~dut.o.ready), before.eq(piece)]
        with m.If(stalled):
            m.d.comb += Assert(dut.o.valid & (piece.as_value() == before))
        return m


class CrossesPages(Cutter):
    page_octets = 8192


@pytest.mark.formal
def test_spec_pieces_are_legal():
    prove(CutterSpec(Cutter(1, length_max=300)), depth=7)


@pytest.mark.formal
def test_spec_pieces_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(CutterSpec(CrossesPages(1, length_max=300)), depth=7)
