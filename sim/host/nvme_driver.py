"""An NVMe driver as Linux's: bring-up, admin commands, I/O queues, PRP lists, many in flight."""

# Ref: nvme-base-1.4c, 7.6.1 (Initialization)

from offloadcard.nvme_emul import spec
from offloadcard.nvme_emul.spec_pages import IdentifyController, IdentifyNamespace
from offloadcard.rtl.octets import unpack

from .bus import Timeout, poll
from .nvme_queue import QueuePair
from .prp import PAGE, Transfer

__all__ = ["NvmeDriver", "NvmeError"]

READY_TIMEOUT_NS = 10_000_000
ADMIN_ENTRIES = 32


class NvmeError(RuntimeError):
    """A command ended with a status other than success.

    Attributes
    ----------
    status : int
        SCT << 8 | SC.
    """

    def __init__(self, what, status):
        super().__init__(f"{what} must succeed, not end with status {status:#05x}")
        self.status = status


class NvmeDriver:
    """Reads and writes blocks of one function's namespaces.

    Attributes
    ----------
    cap : int
        Controller capabilities.
    controller : IdentifyController
        What the controller says of itself.
    namespaces : dict
        NSID -> (blocks, octets of a block).
    queues : list of QueuePair
        Admin queue first.
    """

    def __init__(self, function, *, io_queues=1, entries=64, interrupts=True):
        self.function, self.bus, self.memory = function, function.bus, function.memory
        self.io_queues, self.entries, self.interrupts = io_queues, entries, interrupts
        self.queues, self.messages, self.namespaces = [], [], {}
        self.cap = 0
        self.controller = self.mdts = None

    @property
    def base(self):
        """Address of BAR 0."""
        return self.function.bars[0][0]

    async def get(self, name):
        """A property; 64-bit ones as two halves."""
        register = spec.PROPERTIES[name]
        address = self.base + register.offset
        if register.octets == 8:
            return await self.bus.read(address, 4) | await self.bus.read(address + 4, 4) << 32
        return await self.bus.read(address, register.octets)

    async def put(self, name, value):
        """Write a property; 64-bit ones as two halves, as Linux does."""
        register = spec.PROPERTIES[name]
        address = self.base + register.offset
        if register.octets == 8:
            await self.bus.write(address, 4, value & 0xFFFF_FFFF)
            await self.bus.write(address + 4, 4, value >> 32)
        else:
            await self.bus.write(address, register.octets, value)

    async def doorbell(self, index, value):
        """Write a doorbell: 2 y for SQ y's tail, 2 y + 1 for CQ y's head."""
        stride = 4 << (self.cap >> 32 & 0xF)
        await self.bus.write(self.base + spec.DOORBELL_BASE + index * stride, 4, value)

    async def _ready(self, wanted, timeout_ns=READY_TIMEOUT_NS):
        async def reached():
            return (await self.get("CSTS")) & 1 == wanted
        await poll(self.bus, reached, f"CSTS.RDY {wanted} of {self.function}",
                   timeout_ns=timeout_ns)

    async def disable(self):
        """CC.EN = 0; when CSTS.RDY says so, the controller has let go of all memory."""
        await self.put("CC", await self.get("CC") & ~1)
        await self._ready(0)

    async def start(self):
        """From any state to I/O queues ready."""
        self.cap = await self.get("CAP")
        await self.disable()
        self.messages = (await self.function.msix_enable(self.io_queues + 1)
                         if self.interrupts else [])
        await self._enable()
        await self.identify()
        await self.create_queues()

    async def restart(self):
        """After a reset of whatever kind: ready again, polling, nothing identified anew."""
        self.messages, self.interrupts = [], False
        await self._enable()
        await self.create_queues()

    async def _enable(self):
        entries = min(ADMIN_ENTRIES, (self.cap & 0xFFFF) + 1)
        admin = QueuePair(self, 0, entries, vector=0 if self.interrupts else None)
        self.queues = [admin]
        await self.put("AQA", entries - 1 << 16 | entries - 1)
        await self.put("ASQ", admin.sq.address)
        await self.put("ACQ", admin.cq.address)
        # IOCQES 4, IOSQES 6, memory page size 4 KiB, NVM command set, round robin.
        await self.put("CC", 4 << 20 | 6 << 16 | 1)
        await self._ready(1)

    async def stop(self):
        """Disable, then give all memory back."""
        await self.disable()
        self.forget()

    def forget(self):
        """Give back queues and buffers in flight: the controller has been reset."""
        for queue in self.queues:
            for token in queue.pending.values():
                if isinstance(token, Transfer):
                    token.free()
            queue.release()
        self.queues = []

    async def shutdown(self):
        """Normal shutdown: CC.SHN = 01b until CSTS.SHST = 10b."""
        await self.put("CC", await self.get("CC") & ~(3 << 14) | 1 << 14)

        async def complete():
            return await self.get("CSTS") >> 2 & 3 == 2
        await poll(self.bus, complete, f"shutdown of {self.function}",
                   timeout_ns=READY_TIMEOUT_NS)

    # Commands.

    async def wait(self, queue, *, timeout_ns=5_000_000):
        """Completions of a queue, at least one."""
        end = self.bus.now_ns() + timeout_ns
        while True:
            message = None if queue.vector is None else self.messages[queue.vector]
            seen = 0 if message is None else self.bus.messages_seen(message)
            done = await queue.take()
            if done:
                return done
            left = end - self.bus.now_ns()
            if left <= 0:
                raise Timeout(f"a completion of queue {queue.number} of {self.function} must "
                              f"be seen within {timeout_ns} ns")
            if message is None:
                await self.bus.sleep(min(500, left))
            else:
                await self.bus.wait_message(message, seen, left)

    async def command(self, queue, **fields):
        """Run one command alone on ``queue``; its Completion."""
        queue.put("alone", **fields)
        await queue.ring()
        while True:
            for completion in await self.wait(queue):
                if completion.token == "alone":
                    return completion

    async def admin(self, opcode, what=None, **fields):
        """Run an admin command; its dword 0. NvmeError unless it succeeds."""
        completion = await self.command(self.queues[0], opcode=int(opcode), **fields)
        if completion.status:
            raise NvmeError(what or f"admin command {int(opcode):#04x}", completion.status)
        return completion.dw0

    async def fetch(self, opcode, length, what, **fields):
        """An admin command that returns data."""
        buffer = Transfer(self.memory, length, owner=self.function.rid)
        try:
            await self.admin(opcode, what, prp1=buffer.prp1, prp2=buffer.prp2, **fields)
            return buffer.read()
        finally:
            buffer.free()

    async def identify(self):
        """Identify Controller, the list of namespaces, and each of them."""
        opcode, cns = spec.AdminOpcode.IDENTIFY, spec.IdentifyCns
        self.controller = unpack(IdentifyController, await self.fetch(
            opcode, PAGE, "Identify Controller", cdw10=int(cns.CONTROLLER)))
        self.mdts = PAGE << self.controller.mdts if self.controller.mdts else None
        listed = await self.fetch(opcode, PAGE, "Identify namespace list",
                                  cdw10=int(cns.ACTIVE_NAMESPACES), nsid=0)
        self.namespaces = {}
        for n in range(0, PAGE, 4):
            nsid = int.from_bytes(listed[n:n + 4], "little")
            if not nsid:
                break
            found = unpack(IdentifyNamespace, await self.fetch(
                opcode, PAGE, "Identify Namespace", cdw10=int(cns.NAMESPACE), nsid=nsid))
            self.namespaces[nsid] = (found.nsze, 1 << found.lbaf[found.flbas & 0xF].lbads)

    async def create_queues(self):
        """Ask for the number of queues, then create pairs, completion queues first."""
        wanted = self.io_queues - 1
        granted = await self.admin(spec.AdminOpcode.SET_FEATURES, "Number of Queues", cdw10=7,
                                   cdw11=wanted << 16 | wanted)
        count = min(self.io_queues, (granted & 0xFFFF) + 1, (granted >> 16) + 1)
        entries = min(self.entries, (self.cap & 0xFFFF) + 1)
        for number in range(1, count + 1):
            vector = min(number, len(self.messages) - 1) if self.interrupts else None
            pair = QueuePair(self, number, entries, vector=vector)
            self.queues.append(pair)
            enabled = 1 if vector is None else vector << 16 | 3
            await self.admin(spec.AdminOpcode.CREATE_CQ, "Create I/O CQ",
                             prp1=pair.cq.address, cdw10=entries - 1 << 16 | number,
                             cdw11=enabled)
            await self.admin(spec.AdminOpcode.CREATE_SQ, "Create I/O SQ",
                             prp1=pair.sq.address, cdw10=entries - 1 << 16 | number,
                             cdw11=number << 16 | 1)

    # Blocks.

    def _io(self, opcode, nsid, block, count, transfer, queue):
        queue.put(transfer, opcode=int(opcode), nsid=nsid, prp1=transfer.prp1,
                  prp2=transfer.prp2, cdw10=block & 0xFFFF_FFFF, cdw11=block >> 32,
                  cdw12=count - 1)

    async def stream(self, opcode, nsid, block, octets_or_length, *, chunk=None, depth=None,
                     queue=1, offset=0):
        """Read, write or compare a run of blocks, ``depth`` commands of ``chunk`` octets in flight.

        ``offset`` is where in a page each buffer begins, a multiple of 4. A read returns its
        octets. All commands in flight end before an error is raised, and their buffers are free.
        """
        writing = opcode != spec.Opcode.READ
        length = len(octets_or_length) if writing else octets_or_length
        size = self.namespaces[nsid][1]
        chunk = min(chunk or self.mdts or 128 * 1024, self.mdts or 1 << 30)
        pair, result, failed = self.queues[queue], bytearray(0 if writing else length), None
        starts = list(range(0, length, chunk))[::-1]
        flying = 0
        while starts or flying:
            rung = False
            while starts and failed is None and pair.room and flying < (depth or pair.room + 1):
                start = starts.pop()
                part = min(chunk, length - start)
                transfer = Transfer(self.memory, part, owner=self.function.rid, offset=offset)
                transfer.start = start
                if writing:
                    transfer.write(octets_or_length[start:start + part])
                self._io(opcode, nsid, block + start // size, part // size, transfer, pair)
                flying, rung = flying + 1, True
            if rung:
                await pair.ring()
            if not flying:
                break
            for completion in await self.wait(pair):
                transfer, flying = completion.token, flying - 1
                if completion.status:
                    failed = failed or completion.status
                elif not writing:
                    data = transfer.read()
                    result[transfer.start:transfer.start + len(data)] = data
                transfer.free()
        if failed:
            raise NvmeError(f"I/O of {self.function}", failed)
        return bytes(result)

    def load(self, source, *, queue=1, nsid=1):
        """Fill a queue with reads and writes drawn from ``source``; not yet rung."""
        pair, (blocks, size) = self.queues[queue], self.namespaces[nsid]
        while pair.room:
            count = source.choice([1, 8, 16, 40])
            transfer = Transfer(self.memory, count * size, owner=self.function.rid,
                                offset=4 * source.randrange(PAGE // 4))
            opcode = source.choice([spec.Opcode.READ, spec.Opcode.WRITE])
            self._io(opcode, nsid, source.randrange(blocks - count), count, transfer, pair)

    async def read(self, nsid, block, length, **options):
        """Octets from ``block`` on."""
        return await self.stream(spec.Opcode.READ, nsid, block, length, **options)

    async def write(self, nsid, block, octets, **options):
        """Write octets, a whole number of blocks, from ``block`` on."""
        await self.stream(spec.Opcode.WRITE, nsid, block, octets, **options)

    async def compare(self, nsid, block, octets, **options):
        """NvmeError, Compare Failure, unless the blocks from ``block`` on hold ``octets``."""
        await self.stream(spec.Opcode.COMPARE, nsid, block, octets, **options)

    async def io(self, opcode, what, *, queue=1, **fields):
        """An I/O command without data; NvmeError unless it succeeds."""
        completion = await self.command(self.queues[queue], opcode=int(opcode), **fields)
        if completion.status:
            raise NvmeError(what, completion.status)

    async def flush(self, nsid, **options):
        """All earlier writes are on the medium."""
        await self.io(spec.Opcode.FLUSH, "Flush", nsid=nsid, **options)

    async def write_zeroes(self, nsid, block, count, **options):
        """``count`` blocks read as zero from now on."""
        await self.io(spec.Opcode.WRITE_ZEROES, "Write Zeroes", nsid=nsid,
                      cdw10=block & 0xFFFF_FFFF, cdw11=block >> 32, cdw12=count - 1, **options)
