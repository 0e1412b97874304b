"""The endpoint whole: posted order at its border, credits, ends of functions, its registers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from offloadcard.config import TINY
from offloadcard.pcie import spec, spec_config
from offloadcard.pcie.endpoint import Endpoint
from tests.pcie.guest import Guest, simulate
from tests.pcie.world import World
from tests.support.completer import beats_of, completion, header_bits, parse_request
from tests.support.streams import stream_put

NET_VF, NVME_VF = 2, 4
FLR = 1 << 15


class Card:
    """An endpoint, its guest, and a link whose three streams can be held each for itself."""

    def __init__(self, config=TINY):
        self.config = config
        self.dut = dut = Endpoint(config)
        border = SimpleNamespace(requests=dut.rx_requests, completions=dut.tx_completions,
                                 link_up=dut.link_up)
        self.guest = Guest(border, data_width=TINY.data_width)
        self.log = []          # (cycle, what, details)
        self.cycle = 0
        self.open = {"reads": True, "writes": True}
        self.answers = []      # of reads: (tag, error, first octets)
        self.accepted = []     # answers of writes
        self.enumerate = lambda ctx: World.enumerate(
            SimpleNamespace(dut=border, config=TINY, guest=self.guest), ctx)

    async def count(self, ctx):
        async for *_, valid, ready in ctx.tick().sample(self.dut.tx_completions.valid,
                                                        self.dut.tx_completions.ready):
            self.cycle += 1
            if valid and ready:
                self.log.append((self.cycle, "completion", None))

    def sink(self, name):
        async def process(ctx):
            port = getattr(self.dut, f"tx_{name}")
            while True:
                ready = self.open[name]
                ctx.set(port.ready, ready)
                *_, valid, beat = await ctx.tick().sample(port.valid, port.payload)
                if valid and ready and beat.first:
                    message = spec.Message.from_bits(header_bits(beat.header))
                    if message["type"] >> 3 == spec.Type.MESSAGE >> 3:
                        self.log.append((self.cycle, "message", (message.requester_id,
                                                                 message.code)))
                    else:
                        self.log.append((self.cycle, name, parse_request(beat.header)))
        return process

    def watch(self, kind):
        reads  = getattr(self.dut, f"{kind}_reads").beats
        writes = getattr(self.dut, f"{kind}_writes").answers

        async def process(ctx):
            async for *_, valid, beat, answered, answer in ctx.tick().sample(
                    reads.valid, reads.payload, writes.valid, writes.payload):
                if valid and beat.last:
                    self.answers.append((beat.tag, beat.error, bytes(beat.data)))
                if answered:
                    self.accepted.append((answer.tag, answer.error))
        return process

    def house(self, kind):
        """A device that has nothing to drain."""
        async def process(ctx):
            port, waiting = getattr(self.dut, f"{kind}_lifecycle"), []
            while True:
                *_, valid, stop, taken = await ctx.tick().sample(
                    port.stops.valid, port.stops.payload, port.drained.ready)
                if valid:
                    waiting.append(stop.function_id)
                if ctx.get(port.drained.valid) and taken:
                    waiting.pop(0)
                ctx.set(port.drained.valid, bool(waiting))
                if waiting:
                    ctx.set(port.drained.p.function_id, waiting[0])
        return process

    async def start(self, ctx):
        for kind in ("ph", "pd", "nph", "npd", "cplh", "cpld"):
            ctx.set(self.dut.tx_credit_limit[kind].infinite, 1)
        await self.enumerate(ctx)
        for function in (NET_VF, NVME_VF):
            await self.guest.config_write(ctx, 0x100 | function, 4, 4, 2)
        await self.wait(ctx, 20)
        self.log.clear()

    async def wait(self, ctx, cycles):
        for _ in range(cycles):
            await ctx.tick()

    async def read(self, ctx, kind, function_id, address, length, tag):
        await stream_put(ctx, getattr(self.dut, f"{kind}_reads").requests, {
            "function_id": function_id, "address": address, "length": length, "tag": tag})

    async def write(self, ctx, kind, function_id, address, tag):
        await stream_put(ctx, getattr(self.dut, f"{kind}_writes").beats, {
            "function_id": function_id, "address": address, "length": 8, "tag": tag,
            "data": list(range(8)), "first": 1, "last": 1})

    async def complete(self, ctx, request, octets, *, status=0, lower=None):
        """A completion of ``octets``; with a status that is not success, without them."""
        for beat in beats_of(*completion(
                requester_id=request["requester_id"], tag=request["tag"], status=status,
                byte_count=len(octets), lower=request["address"] if lower is None else lower,
                octets=None if status else octets), 64):
            ctx.set(self.dut.rx_completions.payload, beat)
            ctx.set(self.dut.rx_completions.valid, 1)
            await ctx.tick()
        ctx.set(self.dut.rx_completions.valid, 0)

    async def register(self, ctx, name):
        port = self.dut.management
        ctx.set(port.requests.payload, {"address": spec.MANAGEMENT[name].offset})
        ctx.set(port.requests.valid, 1)
        await ctx.tick()
        ctx.set(port.requests.valid, 0)
        for _ in range(64):
            *_, valid, reply = await ctx.tick().sample(port.replies.valid, port.replies.payload)
            if valid:
                assert not reply.error
                return reply.data
        raise AssertionError(f"{name} did not answer")

    def run(self, story):
        simulate(self.dut, story, background=[
            self.guest.collect, self.count, self.sink("reads"), self.sink("writes"),
            self.watch("net"), self.watch("nvme"), self.house("net"), self.house("nvme")])

    def seen(self, what):
        return [entry for entry in self.log if entry[1] == what]


def test_dma_carries_the_functions_own_requester_id():
    """Reads, writes and their answers of two tenants; a function without bus master gets none."""
    card = Card()

    async def story(ctx):
        await card.start(ctx)
        await card.write(ctx, "net", NET_VF, 0x5000, 1)
        await card.read(ctx, "nvme", NVME_VF, 0x2_0000_6000, 16, 2)
        await card.read(ctx, "net", NET_VF + 1, 0x7000, 16, 3)
        await card.write(ctx, "net", NET_VF + 1, 0x7000, 4)
        await card.wait(ctx, 60)
        (_, _, request), = card.seen("reads")
        await card.complete(ctx, request, bytes(range(100, 116)))
        await card.wait(ctx, 30)
        assert request["requester_id"] == 0x100 | NVME_VF
        (_, _, write), = card.seen("writes")
        assert (write["requester_id"], write["address"]) == (0x100 | NET_VF, 0x5000)
        assert card.accepted == [(1, 0), (4, 1)]
        assert sorted(a[:2] for a in card.answers) == [(2, 0), (3, 1)]
        assert await card.register(ctx, "DMA_ID") == spec.MANAGEMENT["DMA_ID"].reset
        assert await card.register(ctx, "READ_TLPS") == 1
        assert await card.register(ctx, "READ_REQUESTS") == 2
        assert await card.register(ctx, "WRITES") == 1
        assert await card.register(ctx, "REFUSED_WRITES") == 1
        assert await card.register(ctx, "FREE_TAGS") == TINY.pcie_tags
    card.run(story)


def test_nothing_passes_an_earlier_write():
    """A read and a completion wait for the write accepted before them; writes wait for nothing."""
    card = Card()

    async def story(ctx):
        await card.start(ctx)
        card.open["writes"] = False
        await card.write(ctx, "net", NET_VF, 0x5000, 1)
        while not card.accepted:
            await ctx.tick()
        await card.read(ctx, "nvme", NVME_VF, 0x6000, 16, 2)
        tag = card.guest.next_tag()
        card.guest.tag -= 1
        await card.guest.send(ctx, spec.ConfigRequest, {
            "fmt": spec.Fmt.THREE_DW, "type": spec.Type.CONFIG_0, "length": 1, "first_be": 15,
            "completer_id": 0x101, "tag": tag})
        await card.wait(ctx, 100)
        assert not card.log, "something passed the write"
        card.open["reads"] = False
        card.open["writes"] = True
        await card.wait(ctx, 40)
        # The read is held by the link now; writes and completions pass it.
        await card.write(ctx, "nvme", NVME_VF, 0x8000, 3)
        await card.wait(ctx, 30)
        assert [entry[1] for entry in card.log] == ["writes", "completion", "writes"]
        card.open["reads"] = True
        await card.wait(ctx, 10)
        assert len(card.seen("reads")) == 1
        assert card.log[0][0] < card.log[1][0]
    card.run(story)


def test_credits_both_ways():
    """No read without NPH; no completion without CPLH; what a guest used is granted again."""
    card = Card()

    async def story(ctx):
        await card.start(ctx)
        limit = card.dut.tx_credit_limit
        before = ctx.get(card.dut.rx_credit_allocated.nph.count)
        ctx.set(limit.nph.infinite, 0)
        await card.wait(ctx, 2)
        for tag in range(3):
            await card.read(ctx, "net", NET_VF, 0x1000 * tag, 16, tag)
        await card.guest.config_read(ctx, 0x101, 0)
        await card.wait(ctx, 40)
        assert len(card.seen("reads")) == 0
        ctx.set(limit.nph.count, 2)
        await card.wait(ctx, 40)
        sent = len(card.seen("reads"))
        assert sent == 2, "reads sent with infinite credits count too, and there were none"
        assert ctx.get(card.dut.rx_credit_allocated.nph.count) == (before + 1) % 256
        assert ctx.get(card.dut.rx_credit_allocated.cplh.infinite)
    card.run(story)


@pytest.mark.parametrize("silent", [False, True])
def test_reset_of_a_function_waits_for_its_reads(silent):
    """FLR ends after the last word on the function's reads; the other tenant goes on."""
    card = Card(replace(TINY, completion_timeout_us=10))

    async def story(ctx):
        await card.start(ctx)
        control = spec_config.PCIE + 8
        await card.read(ctx, "net", NET_VF, 0x3000, 16, 5)
        await card.wait(ctx, 30)
        (_, _, mine), = card.seen("reads")
        status = await card.guest.config_read(ctx, 0x100 | NET_VF, control + 2, 2)
        assert status & 1 << 5, "Transactions Pending"
        await card.guest.config_write(ctx, 0x100 | NET_VF, control, FLR, 2)
        await card.wait(ctx, 1500)
        assert not card.answers
        answer = await card.guest.config(ctx, 0x100 | NET_VF, 0)
        assert answer["status"] == spec.CplStatus.CRS
        await card.read(ctx, "nvme", NVME_VF, 0x4000, 16, 6)
        await card.wait(ctx, 30)
        await card.complete(ctx, card.seen("reads")[-1][2], bytes(16))
        if silent:
            await card.wait(ctx, 1700)
        else:
            await card.complete(ctx, mine, bytes(16))
            await card.wait(ctx, 100)
        assert sorted(a[:2] for a in card.answers) == [(5, int(silent)), (6, 0)]
        await card.guest.config_read(ctx, 0x100 | NET_VF, 0)
    card.run(story)


def test_no_read_leaves_after_the_completion_that_forbade_it():
    """Bus Master Enable off while a slow link holds reads: the completion comes behind them."""
    card = Card()

    async def story(ctx):
        await card.start(ctx)
        card.open["reads"] = False
        for tag in range(4):
            await card.read(ctx, "net", NET_VF, 0x1000 * tag, 16, tag)
        await card.wait(ctx, 40)
        await card.guest.send(ctx, spec.ConfigRequest, {
            "fmt": spec.Fmt.THREE_DW_DATA, "type": spec.Type.CONFIG_0, "length": 1,
            "first_be": 3, "register": 1, "completer_id": 0x100 | NET_VF, "tag": 250}, bytes(4))
        await card.wait(ctx, 100)
        assert not card.log, "the gate said that it was shut too early"
        card.open["reads"] = True
        await card.wait(ctx, 60)
        kinds = [entry[1] for entry in card.log]
        assert kinds[-1] == "completion" and kinds.count("reads") == len(kinds) - 1 >= 1
        # What had no place at the border any more was refused.
        assert sum(error for _, error, _ in card.answers) == 4 - kinds.count("reads")
    card.run(story)
