"""Commands beside reads and writes, and what the house remembers of all: Dataset Management,
Abort, the SMART and error logs, allowances."""

from dataclasses import replace

from offloadcard.config import TINY
from offloadcard.nvme_emul.spec import (
    DSM_DEALLOCATE,
    AdminOpcode,
    DsmRange,
    LogPage,
    Opcode,
    Status,
)
from offloadcard.nvme_emul.spec_pages import ErrorEntry, SmartLog, error_entry
from offloadcard.rtl.octets import pack, unpack

from .bench import Bench, Driver

FAST = replace(TINY, data_width=512)


def ranges(*pairs):
    """Octets of a range list."""
    return b"".join(pack(DsmRange, {"cattr": 0, "nlb": nlb, "slba": slba}) for slba, nlb in pairs)


async def two_drives(bench, ctx):
    """Drivers of functions 1 and 4, each with a volume of 128 blocks and a queue."""
    drivers = []
    for function_id in (1, 4):
        await bench.volume(ctx, function_id, 1, base=0x10000 * function_id, blocks=128)
        drivers.append(Driver(bench, function_id))
    for driver in drivers:
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1)
    return drivers


def test_dataset_management():
    """Deallocated blocks read as zeros and no others; a hostile list is refused."""
    bench = Bench(FAST, stall=0.1)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0x2000, blocks=256)
        await bench.volume(ctx, 1, 2, base=0x40000, blocks=8, flags={"blocks_4096": 1})
        await bench.volume(ctx, 1, 3, base=0x60000, blocks=8, flags={"read_only": 1})
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1)
        memory, store = driver.memory, bench.store
        want = bytearray(b"\xA5" * len(store))
        store[:] = want

        async def manage(status, octets, *, at=0x40000, prp2=0, count=None, **fields):
            memory[at:at + min(len(octets), 0x1000 - at % 0x1000)] = \
                octets[:0x1000 - at % 0x1000]
            rest = octets[0x1000 - at % 0x1000:]
            memory[prp2:prp2 + len(rest)] = rest
            cqe = await driver.command(ctx, 1, Opcode.DATASET_MANAGEMENT, **{
                "nsid": 1, "prp1": at, "prp2": prp2, "cdw11": DSM_DEALLOCATE,
                "cdw10": len(octets) // 16 - 1 if count is None else count, **fields})
            assert cqe.status == status, (fields, cqe)

        def zeroed(base, blocks, octets=512):
            want[base:base + blocks * octets] = bytes(blocks * octets)

        # Three ranges, an empty one among them; then a list that crosses into its second page.
        await manage(0, ranges((1, 2), (9, 0), (20, 17)))
        zeroed(0x2000 + 512, 2)
        zeroed(0x2000 + 20 * 512, 17)
        assert store == want
        await manage(0, ranges((50, 1), (52, 1), (255, 1)), at=0x41FE0, prp2=0x43000)
        for block in (50, 52, 255):
            zeroed(0x2000 + block * 512, 1)
        assert store == want
        await manage(0, ranges((7, 1)), nsid=2)
        zeroed(0x40000 + 7 * 4096, 1, 4096)
        assert store == want
        # Advice that is not taken: other attributes, and a range that is longer than ours.
        await manage(0, ranges((0, 1)), cdw11=3)
        # What is refused leaves the volume as it was.
        await manage(Status.LBA_OUT_OF_RANGE, ranges((256, 1)))
        await manage(Status.LBA_OUT_OF_RANGE, ranges((255, 2)))
        await manage(Status.LBA_OUT_OF_RANGE, ranges((0xFFFF_FFFF_FFFF_FFFF, 1)))
        await manage(Status.LBA_OUT_OF_RANGE, ranges((1 << 40, 1)))
        await manage(Status.LBA_OUT_OF_RANGE, ranges((0, 0xFFFF_FFFF)))
        await manage(Status.INVALID_PRP_OFFSET, ranges((0, 1)), at=0x40004)
        await manage(Status.INVALID_PRP_OFFSET, ranges((60, 0), (0, 1)), at=0x40FF0, prp2=0x43010)
        await manage(Status.INVALID_NAMESPACE, ranges((0, 1)), nsid=4)
        await manage(Status.INVALID_NAMESPACE, ranges((0, 1)), nsid=0xFFFFFFFF)
        await manage(Status.WRITE_TO_READ_ONLY, ranges((0, 1)), nsid=3)
        await manage(Status.INVALID_FIELD, ranges((0, 1)), fuse=1)
        bench.read_faults.add((1, 0x44))
        await manage(Status.DATA_TRANSFER_ERROR, ranges((0, 1)), at=0x44000)
        assert store == want
        # A good range before a bad one may be gone; the bad one and what follows are not touched.
        await manage(Status.LBA_OUT_OF_RANGE, ranges((100, 1), (250, 9), (102, 1)))
        zeroed(0x2000 + 100 * 512, 1)
        assert store == want
        # Write Zeroes with Deallocate.
        cqe = await driver.command(ctx, 1, Opcode.WRITE_ZEROES, nsid=1, cdw10=110,
                                   cdw12=1 << 25 | 2)
        assert cqe.status == 0
        zeroed(0x2000 + 110 * 512, 3)
        assert store == want
        # More ranges than the volume has blocks: 256 of one block, all the same.
        await manage(0, ranges(*((200, 1),) * 256))
        zeroed(0x2000 + 200 * 512, 1)
        assert store == want
        # Pieces of deallocation do not count against the writes in flight: a write still moves.
        memory[0x50000:0x50200] = b"\x5A" * 512
        cqe = await driver.command(ctx, 1, Opcode.WRITE, nsid=1, prp1=0x50000, cdw10=3)
        assert cqe.status == 0
        want[0x2000 + 3 * 512:0x2000 + 4 * 512] = b"\x5A" * 512
        assert store == want

    bench.run(test, limit=12_500)


def test_smart_and_error_log():
    """Commands are counted by their own function; failures stand newest first, four at most."""
    bench = Bench(FAST)

    async def test(ctx):
        driver, other = await two_drives(bench, ctx)

        async def log(driver, page, octets):
            cqe = await driver.admin(ctx, AdminOpcode.GET_LOG_PAGE, prp1=0x40000,
                                     cdw10=(octets // 4 - 1) << 16 | page)
            assert cqe.status == 0
            return bytes(driver.memory[0x40000:0x40000 + octets])

        for number in range(9):
            # The thousandth block of 512 octets ends the first data unit.
            assert (await driver.command(ctx, 1, Opcode.READ, nsid=1, prp1=0x50000, prp2=0x61000,
                                         cdw12=127 if number < 7 else 63)).status == Status.SUCCESS
        assert (await driver.command(ctx, 1, Opcode.WRITE, nsid=1, prp1=0x50000)).status == 0
        assert (await driver.command(ctx, 1, Opcode.FLUSH, nsid=1)).status == 0
        smart = unpack(SmartLog, await log(driver, LogPage.SMART, 512))
        assert (smart.host_reads, smart.host_writes) == (9, 1)
        assert (smart.data_units_read, smart.data_units_written) == (2, 1)
        assert smart.num_err_log_entries == 0 and smart.temperature == 310
        assert await log(driver, LogPage.ERROR, 256) == bytes(256)
        # Five failures: the oldest is no longer told.
        cids = []
        for fields in ({"cdw10": 128}, {"cdw10": 5, "cdw11": 7}, {"nsid": 9}, {"prp1": 0x50001},
                       {"cdw12": 300}):
            cqe = await driver.command(ctx, 1, Opcode.READ,
                                       **{"nsid": 1, "prp1": 0x50000, **fields})
            cids.append((cqe.cid, cqe.status))
        cqe = await driver.admin(ctx, AdminOpcode.IDENTIFY, cdw10=0x55, nsid=0)
        cids.append((cqe.cid, cqe.status))
        entries = await log(driver, LogPage.ERROR, 256)
        want = [{"sqid": 1, "lba": 0, "nsid": 9}, {"sqid": 1, "lba": 0, "nsid": 1},
                {"sqid": 1, "lba": 0, "nsid": 1}, {"sqid": 0, "lba": 0, "nsid": 0}]
        for number, fields in enumerate(want):
            cid, status = cids[2 + number]
            at = 64 * (3 - number)
            assert entries[at:at + 64] == error_entry(
                error_count=3 + number, cid=cid, status=status, **fields)
        smart = unpack(SmartLog, await log(driver, LogPage.SMART, 512))
        assert (smart.num_err_log_entries, smart.host_reads) == (6, 9)
        # Another function has none of these; a reset ends the entries, not the count.
        assert await log(other, LogPage.ERROR, 256) == bytes(256)
        smart = unpack(SmartLog, await log(other, LogPage.SMART, 512))
        assert smart.host_reads == smart.num_err_log_entries == 0
        await driver.disable(ctx)
        await driver.enable(ctx)
        assert await log(driver, LogPage.ERROR, 256) == bytes(256)
        await driver.admin(ctx, 0x7F)
        entry = unpack(ErrorEntry, (await log(driver, LogPage.ERROR, 256))[:64])
        assert (entry.error_count, entry.sqid, entry.status >> 1 & 0x7FF) == (
            7, 0, Status.INVALID_OPCODE)

    bench.run(test, limit=12_000)


def test_abort():
    """A long command is aborted under way; what is not there, ended, or another's is not."""
    bench = Bench(FAST)

    async def test(ctx):
        driver, other = await two_drives(bench, ctx)

        async def abort(driver, sqid, cid):
            cqe = await driver.admin(ctx, AdminOpcode.ABORT, cdw10=cid << 16 | sqid)
            assert cqe.status == 0
            return cqe.dw0

        assert await abort(driver, 1, 0x1234) == 1
        assert await abort(driver, 2, 1) == 1
        assert await abort(driver, 7, 1) == 1
        # The media take 16 octets a cycle: 64 KiB of zeros take 4,096 cycles.
        await bench.management_write(ctx, "MEDIA_RATE", 16 << 8)
        cid = driver.put(1, Opcode.WRITE_ZEROES, nsid=1, cdw12=127)
        await driver.ring(ctx, 1)
        for _ in range(60):
            await ctx.tick()
        assert await abort(other, 1, cid) == 1, "another's command"
        assert await abort(driver, 0, cid) == 1
        assert driver.poll(1) is None
        # Two Aborts of the same: both are answered, the first one truly.
        first = driver.put(0, AdminOpcode.ABORT, cdw10=cid << 16 | 1)
        second = driver.put(0, AdminOpcode.ABORT, cdw10=cid << 16 | 1)
        await driver.ring(ctx, 0)
        answers = [await driver.wait(ctx, 0) for _ in range(2)]
        assert {cqe.cid: cqe.dw0 for cqe in answers} == {first: 0, second: 1}
        # The command's own entry lay there before the Abort's.
        cqe = driver.poll(1)
        assert (cqe.cid, cqe.status) == (cid, Status.ABORT_REQUESTED)
        await driver.acknowledge(ctx, 1)
        await bench.management_write(ctx, "MEDIA_RATE", 0)
        assert (await driver.command(ctx, 1, Opcode.READ, nsid=1, prp1=0x40000)).status == 0
        assert await abort(driver, 1, cid) == 1

    bench.run(test, limit=12_000)
    written = sum(length for _, f, _, length in bench.store_writes if f == 1)
    assert written < 128 * 512, "some pages were never written"


def test_allowance():
    """A function over its allowance waits, is counted, and goes on at its rate; another does not
    notice; without a limit all is as before."""
    bench = Bench(FAST)

    async def test(ctx):
        for function_id in (1, 4):
            await bench.volume(ctx, function_id, 1, base=0x10000 * function_id, blocks=64)
        driver, other = Driver(bench, 1), Driver(bench, 4)
        for each in (driver, other):
            await each.enable(ctx)
            await each.create_queue(ctx, 1)

        indebted = set()

        async def burst(driver):
            begin = bench.cycle
            for _ in range(4):
                for _ in range(7):
                    driver.put(1, Opcode.FLUSH, nsid=1)
                await driver.ring(ctx, 1)
                for _ in range(7):
                    assert (await driver.wait(ctx, 1)).status == 0
                    indebted.add(ctx.get(bench.dut.busy))
            return bench.cycle - begin

        async def limit(function_id, **registers):
            await bench.management_write(ctx, "LIMIT_INDEX", function_id)
            for name in ("LIMIT_COMMANDS", "LIMIT_BLOCKS"):
                await bench.management_write(ctx, name, registers.get(name, 0))
            await bench.management_write(ctx, "LIMIT_STORE", 1)

        free = await burst(driver)
        assert indebted == {0}
        # A round takes 128 cycles: two commands a round, of which eight at once.
        await limit(1, LIMIT_COMMANDS=8 << 32 | 2 << 16)
        for _ in range(600):
            await ctx.tick()
        slow = await burst(driver)
        assert indebted == {0, 1}
        assert (28 - 8 - 8) * 64 - 128 <= slow <= (28 - 8) * 64 + 256, slow
        assert await burst(other) <= free + 200
        # Blocks: one of 512 octets a round.
        await limit(1, LIMIT_BLOCKS=1 << 40 | 1 << 16)
        for _ in range(1500):
            await ctx.tick()
        assert not ctx.get(bench.dut.busy)
        begin = bench.cycle
        for _ in range(4):
            cqe = await driver.command(ctx, 1, Opcode.READ, nsid=1, prp1=0x40000, cdw12=7)
            assert cqe.status == 0
        assert 2 * 8 * 128 <= bench.cycle - begin <= 4 * 8 * 128
        await limit(1)
        for _ in range(300):
            await ctx.tick()
        assert await burst(driver) <= free + 50

    bench.run(test, limit=12_000)


def test_slow_memory_holds_its_own():
    """A function whose memory is slow has one of four fetches in flight, whatever it rings; the
    other's commands go on meanwhile, and in the end all are answered."""
    bench = Bench(FAST)

    async def test(ctx):
        for function_id in (1, 4):
            await bench.volume(ctx, function_id, 1, base=0, blocks=64)
        slow, other = Driver(bench, 1), Driver(bench, 4)
        for each in (slow, other):
            await each.enable(ctx)
            await each.create_queue(ctx, 1)
        await slow.create_queue(ctx, 2)
        bench.slow[1] = 1500
        seen, begin = len(bench.reads), bench.cycle
        for qid in (1, 2):
            for _ in range(3):
                slow.put(qid, Opcode.FLUSH, nsid=1)
                await slow.ring(ctx, qid)
        slow.put(0, AdminOpcode.ABORT)
        await slow.ring(ctx, 0)
        for _ in range(8):
            assert (await other.command(ctx, 1, Opcode.FLUSH, nsid=1)).status == 0
        assert bench.cycle < begin + 1500
        assert len([entry for entry in bench.reads[seen:] if entry[1] == 1]) == 1
        for qid, count in ((0, 1), (1, 3), (2, 3)):
            for _ in range(count):
                await slow.wait(ctx, qid)

    bench.run(test, limit=12_000)
