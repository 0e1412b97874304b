"""The front of the endpoint with a guest on one side and devices on the other."""

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.front import Front
from tests.pcie.guest import Guest, simulate

__all__ = ["World", "bar"]


class World:
    """A front, its guest, and devices that answer reads with their own address."""

    def __init__(self, config=TINY):
        self.config = config
        self.dut = dut = Front(config, settle=64)
        self.guest = Guest(dut, data_width=config.data_width)
        self.accesses, self.messages, self.stops = [], [], []
        self.latency = 3      # of the devices' registers
        self.held = False     # devices keep back their last words
        self.background = [self.guest.collect, self.device(dut.net_mmio, "net"),
                           self.device(dut.nvme_mmio, "nvme"), self.messenger,
                           *(self.end(port, name) for name, port in (
                               ("net", dut.net_lifecycle), ("nvme", dut.nvme_lifecycle),
                               ("requester", dut.requester_lifecycle)))]

    def device(self, port, name):
        async def process(ctx):
            reads = []  # [cycles to go, data]
            while True:
                *_, valid, request = await ctx.tick().sample(port.requests.valid,
                                                             port.requests.payload)
                ctx.set(port.replies.valid, 0)
                for read in reads:
                    read[0] -= 1
                if reads and reads[0][0] <= 0:
                    ctx.set(port.replies.valid, 1)
                    ctx.set(port.replies.p.data, reads.pop(0)[1])
                if valid:
                    self.accesses.append((name, request.function_id, request.offset,
                                          request.write, request.byte_enable, request.data))
                    if not request.write:
                        reads.append([self.latency, request.function_id << 32 | request.offset
                                      | 0xAA << 56])
        return process

    def end(self, port, name):
        async def process(ctx):
            waiting = []
            while True:
                *_, valid, stop, taken = await ctx.tick().sample(
                    port.stops.valid, port.stops.payload, port.drained.ready)
                if valid:
                    self.stops.append((name, stop.function_id))
                    waiting.append(stop.function_id)
                if ctx.get(port.drained.valid) and taken:
                    waiting.pop(0)
                ctx.set(port.drained.valid, bool(waiting) and not self.held)
                if waiting:
                    ctx.set(port.drained.p.function_id, waiting[0])
        return process

    async def messenger(self, ctx):
        stream = self.dut.interrupt_writes
        ctx.set(stream.ready, 1)
        while True:
            *_, valid, ready, beat = await ctx.tick().sample(stream.valid, stream.ready,
                                                             stream.payload)
            ctx.set(self.dut.interrupt_decided, valid and ready)
            if valid and ready:
                assert (beat.length, beat.first, beat.last) == (4, 1, 1)
                self.messages.append((beat.function_id, beat.address,
                                      int.from_bytes(bytes(beat.data)[:4], "little")))

    async def interrupt(self, ctx, port, function_id, vector):
        ctx.set(port.requests.p.function_id, function_id)
        ctx.set(port.requests.p.vector, vector)
        ctx.set(port.requests.valid, 1)
        await ctx.tick().until(port.requests.ready)
        ctx.set(port.requests.valid, 0)
        await ctx.tick().until(port.answers.valid)

    async def enumerate(self, ctx, *, ari=True):
        """What firmware and Linux do, shortly: bus number 1, BARs, all VFs of both kinds."""
        ctx.set(self.dut.link_up, 1)
        writes = []
        for number in range(2):
            for offset, value, size in ((0x10, 0x1_0000 * number + 0x1000_0000, 4), (0x14, 1, 4),
                                        (0x18, 0x1_0000 * number + 0x2000_0000, 4),
                                        (0x1C, 1, 4), (0x04, 6, 2)):
                writes.append((0x100 | number, offset, value, size))
        if ari:
            writes.append((0x100, spec.SRIOV + 8, 0x10, 2))
        for number, vfs in enumerate((self.config.virtio_net_vfs, self.config.nvme_vfs)):
            for place, base in ((0x24, 0x3000_0000), (0x2C, 0x4000_0000)):
                writes += [(0x100 | number, spec.SRIOV + place, base + 0x800_0000 * number, 4),
                           (0x100 | number, spec.SRIOV + place + 4, 1, 4)]
            writes += [(0x100 | number, spec.SRIOV + 0x10, vfs, 2),
                       (0x100 | number, spec.SRIOV + 8, 0x19 if ari else 0x9, 2)]
        await self.guest.config_writes(ctx, writes)

    def run(self, *processes):
        simulate(self.dut, *processes, background=self.background)
        assert not self.guest.spurious


def bar(function, bar_number=0, config=TINY):
    """Address of a BAR after ``World.enumerate``."""
    base = {0: (0x1_1000_0000, 0x1_3000_0000), 2: (0x1_2000_0000, 0x1_4000_0000)}[bar_number]
    if function < 2:
        return base[0] + 0x1_0000 * function
    if function < config.first_nvme_vf:
        return base[1] + 0x1_0000 * (function - 2)
    return base[1] + 0x800_0000 + 0x1_0000 * (function - config.first_nvme_vf)
