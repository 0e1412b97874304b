"""Buffer, Skid, Queue, Merge, Demux and the DMA multiplexers: order, stalls, nothing lost."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.sim import Simulator

from offloadcard.rtl.arbiter import Merge, RoundRobin
from offloadcard.rtl.buffer import Buffer, Queue, Skid
from offloadcard.rtl.dma import DmaReadMux
from offloadcard.rtl.rotate import rotate_left
from offloadcard.rtl.steer import Demux
from tests.support.formal import ProofFailed, prove
from tests.support.streams import Stalls, stream_get_all, stream_put_all

BEAT = data.StructLayout({"value": 8, "last": 1})


def simulate(dut, *testbenches):
    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    for bench in testbenches:
        simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("make", [lambda: Buffer(8), lambda: Queue(8, depth=4),
                                  lambda: Queue(8, depth=4, latency=1),
                                  lambda: Queue(8, depth=4, latency=0), lambda: Skid(8)])
@pytest.mark.parametrize("seed", range(3))
def test_order_survives_stalls(make, seed):
    dut, got = make(), []

    async def put(ctx):
        await stream_put_all(ctx, dut.i, range(50), Stalls(seed, 0.3))

    async def get(ctx):
        got.extend(await stream_get_all(ctx, dut.o, 50, Stalls(seed + 9, 0.3)))

    simulate(dut, put, get)
    assert got == list(range(50))


def test_buffer_moves_one_payload_per_cycle():
    dut = Buffer(8)
    taken = []

    async def run(ctx):
        ctx.set(dut.o.ready, 1)
        for cycle in range(20):
            ctx.set(dut.i.payload, cycle)
            ctx.set(dut.i.valid, 1)
            if ctx.get(dut.o.valid):
                taken.append(ctx.get(dut.o.payload))
            await ctx.tick()

    simulate(dut, run)
    assert taken == list(range(19))


@pytest.mark.parametrize(("make", "latency"), [
    *((lambda n=n: Queue(8, depth=4, latency=n), n) for n in range(3)), (lambda: Skid(8), 0)])
def test_latency(make, latency):
    """From empty, and one payload a cycle from then on."""
    dut, cycles = make(), []

    async def run(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for cycle in range(20):
            ctx.set(dut.i.payload, cycle)
            if ctx.get(dut.o.valid):
                cycles.append(cycle - ctx.get(dut.o.payload))
            await ctx.tick()

    simulate(dut, run)
    assert cycles == [latency] * (20 - latency)


@pytest.mark.parametrize("latency", range(3))
def test_queue_takes_its_depth(latency):
    """Also when all comes in a row and nothing leaves; then ``level`` says so."""
    dut, taken = Queue(8, depth=4, latency=latency), []

    async def run(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(9):
            taken.append(ctx.get(dut.i.ready))
            await ctx.tick()
        taken.append(ctx.get(dut.level))

    simulate(dut, run)
    assert sum(taken[:-1]) == 4 and taken[:4] == [1] * 4 and taken[-1] == 4


def test_merge_keeps_packets_whole():
    dut, got = Merge(BEAT, count=2), []
    packets = {0: [(1, 0), (2, 0), (3, 1)] * 5, 1: [(101, 0), (102, 1)] * 5}

    def put(port):
        async def bench(ctx):
            beats = [{"value": v, "last": last} for v, last in packets[port]]
            await stream_put_all(ctx, dut.i[port], beats, Stalls(port, 0.4))
        return bench

    async def get(ctx):
        for beat in await stream_get_all(ctx, dut.o, 25, Stalls(7, 0.2)):
            got.append(beat.value)

    simulate(dut, put(0), put(1), get)
    assert sorted(got) == sorted([1, 2, 3] * 5 + [101, 102] * 5)
    text = "".join({1: "a", 2: "b", 3: "c", 101: "x", 102: "y"}[v] for v in got)
    assert text.replace("abc", "").replace("xy", "") == ""


def test_demux_swallows_what_nobody_wants():
    dut, got = Demux(8, count=3), []

    async def put(ctx):
        for value in range(12):
            ctx.set(dut.select, value % 4)
            await stream_put_all(ctx, dut.i, [value])

    def get(port):
        async def bench(ctx):
            got.extend(await stream_get_all(ctx, dut.o[port], 3))
        return bench

    simulate(dut, put, get(0), get(1), get(2))
    assert sorted(got) == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_dma_read_mux_returns_answers_to_their_client():
    dut = DmaReadMux(count=2, tag_width=4, function_id_width=3, data_width=64)
    seen = []

    async def client(ctx):
        await stream_put_all(ctx, dut.clients[1].requests,
                             [{"function_id": 5, "address": 64, "length": 8, "lane": 0, "tag": 9}])

    async def port(ctx):
        request, = await stream_get_all(ctx, dut.port.requests, 1)
        assert request.function_id == 5
        ctx.set(dut.port.beats.p.tag, request.tag)
        ctx.set(dut.port.beats.valid, 1)
        seen.append((ctx.get(dut.clients[0].beats.valid), ctx.get(dut.clients[1].beats.valid),
                     ctx.get(dut.clients[1].beats.p.tag)))

    simulate(dut, client, port)
    assert seen == [(0, 1, 9)]


@pytest.mark.parametrize("amount", [0, 1, 5, 7])
def test_rotate_left(amount):
    m = Module()
    value, by = Signal(64, init=0x8877665544332211), Signal(3, init=amount)
    out = Signal(64)
    m.d.comb += out.eq(rotate_left(m, value, by, name="stage"))
    seen = []

    async def run(ctx):
        seen.append(ctx.get(out))

    simulator = Simulator(m)
    simulator.add_testbench(run)
    simulator.run()
    octets = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
    assert list(seen[0].to_bytes(8, "little")) == octets[8 - amount:] + octets[:8 - amount]


@pytest.mark.parametrize("make,message", [
    (lambda: Queue(8, depth=1), "`depth` must be at least 2, not 1"),
    (lambda: Queue(8, depth=4, latency=3), "`latency` must be 0, 1 or 2, not 3"),
    (lambda: RoundRobin(count=0), "`count` must be at least 1, not 0"),
])
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class StreamRulesSpec(Elaboratable):
    """[amaranth: stream transfer rules] What is offered stays until it is taken."""

    def __init__(self, dut, inputs):
        self.dut = dut
        self.inputs = inputs

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        for port, claim in [*((i, Assume) for i in self.inputs), (self.dut.o, Assert)]:
            stalled = Signal()
            before  = Signal(len(Value.cast(port.payload)))
            m.d.sync += [stalled.eq(port.valid & ~port.ready), before.eq(port.payload)]
            with m.If(stalled):
                m.d.comb += claim(port.valid & (Value.cast(port.payload) == before))
        return m


@pytest.mark.formal
@pytest.mark.parametrize("make", [
    lambda: Buffer(4), lambda: Skid(4), *(lambda n=n: Queue(4, depth=3, latency=n)
                                          for n in range(3)), lambda: Merge(BEAT, count=3)])
def test_spec_stream_rules(make):
    dut = make()
    inputs = [dut.i] if hasattr(dut.i, "valid") else list(dut.i)
    prove(StreamRulesSpec(dut, inputs), depth=10)


class LeakyBuffer(Buffer):
    """The broken variant: it withdraws an offer when its input rests."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload), self.i.ready.eq(self.o.ready)]
        m.d.sync += self.o.valid.eq(self.i.valid & ~self.o.valid)
        return m


