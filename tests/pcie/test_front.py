"""The front whole: enumeration, BARs, devices behind it, MSI-X, ends of functions."""

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.front import Front
from tests.pcie.guest import Guest, simulate

BAR0_NET, BAR2_NET = 0x1_0000_0000, 0x2_0000_0000


class World:
    """A front, its guest, and devices that answer reads with their own address."""

    def __init__(self, config=TINY):
        self.config = config
        self.dut = dut = Front(config, settle=64)
        self.guest = Guest(dut, data_width=config.data_width)
        self.accesses, self.messages, self.stops = [], [], []
        self.held = False     # devices keep back their last words
        self.background = [self.guest.collect, self.device(dut.net_mmio, "net"),
                           self.device(dut.nvme_mmio, "nvme"), self.messenger,
                           *(self.end(port, name) for name, port in (
                               ("net", dut.net_lifecycle), ("nvme", dut.nvme_lifecycle),
                               ("requester", dut.requester_lifecycle)))]

    def device(self, port, name):
        async def process(ctx):
            while True:
                *_, valid, request = await ctx.tick().sample(port.requests.valid,
                                                             port.requests.payload)
                ctx.set(port.replies.valid, 0)
                if valid:
                    self.accesses.append((name, request.function_id, request.offset,
                                          request.write, request.byte_enable, request.data))
                    if not request.write:
                        await ctx.tick().repeat(3)
                        ctx.set(port.replies.valid, 1)
                        ctx.set(port.replies.p.data,
                                request.function_id << 32 | request.offset | 0xAA << 56)
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
            *_, valid, beat = await ctx.tick().sample(stream.valid, stream.payload)
            if valid:
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
        guest = self.guest
        ctx.set(self.dut.link_up, 1)
        for number in range(2):
            bdf = 0x100 | number
            await guest.config_write(ctx, bdf, 0x10, 0x1_0000 * number + 0x1000_0000)
            await guest.config_write(ctx, bdf, 0x14, 1)
            await guest.config_write(ctx, bdf, 0x18, 0x1_0000 * number + 0x2000_0000)
            await guest.config_write(ctx, bdf, 0x1C, 1)
            await guest.config_write(ctx, bdf, 0x04, 0x6, size=2)
        if ari:
            await guest.config_write(ctx, 0x100, spec.SRIOV + 8, 0x10, size=2)
        for number, vfs in enumerate((self.config.virtio_net_vfs, self.config.nvme_vfs)):
            bdf = 0x100 | number
            for place, base in ((0x24, 0x3000_0000), (0x2C, 0x4000_0000)):
                await guest.config_write(ctx, bdf, spec.SRIOV + place,
                                         base + 0x800_0000 * number)
                await guest.config_write(ctx, bdf, spec.SRIOV + place + 4, 1)
            await guest.config_write(ctx, bdf, spec.SRIOV + 0x10, vfs, size=2)
            await guest.config_write(ctx, bdf, spec.SRIOV + 8, 0x19 if ari else 0x9, size=2)

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


def test_registers_are_reached_by_address():
    """Every function's doorbell and register reach its own device under its own id."""
    world = World()
    guest = world.guest

    async def host(ctx):
        await world.enumerate(ctx)
        for function in range(TINY.functions):
            await guest.write(ctx, bar(function) + 0x1004, b"\x01\x02\x03\x04")
            octets = await guest.read_octets(ctx, bar(function) + 0x20, 8)
            assert octets == (function << 32 | 0x20 | 0xAA << 56).to_bytes(8, "little")
    world.run(host)
    assert world.accesses == [
        access for function in range(TINY.functions) for access in (
            (("nvme" if function in (1, 4, 5) else "net"), function, 0x1000, 1, 0xF0,
             0x0403_0201 << 32),
            (("nvme" if function in (1, 4, 5) else "net"), function, 0x20, 0, 0xFF, 0))]
