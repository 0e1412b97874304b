"""Compare: the guest's octets beside the volume's, at every place where they may differ."""

import random
from dataclasses import replace

import pytest

from offloadcard.config import TINY
from offloadcard.nvme_emul.spec import AdminOpcode, LogPage, Opcode, Status
from offloadcard.nvme_emul.spec_pages import IdentifyController, SmartLog
from offloadcard.rtl.octets import unpack

from .bench import Bench, Driver

FAST = replace(TINY, data_width=512)
PAGES = (0x41000, 0x47000, 0x43000, 0x49000)  # whither a PRP list scatters what it names


class Buffers:
    """Guest memory of a Compare: octets at any place, whole pages behind the first."""

    def __init__(self, driver):
        self.driver = driver

    def place(self, octets, *, offset=0):
        """Write ``octets``; PRP1 and PRP2 that name them."""
        memory, first = self.driver.memory, 0x40000 + offset
        room = 0x1000 - offset
        memory[first:first + len(octets[:room])] = octets[:room]
        rest = [octets[at:at + 0x1000] for at in range(room, len(octets), 0x1000)]
        for page, part in zip(PAGES, rest):
            memory[page:page + len(part)] = part
        if len(rest) < 2:
            return {"prp1": first, "prp2": PAGES[0] if rest else 0}
        for number, page in enumerate(PAGES[:len(rest)]):
            memory[0x4F000 + 8 * number:0x4F008 + 8 * number] = page.to_bytes(8, "little")
        return {"prp1": first, "prp2": 0x4F000}


def run(test, *, config=FAST, limit=40_000, **options):
    """A bench with a volume of 64 blocks of random octets, a driver with one I/O queue."""
    bench = Bench(config, **options)

    async def body(ctx):
        await bench.volume(ctx, 1, 1, base=0x2000, blocks=64)
        await bench.volume(ctx, 1, 2, base=0x20000, blocks=8, flags={"read_only": 1})
        bench.store[:] = random.Random(5).randbytes(len(bench.store))
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1)
        await test(ctx, bench, driver)
        assert not bench.store_writes

    bench.run(body, limit=limit)


@pytest.mark.parametrize("data_width, shapes", [
    (64, ((1, 0xF04),)), (512, ((1, 0), (9, 0x104), (24, 0xE08)))])
def test_finds_the_octet(data_width, shapes):
    """Equal octets succeed; one that differs, at any edge of a page or a piece, does not."""
    async def test(ctx, bench, driver):
        buffers = Buffers(driver)

        async def compare(octets, *, block=0, offset=0, nsid=1):
            cqe = await driver.command(ctx, 1, Opcode.COMPARE, nsid=nsid, cdw10=block,
                                       cdw12=len(octets) // 512 - 1,
                                       **buffers.place(octets, offset=offset))
            return cqe.status

        for blocks, offset in shapes:
            length = blocks * 512
            right = bytes(bench.store[0x2000 + 3 * 512:][:length])
            assert await compare(right, block=3, offset=offset) == Status.SUCCESS
            page = min(length - 1, 0x1000 - offset)
            for at in sorted({0, page - 1, page, length - 1}):
                wrong = bytearray(right)
                wrong[at] ^= 0x80
                assert await compare(bytes(wrong), block=3, offset=offset) == \
                    Status.COMPARE_FAILURE, (blocks, offset, at)
            # What failed leaves nothing behind.
            assert await compare(right, block=3, offset=offset) == Status.SUCCESS
        # A read-only volume may be compared.
        assert await compare(bytes(bench.store[0x20000:0x20200]), nsid=2) == Status.SUCCESS
        assert await compare(bytes(bench.store[0x20200:0x20400]), nsid=2) == \
            Status.COMPARE_FAILURE

    run(test, config=replace(FAST, data_width=data_width), stall=0.1, limit=60_000)


def test_errors_are_those_of_a_read():
    """Range, PRPs, length, namespace, guest memory: each by its status, before any verdict."""
    async def test(ctx, bench, driver):
        right = bytes(bench.store[0x2000:0x2200])
        good = Buffers(driver).place(right)

        async def status(**fields):
            return (await driver.command(ctx, 1, Opcode.COMPARE,
                                         **{"nsid": 1, **good, **fields})).status

        assert await status(cdw10=64) == Status.LBA_OUT_OF_RANGE
        assert await status(cdw10=63, cdw12=1) == Status.LBA_OUT_OF_RANGE
        assert await status(cdw11=0xFFFF_FFFF) == Status.LBA_OUT_OF_RANGE
        assert await status(cdw12=0xFFFF) == Status.INVALID_FIELD
        assert await status(nsid=3) == Status.INVALID_NAMESPACE
        assert await status(nsid=0xFFFF_FFFF) == Status.INVALID_NAMESPACE
        assert await status(prp1=0x40002) == Status.INVALID_PRP_OFFSET
        assert await status(fuse=1) == Status.INVALID_FIELD
        assert not bench.store_reads
        bench.read_faults.add((1, 0x44))
        assert await status(prp1=0x44000) == Status.DATA_TRANSFER_ERROR
        assert not bench.store_reads
        assert await status(prp2=0x41004, cdw12=15) == Status.INVALID_PRP_OFFSET
        assert await status() == Status.SUCCESS

    run(test)


def test_beside_reads_and_writes():
    """Compares, reads and writes in flight together: each gets its own answer, none its
    neighbour's; the counters tell them apart."""
    bench = Bench(FAST, stall=0.2, seed=7)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0x2000, blocks=64)
        bench.store[:] = random.Random(5).randbytes(len(bench.store))
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1)
        identify = await driver.admin(ctx, AdminOpcode.IDENTIFY, prp1=0x40000, cdw10=1)
        assert identify.status == 0
        assert unpack(IdentifyController, bytes(driver.memory[0x40000:0x41000])).oncs & 1
        source, store, memory = random.Random(9), bench.store, driver.memory
        reads = writes = 0
        for _ in range(3):
            want = {}
            for place in range(6):
                at, block = 0x50000 + 0x1000 * place, 8 * place
                kind = source.choice(["read", "write", "equal", "differs", "equal"])
                memory[at:at + 2048] = store[0x2000 + block * 512:][:2048]
                if kind == "write":
                    memory[at:at + 2048] = source.randbytes(2048)
                if kind == "differs":
                    memory[at + source.randrange(2048)] ^= 1 << source.randrange(8)
                opcode = {"read": Opcode.READ, "write": Opcode.WRITE}.get(kind, Opcode.COMPARE)
                reads  += kind in ("read", "equal")
                writes += kind == "write"
                cid = driver.put(1, opcode, nsid=1, prp1=at, cdw10=block, cdw12=3)
                want[cid] = Status.COMPARE_FAILURE if kind == "differs" else Status.SUCCESS
            await driver.ring(ctx, 1)
            while want:
                cqe = await driver.wait(ctx, 1)
                assert cqe.status == want.pop(cqe.cid)
        assert reads and writes
        await driver.admin(ctx, AdminOpcode.GET_LOG_PAGE, prp1=0x40000,
                           cdw10=127 << 16 | LogPage.SMART)
        smart = unpack(SmartLog, bytes(driver.memory[0x40000:0x40200]))
        assert (smart.host_reads, smart.host_writes) == (reads, writes)

    bench.run(test, limit=40_000)
