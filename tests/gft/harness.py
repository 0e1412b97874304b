"""A pipeline in Amaranth's simulator, with its neighbours: packets, processor, oracle of keys."""

import ipaddress
from dataclasses import replace

from amaranth.sim import Simulator

from offloadcard.config import PRESETS
from offloadcard.gft.pipeline import Pipeline
from offloadcard.gft.spec import (
    DESCRIPTOR_OCTETS,
    MANAGEMENT,
    Direction,
    ExceptionDescriptor,
    FlowEntry,
    InjectDescriptor,
    Key,
    L3Type,
    Opcode,
    Status,
    Template,
)
from offloadcard.rtl.octets import pack, size_of, unpack
from tests.support.streams import Stalls

__all__ = ["NARROW", "WIDE", "Bench", "key_of", "address", "exceeded"]

NARROW = replace(PRESETS["tiny"], name="narrow")
WIDE = replace(PRESETS["tiny"], name="wide", data_width=512, gft_flows=64, max_frame_octets=9216,
               gft_packet_buffer_octets=64 * 1024, gft_exception_octets=32 * 1024)


def address(text):
    """An IP or MAC address as the number that the key and the entry hold."""
    if text.count(":") == 5 and "::" not in text:
        return int(text.replace(":", ""), 16)
    return int(ipaddress.ip_address(text))


def key_of(source, destination, *, ports=(0, 0), protocol=17, function_id=0, vni=None, vlan=None):
    """The UFID of a flow, written by hand: from the wire if ``function_id`` is ``None``."""
    ipv6 = ":" in source
    return {
        "source_address": address(source), "destination_address": address(destination),
        "source_port": ports[0], "destination_port": ports[1], "protocol": protocol,
        "source": function_id or 0,
        "direction": Direction.WIRE if function_id is None else Direction.GUEST,
        "vni": vni or 0, "tunnel": vni is not None,
        "vlan": vlan or 0, "vlan_valid": vlan is not None,
        "l3_type": L3Type.IPV6 if ipv6 else L3Type.IPV4,
    }


class Compiled:
    """A simulator of one configuration, made once and reset for each test."""

    made = {}
    SLOTS = 4  # testbenches that a test may run at once

    def __init__(self, config):
        self.bench = None
        self.used  = False
        self.dut = Pipeline(config)
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(4e-9)
        for name in ("to_wire", "to_guests", "exceptions"):
            self.simulator.add_testbench(self._call("watch", name), background=True)
        for slot in range(self.SLOTS):
            self.simulator.add_testbench(self._call("slot", slot))
        self.simulator.add_process(self._call("clock"))

    def _call(self, method, *arguments):
        """A testbench that is a method of the bench of the day."""
        async def call(ctx):
            await getattr(self.bench, method)(ctx, *arguments)
        return call

    @classmethod
    def of(cls, config):
        if config not in cls.made:
            cls.made[config] = cls(config)
        return cls.made[config]


