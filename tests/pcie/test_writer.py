"""Writer: every write lies in memory as its device gave it, in posted order, in legal TLPs."""

import random
from dataclasses import replace

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.config import TINY
from offloadcard.pcie import spec
from offloadcard.pcie.writer import Writer
from tests.support.completer import header_bits, parse_request, span
from tests.support.formal import ProofFailed, prove
from tests.support.streams import stream_put

BUS = 3
NET, NVME, CLOSED = 2, 4, 3


class Bench:
    """A writer between two devices, MSI-X and a host that takes TLPs."""

    def __init__(self, config, *, max_payload=1, rest=0.3, seed=1):
        self.dut = Writer(config)
        self.config = config
        self.max_payload = max_payload
        self.rest = rest
        self.random = random.Random(seed)
        self.answers = [[], []]
        self.tlps = []       # (request, octets with enables)
        self.cycles = []     # of the last beat of each TLP
        self.beats = 0
        self.credit = None   # or (headers, data) left
        self.messages = []   # (requester id, code, TLPs of writes before it)

    def source(self, stream, writes):
        async def put(ctx):
            lanes = self.config.data_width // 8
            for tag, (function_id, address, octets) in enumerate(writes):
                for at in range(0, len(octets), lanes):
                    while self.random.random() < self.rest:
                        await ctx.tick()
                    await stream_put(ctx, stream, {
                        "data": list(octets[at:at + lanes].ljust(lanes, b"\xee")),
                        "function_id": function_id, "address": address, "length": len(octets),
                        "tag": tag, "first": at == 0, "last": at + lanes >= len(octets)})
        return put

    def collect(self, number):
        async def get(ctx):
            answers = self.dut.ports[number].answers
            async for *_, valid, answer in ctx.tick().sample(answers.valid, answers.payload):
                if valid:
                    self.answers[number].append((answer.tag, answer.function_id, answer.error))
        return get

    async def host(self, ctx):
        dut, now, cycle = self.dut, None, 0
        while True:
            ready = self.random.random() >= self.rest
            ctx.set(dut.writes.ready, ready)
            *_, valid, beat = await ctx.tick().sample(dut.writes.valid, dut.writes.payload)
            cycle += 1
            if not (valid and ready):
                continue
            self.beats += 1
            assert beat.first == (now is None)
            header = spec.Message.from_bits(header_bits(beat.header))
            if now is None and header["type"] & 0x18 == spec.Type.MESSAGE:
                assert beat.last and not any(beat.data) and header.fmt == spec.Fmt.FOUR_DW
                assert not (header["type"] & 7 or header["length"] or header.tag
                            or header.dw2 or header.dw3)
                self.messages.append((header.requester_id, header.code, len(self.tlps)))
                continue
            if now is None:
                now = parse_request(beat.header), b""
                request = now[0]
                assert request["write"]
                assert request["length_dw"] * 4 <= 128 << self.max_payload, "longer than MPS"
                if self.credit is not None:
                    self.credit[0] -= 1
                    self.credit[1] -= (request["length_dw"] + 3) // 4
                    assert min(self.credit) >= 0, "credits exceeded"
            now = now[0], now[1] + bytes(beat.data)
            if beat.last:
                request, octets = now
                size = request["length_dw"] * 4
                assert 0 <= len(octets) - size < self.config.data_width // 8
                start, length = span(request)
                skip = start - request["address"]
                assert not any(octets[:skip]), "octets where no byte enable is set"
                self.tlps.append((request, octets[skip:skip + length]))
                self.cycles.append(cycle)
                now = None

    def run(self, writes, interrupts=(), *, cycles, extra=()):
        dut = self.dut

        async def main(ctx):
            ctx.set(dut.link_up, 1)
            ctx.set(dut.settings.bus, BUS)
            ctx.set(dut.settings.ari, 1)
            ctx.set(dut.settings.max_payload, self.max_payload)
            if self.credit is None:
                ctx.set(dut.headers.infinite, 1)
                ctx.set(dut.payload.infinite, 1)
            for function_id in (NET, NVME):
                ctx.set(dut.rows.payload, {"function_id": function_id, "alive": 1,
                                           "bus_master": 1})
                ctx.set(dut.rows.valid, 1)
                await ctx.tick()
            ctx.set(dut.rows.valid, 0)
            for _ in range(cycles):
                await ctx.tick()
            self.counts = ctx.get(dut.accepted), ctx.get(dut.departed)

        def later(process):
            async def wrapped(ctx):
                await ctx.tick().repeat(3)
                await process(ctx)
            return wrapped

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(main)
        streams = [*(port.beats for port in dut.ports), dut.interrupts]
        for stream, given in zip(streams, [*writes, interrupts]):
            simulator.add_testbench(later(self.source(stream, given)), background=True)
        for number in range(2):
            simulator.add_testbench(self.collect(number), background=True)
        simulator.add_testbench(self.host, background=True)
        for process in extra:
            simulator.add_testbench(process, background=True)
        simulator.run()

    def joined(self):
        """TLPs put together again as far as they touch: (requester id, address, octets)."""
        out = []
        for request, octets in self.tlps:
            start, _ = span(request)
            if out and out[-1][0] == request["requester_id"] \
                    and out[-1][1] + len(out[-1][2]) == start:
                out[-1] = (*out[-1][:2], out[-1][2] + octets)
            else:
                out.append((request["requester_id"], start, octets))
        return out