@pytest.mark.formal
def test_spec_stream_rules_sees_a_mutant():
    with pytest.raises(ProofFailed):
        dut = LeakyBuffer(4)
        prove(StreamRulesSpec(dut, [dut.i]), depth=10)


class OrderSpec(Elaboratable):
    """What goes in as 0, 1, 2 … comes out so, none lost, and a queue knows how many are inside."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        put, got, inside = Signal(4), Signal(4), Signal(4)
        m.d.comb += [
            Assume(dut.i.payload == put), inside.eq(put - got),
            Assert(~dut.o.valid | (dut.o.payload == got)),
            Assert(~dut.o.valid | (inside != 0) | dut.i.valid & dut.i.ready),
        ]
        if isinstance(dut, Queue):
            m.d.comb += [Assert(dut.level == inside),
                         Assert(dut.i.ready | (inside >= dut.depth - 1))]
        m.d.sync += [put.eq(put + (dut.i.valid & dut.i.ready)),
                     got.eq(got + (dut.o.valid & dut.o.ready))]
        return m


@pytest.mark.formal
@pytest.mark.parametrize("make", [
    lambda: Skid(4), lambda: Buffer(4), *(lambda d=d, n=n: Queue(4, depth=d, latency=n)
                                          for d in (2, 3, 4) for n in range(3))])
def test_spec_order(make):
    prove(OrderSpec(make()), depth=12)


@pytest.mark.formal
@pytest.mark.parametrize("latency", [0, 1])
def test_spec_order_sees_a_mutant(latency):
    class Hasty(Queue):
        _waits_its_turn = False

    with pytest.raises(ProofFailed):
        prove(OrderSpec(Hasty(4, depth=3, latency=latency)), depth=12)