class Bench:
    """One simulation: ``await`` its methods in testbenches; what leaves is in ``out``."""

    def __init__(self, config=NARROW, *, stalls=0.0, seed=1):
        self.config = config
        self.compiled = Compiled.of(config)
        self.dut = self.compiled.dut
        self.out = {"to_wire": [], "to_guests": [], "exceptions": []}
        self.cycles = {name: [] for name in self.out}  # of each packet's first beat
        self.now = 0
        self.stalls = {name: Stalls(seed + n, stalls) for n, name in enumerate(self.out)}

    def run(self, *benches):
        """Run testbenches ``async def bench(ctx)`` to their end."""
        self.benches = benches
        self.compiled.bench = self
        if self.compiled.used:
            self.compiled.simulator.reset()
        self.compiled.used = True
        try:
            self.compiled.simulator.run()
        except BaseException:
            del Compiled.made[self.config]
            raise

    async def slot(self, ctx, number):
        """The testbench of that number, if there is one."""
        if number < len(self.benches):
            await self.benches[number](ctx)

    async def clock(self, ctx):
        """Count cycles."""
        async for _ in ctx.tick():
            self.now += 1

    async def watch(self, ctx, name):
        """Take what leaves by ``name``."""
        port, width = getattr(self.dut, name), self.config.data_width
        frame, first, ready = b"", 0, None
        while True:
            if ready != (ready := not self.stalls[name]()):
                ctx.set(port.ready, ready)
            *_, valid, flat = await ctx.tick().sample(port.valid, port.payload)
            if not (valid and ready):
                continue
            if flat.first:
                assert frame == b"", "`first` inside a packet"
                first, meta = self.now, flat.meta
            assert flat.meta == meta, "meta must be constant"
            frame += bytes(flat.data)
            if flat.last:
                assert 0 <= len(frame) - meta.length < width // 8
                self.out[name].append((meta.function_id, frame[:meta.length]))
                self.cycles[name].append(first)
                frame = b""

    # --- packets -----------------------------------------------------------------------------

    async def send(self, ctx, name, frame, *, function_id=0, error=0):
        """Send one frame into a port; returns when its last beat was taken."""
        port, octets = getattr(self.dut, name), self.config.data_width // 8
        frame = bytes(frame)
        ctx.set(port.p.meta.length, len(frame))
        ctx.set(port.p.meta.function_id, function_id)
        ctx.set(port.valid, 1)
        for low in range(0, len(frame), octets):
            last = low + octets >= len(frame)
            ctx.set(port.p.data, list(frame[low:low + octets].ljust(octets, b"\xEE")))
            ctx.set(port.p.first, low == 0)
            ctx.set(port.p.last, last)
            ctx.set(port.p.error, last and error)
            ready = False
            while not ready:
                *_, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def inject(self, ctx, frame, **fields):
        """Send a frame from the slow path."""
        frame = bytes(frame)
        descriptor = pack(InjectDescriptor, {"length": len(frame), **fields})
        await self.send(ctx, "inject", descriptor + frame)

    async def wait(self, ctx, name, count, *, cycles=3000):
        """Wait until ``count`` packets have left by ``name``."""
        for _ in range(cycles):
            if len(self.out[name]) >= count:
                return self.out[name]
            await ctx.tick()
        raise AssertionError(f"{name}: {len(self.out[name])} packets, not {count}")

    def exception(self, number):
        """Descriptor and frame of an exception."""
        _, octets = self.out["exceptions"][number]
        descriptor = unpack(ExceptionDescriptor, octets[:DESCRIPTOR_OCTETS])
        frame = octets[DESCRIPTOR_OCTETS:]
        assert descriptor.length == len(frame)
        return descriptor, frame

    # --- processor ---------------------------------------------------------------------------

    async def _access(self, ctx, offset, *, write, value=0):
        port = self.dut.management
        ctx.set(port.requests.payload, {"address": offset, "write": write, "data": value})
        ctx.set(port.requests.valid, 1)
        await ctx.tick()
        ctx.set(port.requests.valid, 0)
        valid = False
        while not valid:
            *_, valid, reply = await ctx.tick().sample(port.replies.valid, port.replies.payload)
        assert not reply.error
        return reply.data

    async def write(self, ctx, name, value):
        """Write a register, by number or by fields."""
        register = MANAGEMENT[name]
        if isinstance(value, dict):
            value = register.shape.const(value).as_bits()
        await self._access(ctx, register.offset, write=1, value=value << register.offset % 8 * 8)

    async def read(self, ctx, name):
        """Read a register."""
        register = MANAGEMENT[name]
        value = await self._access(ctx, register.offset & ~7, write=0)
        value = value >> register.offset % 8 * 8 & (1 << register.width) - 1
        return value if isinstance(register.shape, int) else register.shape.from_bits(value)

    async def start(self, ctx):
        """Wait until the tables are clear, and enable both directions."""
        while not await self.read(ctx, "STATUS") & 1:
            await ctx.tick()
        await self.write(ctx, "CONTROL", {"guest_enable": 1, "wire_enable": 1})

    async def _words(self, ctx, name, shape, fields):
        octets = pack(shape, fields)
        for n in range(size_of(shape) // 8):
            await self.write(ctx, f"{name}{n}", int.from_bytes(octets[8 * n:8 * n + 8], "little"))

    async def command(self, ctx, opcode, handle, *, key=None, entry=None, epoch=0, tag=7):
        """Execute one command; its completion."""
        if key is not None:
            await self._words(ctx, "KEY", Key, key)
        if entry is not None:
            await self._words(ctx, "ENTRY", FlowEntry, entry)
        await self.write(ctx, "COMMAND", {"opcode": opcode, "handle": handle, "tag": tag,
                                          "epoch": epoch})
        while not (done := await self.read(ctx, "COMPLETION")).valid:
            await ctx.tick()
        assert done.tag == tag
        await self.write(ctx, "COMPLETION_POP", 1)
        return done

    async def insert(self, ctx, handle, key, **entry):
        """Insert a flow; it must succeed."""
        done = await self.command(ctx, Opcode.INSERT, handle, key=key, entry=entry)
        assert done.status == Status.OK and done.handle == handle

    async def template(self, ctx, row, **fields):
        """Write a template."""
        await self._words(ctx, "TEMPLATE", Template, fields)
        await self.write(ctx, "TEMPLATE", row)

    async def reason(self, ctx, reason, *, wire=False):
        """Counter of a reason."""
        await self.write(ctx, "REASON", reason + 32 * wire)
        await ctx.tick()
        return await self.read(ctx, "REASON_PACKETS")


async def exceeded(bench, ctx, function_id, allowance, *, wire=False):
    """Drops of a function for want of an allowance."""
    await bench.write(ctx, "EXCEEDED", {"function_id": function_id, "allowance": allowance,
                                        "wire": wire})
    await ctx.tick()
    return await bench.read(ctx, "EXCEEDED_PACKETS")