def random_writes(rng, count, functions, base):
    for n in range(count):
        address = base + n * 0x4000 + rng.choice(
            [0, 2, 0x42, rng.randrange(4096), 4096 - rng.randrange(1, 80)])
        length = rng.choice([1, 2, 4, 12, 60, 64, 72, 128, 300, 1514, rng.randrange(1, 600)])
        yield rng.choice(functions), address, rng.randbytes(length)


@pytest.mark.parametrize("data_width, max_payload", [(64, 0), (128, 1), (512, 1), (512, 2)])
def test_every_write_lies_in_memory(data_width, max_payload):
    """Any alignment and length; each port in its order; refused writes leave no octet."""
    rng = random.Random(data_width + max_payload)
    config = replace(TINY, data_width=data_width)
    bench = Bench(config, max_payload=max_payload)
    writes = [list(random_writes(rng, 24, [NET, NET, NET, CLOSED], 0xFFFF_0000)),
              list(random_writes(rng, 24, [NVME, NVME, NVME, CLOSED], 0x5_0000_0000))]
    octets = sum(len(w[2]) for port in writes for w in port)
    told = [(rng.choice((NET, NVME)), rng.choice((0x30, 0x31, 0x33))) for _ in range(6)]

    async def tell(ctx):
        for function_id, code in told:
            await ctx.tick().repeat(rng.randrange(4, 120))
            ctx.set(bench.dut.messages.payload, {"function_id": function_id, "code": code})
            ctx.set(bench.dut.messages.valid, 1)
            await ctx.tick()
            ctx.set(bench.dut.messages.valid, 0)
    bench.run(writes, [(NET, 0xFEE0_0000, b"\1\2\3\4")] * 5, extra=[tell],
              cycles=400 + int(octets / (data_width // 8) / 0.45))
    assert [m[:2] for m in bench.messages] == [(BUS << 8 | f, code) for f, code in told]
    for *_, before in bench.messages:  # never between the TLPs of one write
        if 0 < before < len(bench.tlps):
            (one, octets), (two, _) = bench.tlps[before - 1:before + 1]
            assert span(one)[0] + len(octets) != span(two)[0]
    for number in range(2):
        assert bench.answers[number] == [
            (tag, function_id, int(function_id == CLOSED))
            for tag, (function_id, _, _) in enumerate(writes[number])]
    joined = bench.joined()
    for number in range(2):
        low  = [0xFFFF_0000, 0x5_0000_0000][number]
        mine = [w for w in joined if low <= w[1] < low + 0x1000_0000]
        assert mine == [(BUS << 8 | function_id, address, data)
                        for function_id, address, data in writes[number] if function_id != CLOSED]
    assert sum(w[1] == 0xFEE0_0000 for w in joined) == 5
    assert bench.counts[0] == bench.counts[1] == len(joined)


def test_long_writes_fill_every_beat():
    """Page-aligned 4 KiB writes at 512 bits cost 64 beats each, without a gap."""
    config = replace(TINY, data_width=512)
    bench = Bench(config, max_payload=1, rest=0)
    octets = bytes(n * 7 & 0xFF for n in range(4096))
    writes = [[(NET, 0x1_0000_0000 + 4096 * n, octets) for n in range(4)], []]
    bench.run(writes, cycles=340)
    assert b"".join(w[2] for w in bench.joined()) == octets * 4
    assert bench.beats == 4 * 64
    assert bench.cycles[-1] - bench.cycles[0] == 4 * 64 - 4  # from the first TLP's last beat


def test_short_writes_cost_a_beat_each():
    """72 octets off a DW: 2 beats; 4 and 16 octets: one; one write a clock."""
    config = replace(TINY, data_width=512)
    bench = Bench(config, max_payload=1, rest=0)
    writes = [[(NET, 0x1_0000_0042 + 0x100 * n, bytes([n] * 72)) for n in range(20)], []]
    bench.run(writes, cycles=100)
    assert bench.beats == 40 and len(bench.tlps) == 20
    bench = Bench(config, max_payload=1, rest=0)
    writes = [[(NET, 0x1_0000_0000 + 0x40 * n, bytes([n] * 16)) for n in range(40)], []]
    bench.run(writes, cycles=100)
    assert bench.beats == len(bench.tlps) == 40
    assert bench.cycles[-1] - bench.cycles[0] == 39


def test_credits_hold_writes():
    """No TLP leaves beyond the limit, and all leave as it grows."""
    rng = random.Random(2)
    bench = Bench(TINY, max_payload=1)
    bench.credit = [0, 0]
    given = [0, 0]

    async def grant(ctx):
        while True:
            for _ in range(rng.randrange(1, 30)):
                await ctx.tick()
            more = rng.randrange(0, 3), rng.randrange(0, 40)
            for kind in range(2):
                given[kind] += more[kind]
                bench.credit[kind] += more[kind]
            ctx.set(bench.dut.headers.count, given[0] % 256)
            ctx.set(bench.dut.payload.count, given[1] % 4096)

    writes = [list(random_writes(rng, 12, [NET], 0x10_0000)), []]
    bench.run(writes, cycles=4000, extra=[grant])
    assert [w[1:] for w in bench.joined()] == [w[1:] for w in writes[0]]


def test_link_down_discards_and_counts():
    """With the link down nothing leaves, every accepted write is counted as gone."""
    bench = Bench(TINY, rest=0)

    async def fall(ctx):
        await ctx.tick().repeat(40)
        ctx.set(bench.dut.link_up, 0)
        *_, before = await ctx.tick().sample(bench.dut.departed)
        before = bench.beats
        await ctx.tick().repeat(200)
        assert bench.beats <= before + 1

    writes = [[(NET, 0x1000 * n, bytes(256)) for n in range(12)], []]
    bench.run(writes, cycles=1500, extra=[fall])
    assert bench.counts[0] == bench.counts[1]
    assert len(bench.answers[0]) == 12 and bench.answers[0][-1][2] == 1


class WriterSpec(Elaboratable):
    """Law 1: a write of function f begins only while f may, and leaves with f's requester id.

    Function 2; ids are addresses only, so it stands for all. Stream rules of the output, too. A
    message of an error has nobody's octets.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        function, bus = 2, 9
        m.d.comb += [
            Assume(dut.settings.bus == bus), Assume(dut.settings.ari), Assume(dut.link_up),
            Assume(dut.headers.infinite), Assume(dut.payload.infinite),
            Assume(dut.settings.max_payload == 0),
        ]
        for number, source in enumerate([*(port.beats for port in dut.ports), dut.interrupts]):
            # Short writes: the stages that decide do not see lengths.
            m.d.comb += [Assume(source.p.first & source.p.last), Assume(source.p.length == 4),
                         Assume(source.p.address[:2] == 0)]
            stalled, before = Signal(), Signal.like(source.payload.as_value())
            m.d.sync += [stalled.eq(source.valid & ~source.ready), before.eq(source.payload)]
            with m.If(stalled):
                m.d.comb += Assume(source.valid & (source.payload.as_value() == before))
            if number:
                m.d.comb += Assume(~source.valid)
        may, may_before = Signal(), Signal()
        m.d.sync += may_before.eq(may)
        with m.If(dut.rows.valid & (dut.rows.p.function_id == function)):
            m.d.sync += may.eq(dut.rows.p.alive & dut.rows.p.bus_master)
        open_writes = Signal(4)
        begins, ends = Signal(), Signal()
        m.d.comb += [begins.eq(dut.begun.valid & (dut.begun.payload == function)),
                     ends.eq(dut.ended.valid & (dut.ended.payload == function))]
        m.d.sync += open_writes.eq(open_writes + begins - ends)
        with m.If(begins):
            m.d.comb += Assert(may | may_before)
        header = Signal(spec.MemoryRequest)
        m.d.comb += header.eq(dut.writes.p.header.as_value())
        with m.If(dut.writes.valid):
            m.d.comb += Assert((header.requester_id >> 8) == bus)
            with m.If(header["type"] == spec.Type.MESSAGE):
                m.d.comb += [Assert(dut.writes.p.first & dut.writes.p.last),
                             Assert(dut.writes.p.data.as_value() == 0)]
            with m.Elif(header.requester_id[:8] == function):
                m.d.comb += Assert(open_writes != 0)
        waits, offered = Signal(), Signal.like(dut.writes.payload.as_value())
        m.d.sync += [waits.eq(dut.writes.valid & ~dut.writes.ready),
                     offered.eq(dut.writes.payload)]
        with m.If(waits):
            m.d.comb += Assert(dut.writes.valid & (dut.writes.payload.as_value() == offered))
        return m


class Careless(Writer):
    obeys_gate = False


@pytest.mark.formal
def test_spec_law_1_writes_leave_for_their_function_only():
    prove(WriterSpec(Writer(TINY)), depth=11)


@pytest.mark.formal
def test_spec_law_1_sees_a_mutant():
    with pytest.raises(ProofFailed):
        prove(WriterSpec(Careless(TINY)), depth=11)
