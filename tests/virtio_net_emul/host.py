"""What surrounds the device in its tests: guest memory behind DMA, registers, packets."""

import random
from collections import deque

from amaranth.sim import Simulator

from offloadcard.virtio_net_emul import spec
from tests.virtio_net_emul.queue import Queue

__all__ = ["PLAIN", "Host", "Queue", "frame_of"]

# What the driver of a plain queue negotiates.
PLAIN = spec.FEATURES & ~(1 << spec.VIRTIO_F_EVENT_IDX | 1 << spec.VIRTIO_NET_F_MRG_RXBUF)


def frame_of(length, seed):
    """A frame of ``length`` octets that tells which one it is."""
    return random.Random(seed).randbytes(length)


class Host:
    """Memory, DMA with a stated latency, interrupts, packets and registers around one device.

    ``latency`` is in cycles from request to first beat; ``shuffle`` answers reads out of order.
    ``fault(address)`` true refuses a DMA. ``gate`` holds ids of functions whose DMA is refused.
    """

    def __init__(self, dut, *, latency=20, shuffle=False, seed=1, size=1 << 20):
        self.dut      = dut
        self.memory   = bytearray(size)
        self.latency  = latency
        self.shuffle  = shuffle
        self.random   = random.Random(seed)
        self.cycle    = 0
        self.reads    = []            # (cycle, function_id, address, length)
        self.writes   = []            # the same
        self.irqs     = []            # (cycle, function_id, vector)
        self.sent     = []            # (cycle, meta, octets)
        self.drained  = []
        self.fault    = lambda address: False
        self.gate     = set()
        self.answers  = lambda request: True  # or never
        self.pause_tx = False
        self.write_pace = 1           # cycles a beat of a write takes
        self.watch    = lambda function_id, address, length: None
        self._free    = 0x1000
        self._mmio    = False         # the port is in use
        self._received = False        # a frame is on its way in

    def allocate(self, octets, align=64):
        """Guest memory, never given back."""
        start = -(-self._free // align) * align
        self._free = start + octets
        assert self._free <= len(self.memory)
        return start

    def simulate(self, *stories, limit=200_000):
        """Run stories beside the host until all ended."""
        simulator = Simulator(self.dut)
        simulator.add_clock(4e-9)
        left = [len(stories)]

        def guarded(story):
            async def run(ctx):
                await story(ctx)
                left[0] -= 1
            return run

        async def clock(ctx):
            while left[0] and self.cycle < limit:
                await ctx.tick()
                self.cycle += 1
            assert not left[0], f"a story did not end within {limit} cycles"

        for story in stories:
            simulator.add_testbench(guarded(story), background=True)
        for service in (self._reads, self._writes, self._interrupts, self._packets, self._ends):
            simulator.add_testbench(service, background=True)
        simulator.add_testbench(clock)
        simulator.run()

    # --- services ---

    async def _reads(self, ctx):
        port, width = self.dut.reads, self.dut.config.data_width // 8
        waiting, beats = [], deque()
        shape = port.requests.payload.shape()
        ctx.set(port.requests.ready, 1)
        while True:
            *_, valid, raw = await ctx.tick().sample(
                port.requests.valid, port.requests.payload.as_value())
            if valid:
                request = shape.from_bits(raw)
                if self.answers(request):
                    waiting.append((self.cycle + self.latency, request))
                self.reads.append((self.cycle, request.function_id, request.address,
                                   request.length))
                self.watch(request.function_id, request.address, request.length)
                assert 1 <= request.length <= 512, request.length
            due = [item for item in waiting if item[0] <= self.cycle]
            if not beats and due:
                item = self.random.choice(due) if self.shuffle else due[0]
                waiting.remove(item)
                beats.extend(self._answer(item[1], width))
            ctx.set(port.beats.valid, bool(beats))
            ctx.set(self.dut.told.valid, bool(beats))
            if beats:
                ctx.set(port.beats.payload, beat := beats.popleft())
                ctx.set(self.dut.told, {"valid": beat["last"], "late": 0,
                                        "function_id": beat["function_id"]})

    def _answer(self, request, width):
        """Beats of one answer."""
        start, length, lane = request.address, request.length, request.lane
        base = {"function_id": request.function_id, "tag": request.tag}
        if (self.fault(start) or request.function_id in self.gate
                or start + length > len(self.memory)):
            return [{**base, "first": 1, "last": 1, "error": 1}]
        octets = bytes(lane) + self.memory[start:start + length]
        beats = []
        for low in range(0, len(octets), width):
            part = octets[low:low + width]
            begin = lane if low == 0 else 0
            beats.append({**base, "data": list(part.ljust(width, b"\xEE")),
                          "strobe": sum(1 << n for n in range(begin, len(part))),
                          "first": low == 0, "last": low + width >= len(octets), "error": 0})
        return beats

    async def _writes(self, ctx):
        port = self.dut.writes
        shape = port.beats.payload.shape()
        octets, answers = b"", deque()
        while True:
            ctx.set(port.beats.ready, self.cycle % self.write_pace == 0)
            *_, valid, raw = await ctx.tick().sample(port.beats.valid & port.beats.ready,
                                                     port.beats.payload.as_value())
            ctx.set(port.answers.valid, 0)
            if answers and answers[0][0] <= self.cycle:
                ctx.set(port.answers.payload, answers.popleft()[1])
                ctx.set(port.answers.valid, 1)
            if not valid:
                continue
            beat = shape.from_bits(raw)
            assert bool(beat.first) == (not octets), "a write begins with `first`"
            octets += bytes(beat.data)
            if not beat.last:
                continue
            assert len(octets) - len(beat.data) < beat.length <= len(octets), beat.length
            bad = (self.fault(beat.address) or beat.function_id in self.gate
                   or beat.address + beat.length > len(self.memory))
            self.writes.append((self.cycle, beat.function_id, beat.address, beat.length))
            self.watch(beat.function_id, beat.address, beat.length)
            if not bad:
                self.memory[beat.address:beat.address + beat.length] = octets[:beat.length]
            answers.append((self.cycle + 5, {"function_id": beat.function_id, "tag": beat.tag,
                                             "error": bad}))
            octets = b""

    async def _interrupts(self, ctx):
        port = self.dut.interrupts
        answers = deque()
        ctx.set(port.requests.ready, 1)
        while True:
            *_, valid, function_id, vector = await ctx.tick().sample(
                port.requests.valid, port.requests.p.function_id, port.requests.p.vector)
            if valid:
                self.irqs.append((self.cycle, function_id, vector))
                answers.append((self.cycle + 3, function_id))
            ctx.set(port.answers.valid, 0)
            if answers and answers[0][0] <= self.cycle:
                ctx.set(port.answers.p.function_id, answers.popleft()[1])
                ctx.set(port.answers.valid, 1)

    async def _packets(self, ctx):
        port = self.dut.transmitted
        shape = port.payload.shape()
        octets = b""
        while True:
            ctx.set(port.ready, not self.pause_tx)
            *_, moves, raw = await ctx.tick().sample(port.valid & port.ready,
                                                     port.payload.as_value())
            if moves:
                beat = shape.from_bits(raw)
                assert bool(beat.first) == (not octets)
                octets += bytes(beat.data)
                if beat.last:
                    assert len(octets) - len(beat.data) < beat.meta.length <= len(octets)
                    self.sent.append((self.cycle, beat.meta, octets[:beat.meta.length]))
                    octets = b""

    async def _ends(self, ctx):
        port = self.dut.lifecycle.drained
        ctx.set(port.ready, 1)
        while True:
            *_, valid, function_id = await ctx.tick().sample(port.valid, port.p.function_id)
            if valid:
                self.drained.append((self.cycle, function_id))

    # --- the guests' accesses ---

    async def write(self, ctx, function_id, offset, value, octets):
        """A register write of 1, 2, 4 or 8 octets."""
        lane = offset % 8
        port = self.dut.mmio.requests
        await self._lock(ctx)
        ctx.set(port.payload, {
            "function_id": function_id, "offset": offset - lane, "write": 1,
            "byte_enable": ((1 << octets) - 1) << lane, "data": value << 8 * lane})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        self._mmio = False

    async def _lock(self, ctx):
        """One story at a time on the port."""
        while self._mmio:
            await ctx.tick()
        self._mmio = True

    async def read(self, ctx, function_id, offset, octets):
        """A register read."""
        lane = offset % 8
        port, replies = self.dut.mmio.requests, self.dut.mmio.replies
        await self._lock(ctx)
        ctx.set(port.payload, {"function_id": function_id, "offset": offset - lane, "write": 0,
                               "byte_enable": ((1 << octets) - 1) << lane})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        for _ in range(64):
            *_, valid, value = await ctx.tick().sample(replies.valid, replies.p.data)
            if valid:
                self._mmio = False
                return value >> 8 * lane & (1 << 8 * octets) - 1
        raise AssertionError("a read must be answered within 64 cycles")

    async def set_register(self, ctx, function_id, name, value):
        register = spec.COMMON_CFG[name]
        if register.octets == 8:
            await self.write(ctx, function_id, register.offset, value & 0xFFFF_FFFF, 4)
            await self.write(ctx, function_id, register.offset + 4, value >> 32, 4)
        else:
            await self.write(ctx, function_id, register.offset, value, register.octets)

    async def get_register(self, ctx, function_id, name):
        register = spec.COMMON_CFG[name]
        return await self.read(ctx, function_id, register.offset, register.octets)

    async def manage(self, ctx, address, data=None):
        """A management access."""
        port = self.dut.management
        ctx.set(port.requests.payload, {"address": address, "write": data is not None,
                                        "data": data or 0})
        ctx.set(port.requests.valid, 1)
        await ctx.tick()
        ctx.set(port.requests.valid, 0)
        for _ in range(64):
            *_, valid, reply = await ctx.tick().sample(port.replies.valid, port.replies.payload)
            if valid:
                assert not reply.error
                return reply.data
        raise AssertionError("management must answer within 64 cycles")

    async def receive(self, ctx, function_id, octets, *, queue=0, error=0):
        """Give the device one frame; one story at a time, or their beats would mix."""
        port, width = self.dut.received, self.dut.config.data_width // 8
        while self._received:
            await ctx.tick()
        self._received = True
        for low in range(0, len(octets), width):
            part = octets[low:low + width].ljust(width, b"\0")
            ctx.set(port.payload, {
                "data": list(part), "first": low == 0, "last": low + width >= len(octets),
                "error": error, "meta": {"function_id": function_id, "length": len(octets),
                                         "queue": queue}})
            ctx.set(port.valid, 1)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)
        self._received = False

    async def stop(self, ctx, function_id):
        """The endpoint ends a function."""
        port = self.dut.lifecycle.stops
        ctx.set(port.p.function_id, function_id)
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)

    async def until(self, ctx, condition, cycles=20_000):
        """Wait for what a story is about."""
        for _ in range(cycles):
            if condition():
                return
            await ctx.tick()
        raise AssertionError("what was waited for did not happen")

    async def start(self, ctx, function_id, queues, *, features=None):
        """[virtio-1.2: 3.1.1] bring a function to DRIVER_OK."""
        await self.set_register(ctx, function_id, "device_status", 1)
        await self.set_register(ctx, function_id, "device_status", 3)
        wanted = PLAIN if features is None else features
        for half in range(2):
            await self.set_register(ctx, function_id, "driver_feature_select", half)
            await self.set_register(ctx, function_id, "driver_feature",
                                    wanted >> 32 * half & 0xFFFF_FFFF)
        await self.set_register(ctx, function_id, "device_status", 0xB)
        assert await self.get_register(ctx, function_id, "device_status") == 0xB
        await self.set_register(ctx, function_id, "config_msix_vector", 0)
        for queue in queues:
            await queue.set_up(ctx)
        await self.set_register(ctx, function_id, "device_status", 0xF)
