"""ReadRequester: each request is answered once, with its own octets, whatever the host does."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from offloadcard.config import MODEL, TINY
from offloadcard.pcie.requester import ReadRequester
from tests.support.completer import Completer, beats_of, completion, octet_at
from tests.support.streams import stream_put

BUS = 5
NET, NVME = 2, 4  # functions of each kind in TINY


class Bench:
    """A requester between two clients and a completer; runs until all requests are answered."""

    def __init__(self, config, completer, *, max_read=2, extended=1, seed=1, rest=0.3):
        self.dut = ReadRequester(config)
        self.config = config
        self.completer = completer
        self.random = random.Random(seed)
        self.max_read, self.extended, self.rest = max_read, extended, rest
        self.answers = [{}, {}]
        self.open_functions = {NET, NVME}
        self.notices = []
        self.cycles = []       # of the last beat of each answer
        self.issued = []

    async def setup(self, ctx):
        dut = self.dut
        ctx.set(dut.link_up, 1)
        ctx.set(dut.headers.infinite, 1)
        ctx.set(dut.settings.bus, BUS)
        ctx.set(dut.settings.ari, 1)
        for number in range(2):
            ctx.set(dut.settings.pf[number].max_read, self.max_read)
            ctx.set(dut.settings.pf[number].extended_tag, self.extended)
        for function_id in sorted(self.open_functions):
            await self.row(ctx, function_id, alive=1, bus_master=1)
        for _ in range(self.config.pcie_tags + 4):
            await ctx.tick()

    async def row(self, ctx, function_id, **bits):
        ctx.set(self.dut.rows.payload, {"function_id": function_id, **bits})
        ctx.set(self.dut.rows.valid, 1)
        await ctx.tick()
        ctx.set(self.dut.rows.valid, 0)

    def client(self, number, requests):
        async def put(ctx):
            for tag, (function_id, address, length, lane) in enumerate(requests):
                while self.random.random() < self.rest:
                    await ctx.tick()
                await stream_put(ctx, self.dut.ports[number].requests, {
                    "function_id": function_id, "address": address, "length": length,
                    "lane": lane, "tag": tag})
        return put

    def collect(self, number, requests):
        async def get(ctx):
            beats, now, cycle = self.dut.ports[number].beats, None, 0
            lanes = self.config.data_width // 8
            async for *_, valid, beat in ctx.tick().sample(beats.valid, beats.payload):
                cycle += 1
                if not valid:
                    continue
                function_id, address, length, lane = requests[beat.tag]
                assert beat.first == (now is None)
                now = now or (beat.tag, b"", 0)
                tag, found, at = now
                assert beat.tag == tag and beat.function_id == function_id
                if not beat.error:
                    begin, end = lane if not at else 0, min(lanes, lane + length - at * lanes)
                    assert beat.strobe == (1 << end) - (1 << begin)
                    found += bytes(beat.data[n] for n in range(begin, end))
                now = tag, found, at + 1
                if beat.last:
                    assert tag not in self.answers[number], "answered twice"
                    self.answers[number][tag] = None if beat.error else found
                    self.cycles.append(cycle)
                    now = None
        return get

    async def link_out(self, ctx):
        reads, cycle = self.dut.reads, 0
        while True:
            ready = self.random.random() >= self.rest
            ctx.set(reads.ready, ready)
            *_, valid, beat = await ctx.tick().sample(reads.valid, reads.payload)
            cycle += 1
            if valid and ready:
                assert beat.first and beat.last
                self.completer.request(beat.header)
                self.issued.append(cycle)

    async def link_in(self, ctx):
        completions = self.dut.completions
        while True:
            tlp = None if self.random.random() < self.rest else self.completer.next()
            if tlp is None:
                await ctx.tick()
                continue
            for beat in beats_of(*tlp, self.config.data_width):
                ctx.set(completions.payload, beat)
                ctx.set(completions.valid, 1)
                await ctx.tick()
            ctx.set(completions.valid, 0)

    async def watch(self, ctx):
        names = ("unexpected", "malformed", "poisoned", "aborted", "timed_out")
        async for *_, notice in ctx.tick().sample(self.dut.notices):
            self.notices += [name for name in names if notice[name]]

    def run(self, requests, *, limit=20_000, extra=(), settle=40):
        dut = self.dut
        setup_done = []

        async def main(ctx):
            await self.setup(ctx)
            setup_done.append(1)
            for _ in range(limit):
                if all(len(self.answers[n]) == len(requests[n]) for n in range(2)):
                    break
                await ctx.tick()
            for _ in range(settle):
                await ctx.tick()
            self.free = ctx.get(dut.free_tags)

        def after_setup(process):
            async def wrapped(ctx):
                while not setup_done:
                    await ctx.tick()
                await process(ctx)
            return wrapped

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(main)
        for number in range(2):
            simulator.add_testbench(after_setup(self.client(number, requests[number])),
                                    background=True)
            simulator.add_testbench(self.collect(number, requests[number]), background=True)
        for process in (self.link_out, self.link_in, self.watch):
            simulator.add_testbench(process, background=True)
        for process in extra:
            simulator.add_testbench(after_setup(process), background=True)
        simulator.run()
        for number in range(2):
            assert set(self.answers[number]) == set(range(len(requests[number]))), "unanswered"

    def check(self, requests):
        """Every answer has its octets; all tags are back."""
        for number in range(2):
            for tag, (_, address, length, _) in enumerate(requests[number]):
                found = self.answers[number][tag]
                if found is not None:
                    assert found == bytes(octet_at(address + n) for n in range(length))
        assert self.free == self.config.pcie_tags


def random_requests(rng, count, function_id, lanes):
    """Requests that like edges: 4 KiB, 4 GiB, odd octets, all lengths."""
    for _ in range(count):
        base = rng.choice([0x1000, 0x7_0000_2000, 0x1_0000_0000, 0xFFFF_F000])
        address = base + rng.choice([0, 4, rng.randrange(4096), 4096 - rng.randrange(1, 40)])
        length = rng.choice([1, 2, 3, 4, 16, 64, 65, 72, 512, rng.randrange(1, 513)])
        if base == 0xFFFF_F000:
            length = min(length, 0x1_0000_0000 - address)
        yield function_id, address, length, rng.choice([0, 0, rng.randrange(lanes)])


def tiny(**changes):
    return replace(TINY, completion_timeout_us=4, **changes)


@pytest.mark.parametrize("data_width, max_read, rcb", [
    (64, 2, 64), (64, 0, 128), (128, 1, 64), (512, 2, 64)])
def test_every_read_is_answered_with_its_octets(data_width, max_read, rcb):
    """Any alignment, length and lane; completions cut anywhere and mixed between tags."""
    rng = random.Random(data_width + max_read)
    config = tiny(data_width=data_width)
    completer = Completer(seed=3, read_max=128 << max_read, rcb=rcb)
    bench = Bench(config, completer, max_read=max_read)
    requests = [list(random_requests(rng, 60, function_id, data_width // 8))
                for function_id in (NET, NVME)]
    bench.run(requests)
    assert None not in bench.answers[0].values() and None not in bench.answers[1].values()
    bench.check(requests)
    assert not bench.notices
    assert {r["requester_id"] for r in completer.seen} == {BUS << 8 | NET, BUS << 8 | NVME}


def test_faults_end_each_read_once():
    """UR, CA, poison, wrong counts and addresses, silence: an error each, and no tag is lost."""
    rng = random.Random(9)
    fates = ["ok", "ok", "ok", "ur", "ca", "poison", "drop", "count", "lower"]
    completer = Completer(seed=4, read_max=256)
    completer.fate = lambda request: completer.random.choice(fates)
    bench = Bench(tiny(), completer, max_read=1)
    requests = [list(random_requests(rng, 30, function_id, 8)) for function_id in (NET, NVME)]
    bench.run(requests, limit=60_000, settle=2300)
    bench.check(requests)
    assert any(found is None for found in bench.answers[0].values())
    assert any(found is not None for found in bench.answers[0].values())
    assert set(bench.notices) == {"aborted", "poisoned", "timed_out", "malformed"}


def test_throughput_of_small_reads():
    """64 octets each, 512 bits: a request and an answer in each clock, completions in each."""
    config = replace(MODEL, pcie_tags=64, virtio_net_vfs=2, nvme_vfs=2, function_id_width=3)
    completer = Completer(seed=5, read_max=512)
    bench = Bench(config, completer, rest=0)
    requests = [[(NET, 0x2_0000_0000 + 64 * n, 64, 0) for n in range(96)], []]
    bench.run(requests, limit=2000)
    bench.check(requests)
    issue  = bench.issued[60] - bench.issued[0]
    answer = bench.cycles[80] - bench.cycles[20]
    assert issue == 60, f"60 requests took {issue} clocks"
    assert answer == 60, f"60 answers took {answer} clocks"


def test_a_closed_function_reads_nothing():
    """Not alive or not bus master: an error each, no TLP; the other function does not notice."""
    rng = random.Random(11)
    completer = Completer(seed=6, read_max=512)
    bench = Bench(tiny(), completer)
    bench.open_functions = {NET}
    requests = [list(random_requests(rng, 30, function_id, 8)) for function_id in (NET, NVME)]
    bench.run(requests)
    bench.check(requests)
    assert None not in bench.answers[0].values()
    assert set(bench.answers[1].values()) == {None}
    assert {r["requester_id"] for r in completer.seen} == {BUS << 8 | NET}


def test_bus_master_off_and_on_under_load():
    """What is in flight ends, nothing new goes until it is on again; all is answered once."""
    rng = random.Random(12)
    completer = Completer(seed=7, read_max=512)
    bench = Bench(tiny(), completer)
    requests = [list(random_requests(rng, 80, function_id, 8)) for function_id in (NET, NVME)]
    state = {"off": None}

    def fate(request):
        if request["requester_id"] == BUS << 8 | NET and state["off"] is not None:
            assert bench.now() - state["off"] < 12, "a read left long after bus master went off"
        return "ok"

    completer.fate = fate
    clock = [0]
    bench.now = lambda: clock[0]

    async def count(ctx):
        async for _ in ctx.tick():
            clock[0] += 1

    async def switch(ctx):
        for _ in range(12):
            for _ in range(rng.randrange(20, 80)):
                await ctx.tick()
            await bench.row(ctx, NET, alive=1, bus_master=0)
            state["off"] = clock[0]
            for _ in range(rng.randrange(20, 60)):
                await ctx.tick()
            state["off"] = None
            await bench.row(ctx, NET, alive=1, bus_master=1)

    bench.rest = 0.1
    bench.run(requests, extra=[count, switch])
    bench.check(requests)
    assert any(found is None for found in bench.answers[0].values())
    assert None not in bench.answers[1].values()


def test_link_down_ends_everything():
    """When the link falls all reads end with an error and all tags come back."""
    rng = random.Random(13)
    completer = Completer(seed=8, read_max=512)
    bench = Bench(tiny(), completer)
    requests = [list(random_requests(rng, 60, function_id, 8)) for function_id in (NET, NVME)]

    async def fall(ctx):
        for _ in range(150):
            await ctx.tick()
        ctx.set(bench.dut.link_up, 0)
        completer.open.clear()

    bench.run(requests, extra=[fall], settle=200)
    bench.check(requests)
    assert any(found is None for found in bench.answers[0].values())


def test_late_completions_find_nobody():
    """A completion after its timeout is discarded, and its tag then lent again."""
    completer = Completer(seed=9, read_max=512)
    late = {}
    completer.fate = lambda request: "drop" if len(completer.seen) <= 3 else "ok"
    bench = Bench(tiny(), completer, rest=0)
    requests = [[(NET, 0x1000 + 64 * n, 64, 0) for n in range(40)], []]
    free = []

    async def deliver_late(ctx):
        # Timeout is 1,000 cycles and is exact to a quarter; the tags stay quarantined to 2,000.
        for _ in range(1400):
            await ctx.tick()
        free.append(ctx.get(bench.dut.free_tags))
        for request in completer.seen[:3]:
            late[request["tag"]] = completion(
                requester_id=request["requester_id"], tag=request["tag"], byte_count=64,
                lower=request["address"], octets=bytes(64))
            completer.open[request["tag"]] = [late[request["tag"]]]
        for _ in range(40):
            await ctx.tick()
        free.append(ctx.get(bench.dut.free_tags))

    bench.run(requests, extra=[deliver_late], settle=1600)
    bench.check(requests)
    assert [n for n, found in bench.answers[0].items() if found is None] == [0, 1, 2]
    assert free == [5, 8]
    assert bench.notices == ["timed_out"] * 3


def test_strangers_completions_are_ignored():
    """Wrong requester id, a tag that is not out, a foreign type: no read is touched."""
    rng = random.Random(14)
    completer = Completer(seed=10, read_max=512)
    bench = Bench(tiny(), completer)
    stranger = {"requester_id": BUS << 8 | 7, "byte_count": 64, "lower": 0, "octets": bytes(64)}
    pending = [completion(tag=tag, **stranger) for tag in (0, 1, 2, 3, 200, 8)]
    genuine = completer.next
    completer.next = lambda: pending.pop() if pending and rng.random() < 0.2 else genuine()
    requests = [list(random_requests(rng, 40, function_id, 8)) for function_id in (NET, NVME)]
    bench.run(requests)
    bench.check(requests)
    assert None not in {**bench.answers[0], **bench.answers[1]}.values()
    assert bench.notices == ["unexpected"] * 6


def test_without_extended_tags_only_32_are_used():
    config = replace(TINY, pcie_tags=64, completion_timeout_us=40)
    completer = Completer(seed=11, read_max=512)
    bench = Bench(config, completer, extended=0, rest=0)
    requests = [[(NET, 0x1000 + 64 * n, 64, 0) for n in range(80)], []]
    bench.run(requests)
    bench.check(requests)
    assert max(r["tag"] for r in completer.seen) < 32


def test_bad_timeout_is_refused():
    with pytest.raises(ValueError, match="`timeout_cycles` must be at least"):
        ReadRequester(replace(MODEL, completion_timeout_us=1)).elaborate(None)
