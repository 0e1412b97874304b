"""A guest's memory, the store and a driver around the NVMe house, in Amaranth's simulator."""

import heapq
import random
from collections import deque

from amaranth.sim import Simulator

from offloadcard.nvme_emul.controller import Controller
from offloadcard.nvme_emul.spec import (
    MANAGEMENT,
    PROPERTIES,
    AdminOpcode,
    Cqe,
    Sqe,
    VolumeFlags,
    VolumeIndex,
    doorbell_offset,
)
from offloadcard.rtl.octets import pack, unpack

__all__ = ["Bench", "Driver"]


class Bench:
    """The house and what surrounds it; ``run`` starts with a coroutine of the test.

    ``latency`` is the guest memory's and ``store_latency`` the store's, in cycles; ``stall`` is
    the chance that a port is not ready in a cycle. Every access is recorded.
    """

    def __init__(self, config, *, latency=8, store_latency=6, stall=0.0, seed=1):
        self.config = config
        self.dut = Controller(config)
        self.latency, self.store_latency, self.stall = latency, store_latency, stall
        self.random = random.Random(seed)
        self.memory = {}         # function_id -> bytearray
        self.store = bytearray(1 << 20)
        self.reads, self.writes, self.interrupts = [], [], []  # (cycle, function_id, address, n)
        self.read_faults, self.write_faults = set(), set()     # pages of (function_id, address)
        self.slow = {}           # function_id -> cycles that its memory takes more to be read
        self.store_reads, self.store_writes = [], []
        self.replies, self.drained, self.management_replies = deque(), [], deque()
        self.cycle = 0
        self.data_width = config.data_width

    def guest(self, function_id):
        """Memory of a guest."""
        return self.memory.setdefault(function_id, bytearray(1 << 20))

    def run(self, test, *, limit=60_000):
        """Run ``test(ctx)`` to its end; more than ``limit`` cycles are a failure."""
        simulator = Simulator(self.dut)
        simulator.add_clock(4e-9)
        self.finished = False

        async def body(ctx):
            await test(ctx)
            self.finished = True

        async def world(ctx):
            await self._world(ctx, limit)

        simulator.add_testbench(body)
        simulator.add_testbench(world, background=True)
        simulator.run()
        assert self.finished

    async def _world(self, ctx, limit):
        dut = self.dut
        ports = (dut.reads.requests, dut.writes.beats, dut.dram.reads, dut.dram.writes,
                 dut.interrupts.requests)
        watched = [item for port in ports for item in (port.valid, port.payload.as_value())]
        watched += [dut.mmio.replies.valid, dut.mmio.replies.payload.as_value(),
                    dut.lifecycle.drained.valid, dut.lifecycle.drained.payload.as_value(),
                    dut.management.replies.valid, dut.management.replies.payload.as_value(),
                    dut.dram.beats.ready]
        shapes = [port.payload.shape() for port in ports]
        ready = [1] * 5
        for port in ports:
            ctx.set(port.ready, 1)
        ctx.set(dut.lifecycle.drained.ready, 1)
        pending = [[], []]          # answers of guest reads and of store reads, by due time
        flowing = [deque(), deque()]  # their beats
        answers = [deque(), deque(), deque()]  # of writes, store writes, interrupts
        gathered = [bytearray(), bytearray()]
        number = 0
        held = [None, None]
        while True:
            _, _, *values = await ctx.tick().sample(*watched)
            self.cycle += 1
            if self.cycle > limit:
                raise AssertionError(f"not finished after {limit} cycles")
            now = self.cycle
            for index in range(5):
                if not (values[2 * index] and ready[index]):
                    continue
                p = shapes[index].from_bits(values[2 * index + 1])
                if index in (0, 2):
                    number += 1
                    due = now + (self.latency + self.slow.get(p.function_id, 0) if index == 0
                                 else self.store_latency)
                    heapq.heappush(pending[index // 2], (due, number, p))
                    log = self.reads if index == 0 else self.store_reads
                    log.append((now, p.function_id, p.address, p.length))
                elif index in (1, 3):
                    side = index // 2
                    if p.first:
                        gathered[side] = bytearray()
                    lanes = self.data_width // 8
                    bits = values[2 * index + 1] & ((1 << self.data_width) - 1)
                    gathered[side] += bits.to_bytes(lanes, "little")
                    if p.last:
                        assert len(gathered[side]) - lanes < p.length <= len(gathered[side])
                        self._written(side, now, p, bytes(gathered[side][:p.length]))
                        error = not side and self._faulty(self.write_faults, p)
                        answers[side].append((now + 3, p.function_id, p.tag, error))
                else:
                    self.interrupts.append((now, p.function_id, p.vector))
                    answers[2].append((now + 2, p.function_id))
            if values[10]:
                self.replies.append(values[11] & ((1 << 64) - 1))
            if values[12]:
                self.drained.append((now, values[13]))
            if values[14]:
                self.management_replies.append(values[15])
            # Answers.
            for side in range(2):
                while pending[side] and pending[side][0][0] <= now:
                    flowing[side].extend(self._beats(side, heapq.heappop(pending[side])[2]))
            beats = (dut.reads.beats, dut.dram.beats)
            for side, port in enumerate(beats):
                if side == 1 and held[1] is not None and not values[16]:
                    continue
                held[side] = flowing[side].popleft() if flowing[side] else None
                ctx.set(port.valid, held[side] is not None)
                if held[side] is not None:
                    ctx.set(port.payload, held[side])
            for kind, port in enumerate((dut.writes.answers, dut.dram.answers,
                                         dut.interrupts.answers)):
                due = answers[kind] and answers[kind][0][0] <= now
                ctx.set(port.valid, bool(due))
                if due:
                    _, function_id, *rest = answers[kind].popleft()
                    ctx.set(port.payload.function_id, function_id)
                    if rest:
                        ctx.set(port.payload.tag, rest[0])
                        ctx.set(port.payload.error, int(rest[1]))
            if self.stall:
                for index, port in enumerate(ports):
                    ready[index] = int(self.random.random() >= self.stall)
                    ctx.set(port.ready, ready[index])

    def _faulty(self, faults, p):
        return (p.function_id, p.address >> 12) in faults

    def _written(self, side, now, p, octets):
        if side:
            self.store_writes.append((now, p.function_id, p.address, p.length))
            self.store[p.address:p.address + p.length] = octets
            return
        self.writes.append((now, p.function_id, p.address, p.length))
        if not self._faulty(self.write_faults, p):
            self.guest(p.function_id)[p.address:p.address + p.length] = octets

    def _beats(self, side, p):
        lanes = self.data_width // 8
        error = not side and self._faulty(self.read_faults, p)
        source = self.store if side else self.guest(p.function_id)
        octets = source[p.address:p.address + p.length]
        assert len(octets) == p.length, hex(p.address)
        count = (p.length + lanes - 1) // lanes
        for index in range(count):
            part = octets[index * lanes:][:lanes]
            yield {"data": list(part.ljust(lanes, b"\0")), "strobe": (1 << len(part)) - 1,
                   "function_id": p.function_id, "tag": p.tag, "first": int(index == 0),
                   "last": int(index == count - 1),
                   "error": int(error and index == count - 1)}

    # --- accesses --------------------------------------------------------------------------

    async def mmio_write(self, ctx, function_id, offset, value, size=4):
        """One write; ``size`` is 4 or 8."""
        lane = offset % 8
        await self._mmio(ctx, function_id, offset, 1, ((1 << size) - 1) << lane,
                         value << 8 * lane)

    async def mmio_read(self, ctx, function_id, offset, size=4):
        """One read; the value within 64 cycles."""
        await self._mmio(ctx, function_id, offset, 0, 0xFF, 0)
        for _ in range(64):
            if self.replies:
                return self.replies.popleft() >> offset % 8 * 8 & ((1 << 8 * size) - 1)
            await ctx.tick()
        raise AssertionError("no reply within 64 cycles")

    async def _mmio(self, ctx, function_id, offset, write, enables, value):
        request = self.dut.mmio.requests
        ctx.set(request.payload, {"function_id": function_id, "offset": offset & ~7,
                                  "write": write, "byte_enable": enables, "data": value})
        ctx.set(request.valid, 1)
        await ctx.tick()
        ctx.set(request.valid, 0)

    async def management_write(self, ctx, name, value):
        """Write a register of the house."""
        request = self.dut.management.requests
        ctx.set(request.payload, {"address": 0x30000 + MANAGEMENT[name].offset, "write": 1,
                                  "data": value})
        ctx.set(request.valid, 1)
        await ctx.tick()
        ctx.set(request.valid, 0)
        while not self.management_replies:
            await ctx.tick()
        assert not self.management_replies.popleft() >> 64

    async def volume(self, ctx, function_id, nsid, *, base, blocks, flags=None):
        """Give a function a volume."""
        index = VolumeIndex.const({"nsid": nsid, "function_id": function_id}).as_bits()
        flags = VolumeFlags.const({"valid": 1, **(flags or {})}).as_bits()
        for name, value in (("VOLUME_INDEX", index), ("VOLUME_BASE", base),
                            ("VOLUME_BLOCKS", blocks), ("VOLUME_FLAGS", flags),
                            ("VOLUME_STORE", 1)):
            await self.management_write(ctx, name, value)

    async def stop(self, ctx, function_id):
        """Stop a function by the lifecycle port; returns when it is drained."""
        stops = self.dut.lifecycle.stops
        ctx.set(stops.payload.function_id, function_id)
        ctx.set(stops.valid, 1)
        await ctx.tick()
        ctx.set(stops.valid, 0)
        seen = len(self.drained)
        while not any(f == function_id for _, f in self.drained[seen:]):
            await ctx.tick()


class Driver:
    """One function's driver: admin queue, I/O queues, commands one by one or many at once.

    Guest memory: queues from 0x1000 on, 4 KiB each; data from 0x40000 on.
    """

    def __init__(self, bench, function_id):
        self.bench, self.function_id = bench, function_id
        self.memory = bench.guest(function_id)
        self.queues = {}
        self.cid = 0

    async def write(self, ctx, name, value, size=4):
        register = PROPERTIES[name]
        await self.bench.mmio_write(ctx, self.function_id, register.offset, value, size)

    async def read(self, ctx, name, size=4):
        return await self.bench.mmio_read(ctx, self.function_id, PROPERTIES[name].offset, size)

    async def wait_ready(self, ctx, ready):
        while (await self.read(ctx, "CSTS")) & 1 != ready:
            pass

    async def enable(self, ctx, *, entries=8):
        """Bring the controller up with an admin queue pair."""
        self.queue(0, entries, entries)
        await self.write(ctx, "AQA", (entries - 1) << 16 | (entries - 1))
        await self.write(ctx, "ASQ", self.queues[0]["sq"], 8)
        await self.write(ctx, "ACQ", self.queues[0]["cq"], 8)
        await self.write(ctx, "CC", 0x0046_0001)
        await self.wait_ready(ctx, 1)

    async def disable(self, ctx):
        await self.write(ctx, "CC", 0x0046_0000)
        await self.wait_ready(ctx, 0)
        self.queues.clear()

    def queue(self, qid, sq_entries, cq_entries, *, cqid=None):
        """Lay a queue pair out in memory."""
        at = 0x1000 + 0x2000 * qid
        cqid = qid if cqid is None else cqid
        self.memory[at:at + 0x2000] = bytes(0x2000)
        self.queues[qid] = {"sq": at, "cq": at + 0x1000, "sq_n": sq_entries, "cq_n": cq_entries,
                            "tail": 0, "head": 0, "phase": 1, "cqid": cqid, "sqhd": 0}
        return self.queues[qid]

    async def create_queue(self, ctx, qid, *, sq_entries=8, cq_entries=8, cqid=None):
        """Create an I/O queue pair, or a submission queue on another's completion queue."""
        queue = self.queue(qid, sq_entries, cq_entries, cqid=cqid)
        if cqid is None:
            cqe = await self.admin(ctx, AdminOpcode.CREATE_CQ, prp1=queue["cq"],
                                   cdw10=(cq_entries - 1) << 16 | qid, cdw11=qid << 16 | 3)
            assert cqe.status == 0
        cqe = await self.admin(ctx, AdminOpcode.CREATE_SQ, prp1=queue["sq"],
                               cdw10=(sq_entries - 1) << 16 | qid,
                               cdw11=queue["cqid"] << 16 | 1)
        assert cqe.status == 0

    def put(self, qid, opcode, **fields):
        """Write an entry at the tail; returns its cid. The doorbell is another matter."""
        queue = self.queues[qid]
        self.cid = (self.cid + 1) & 0xFFFF
        at = queue["sq"] + 64 * queue["tail"]
        self.memory[at:at + 64] = pack(Sqe, {"opcode": opcode, "cid": self.cid, **fields})
        queue["tail"] = (queue["tail"] + 1) % queue["sq_n"]
        return self.cid

    async def ring(self, ctx, qid):
        """The submission queue's doorbell."""
        await self.bench.mmio_write(ctx, self.function_id, doorbell_offset(qid, completion=False),
                                    self.queues[qid]["tail"])

    def poll(self, qid):
        """The next CQE if there is one."""
        queue = self.queues[qid]
        at = queue["cq"] + 16 * queue["head"]
        cqe = unpack(Cqe, bytes(self.memory[at:at + 16]))
        if cqe.phase != queue["phase"]:
            return None
        queue["head"] = (queue["head"] + 1) % queue["cq_n"]
        queue["phase"] ^= queue["head"] == 0
        return cqe

    async def acknowledge(self, ctx, qid):
        """The completion queue's doorbell."""
        await self.bench.mmio_write(ctx, self.function_id, doorbell_offset(qid, completion=True),
                                    self.queues[qid]["head"])

    async def wait(self, ctx, qid):
        """The next CQE, acknowledged."""
        while (cqe := self.poll(qid)) is None:
            await ctx.tick()
        await self.acknowledge(ctx, qid)
        return cqe

    async def command(self, ctx, qid, opcode, **fields):
        """One command alone; its CQE."""
        cid = self.put(qid, opcode, **fields)
        await self.ring(ctx, qid)
        cqe = await self.wait(ctx, self.queues[qid]["cqid"])
        assert cqe.cid == cid and cqe.sqid == qid
        return cqe

    async def admin(self, ctx, opcode, **fields):
        return await self.command(ctx, 0, opcode, **fields)
