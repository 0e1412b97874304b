"""The whole house at TINY: commands, queues, errors, ends."""

from dataclasses import replace

from offloadcard.config import TINY
from offloadcard.nvme_emul.spec import AdminOpcode, Feature, LogPage, Opcode, Status
from offloadcard.nvme_emul.spec_pages import controller_page

from .bench import Bench, Driver

MDTS = 5
FAST = replace(TINY, data_width=512)  # as TINY, with fewer cycles to simulate


def pattern(count, seed=0):
    """Octets that no other place has."""
    return bytes((7 * n + (n >> 8) * 13 + seed) & 0xFF for n in range(count))


def test_identify_and_logs():
    """A page reaches the guest whole; what must not be answered is not. Contents: test_pages."""
    bench = Bench(FAST)

    async def test(ctx):
        await bench.volume(ctx, 4, 2, base=0x1000, blocks=1000, flags={"read_only": 1})
        driver = Driver(bench, 4)
        await driver.enable(ctx)
        assert (await driver.admin(ctx, AdminOpcode.IDENTIFY, prp1=0x40000, cdw10=1)).status == 0
        assert driver.memory[0x40000:0x41000] == controller_page(4, mdts=MDTS)
        log, identify = AdminOpcode.GET_LOG_PAGE, AdminOpcode.IDENTIFY
        for status, opcode, fields in (
                (0, log, {"cdw10": 15 << 16 | LogPage.SMART}),
                (0, log, {"cdw10": 1 << 16 | LogPage.FIRMWARE_SLOT, "cdw12": 512}),
                (Status.INVALID_LOG_PAGE, log, {"cdw10": 4}),
                (Status.INVALID_FIELD, log, {"cdw10": LogPage.SMART, "cdw12": 2}),
                (Status.INVALID_FIELD, log, {"cdw10": LogPage.SMART, "cdw12": 516}),
                (Status.INVALID_FIELD, log, {"cdw10": LogPage.SMART, "cdw11": 1}),
                (Status.INVALID_NAMESPACE, identify, {"cdw10": 0, "nsid": 0}),
                (Status.INVALID_NAMESPACE, identify, {"cdw10": 0, "nsid": 5}),
                (Status.INVALID_NAMESPACE, identify, {"cdw10": 3, "nsid": 1}),
                (Status.INVALID_NAMESPACE, identify, {"cdw10": 2, "nsid": 0xFFFFFFFE}),
                (Status.INVALID_FIELD, identify, {"cdw10": 4}),
                (Status.INVALID_PRP_OFFSET, identify, {"cdw10": 1, "prp1": 0x40002}),
                (Status.INVALID_PRP_OFFSET, identify, {"cdw10": 1, "prp1": 0x40800,
                                                       "prp2": 0x50010})):
            cqe = await driver.admin(ctx, opcode, **{"prp1": 0x40000, **fields})
            assert cqe.status == status, fields

    bench.run(test)
    assert {f for _, f, _, _ in bench.reads + bench.writes} == {4}


def test_admin_statuses():
    """Each way to refuse a queue, a feature, an unknown command; the order of creation."""
    bench = Bench(TINY)

    async def test(ctx):
        driver = Driver(bench, 1)
        await driver.enable(ctx)

        async def expect(status, opcode, **fields):
            cqe = await driver.admin(ctx, opcode, **fields)
            assert cqe.status == status, (opcode, fields, cqe.status)
            return cqe.dw0

        cq, sq = AdminOpcode.CREATE_CQ, AdminOpcode.CREATE_SQ
        get, put = AdminOpcode.GET_FEATURES, AdminOpcode.SET_FEATURES
        number = Feature.NUMBER_OF_QUEUES
        assert await expect(0, put, cdw10=number, cdw11=0x70007) == 0x10001
        await expect(Status.INVALID_FIELD, put, cdw10=number, cdw11=0xFFFF)
        good = {"prp1": 0x3000, "cdw10": 7 << 16 | 1, "cdw11": 1 << 16 | 3}
        for status, changed in (
                (Status.INVALID_FIELD, {"cdw11": 2}),
                (Status.INVALID_QUEUE_ID, {"cdw10": 7 << 16}),
                (Status.INVALID_QUEUE_ID, {"cdw10": 7 << 16 | 3}),
                (Status.INVALID_QUEUE_SIZE, {"cdw10": 1}),
                (Status.INVALID_QUEUE_SIZE, {"cdw10": 8 << 16 | 1}),
                (Status.INVALID_INTERRUPT_VECTOR, {"cdw11": 3 << 16 | 3}),
                (Status.INVALID_PRP_OFFSET, {"prp1": 0x3008})):
            await expect(status, cq, **{**good, **changed})
        await expect(0, cq, **good)
        await expect(Status.INVALID_QUEUE_ID, cq, **good)
        good = {"prp1": 0x4000, "cdw10": 7 << 16 | 2, "cdw11": 1 << 16 | 1}
        for status, changed in (
                (Status.INVALID_FIELD, {"cdw11": 1 << 16}),
                (Status.INVALID_QUEUE_ID, {"cdw11": 1}),
                (Status.INVALID_QUEUE_ID, {"cdw11": 3 << 16 | 1}),
                (Status.COMPLETION_QUEUE_INVALID, {"cdw11": 2 << 16 | 1}),
                (Status.INVALID_QUEUE_ID, {"cdw10": 7 << 16}),
                (Status.INVALID_QUEUE_SIZE, {"cdw10": 9 << 16 | 2})):
            await expect(status, sq, **{**good, **changed})
        await expect(0, sq, **good)
        await expect(Status.INVALID_QUEUE_ID, sq, **good)
        await expect(Status.COMMAND_SEQUENCE_ERROR, put, cdw10=number, cdw11=0)
        await expect(Status.INVALID_QUEUE_DELETION, AdminOpcode.DELETE_CQ, cdw10=1)
        await expect(Status.INVALID_QUEUE_ID, AdminOpcode.DELETE_CQ, cdw10=2)
        await expect(Status.INVALID_QUEUE_ID, AdminOpcode.DELETE_SQ, cdw10=1)
        await expect(Status.INVALID_QUEUE_ID, AdminOpcode.DELETE_SQ, cdw10=0)
        await expect(0, AdminOpcode.DELETE_SQ, cdw10=2)
        await expect(Status.INVALID_QUEUE_ID, AdminOpcode.DELETE_SQ, cdw10=2)
        await expect(0, AdminOpcode.DELETE_CQ, cdw10=1)

        assert await expect(0, get, cdw10=Feature.VOLATILE_WRITE_CACHE) == 1
        await expect(0, put, cdw10=Feature.VOLATILE_WRITE_CACHE, cdw11=0)
        assert await expect(0, get, cdw10=Feature.VOLATILE_WRITE_CACHE) == 0
        assert await expect(0, get, cdw10=Feature.TEMPERATURE_THRESHOLD) == 343
        await expect(0, put, cdw10=Feature.TEMPERATURE_THRESHOLD, cdw11=1 << 20 | 270)
        assert await expect(0, get, cdw10=Feature.TEMPERATURE_THRESHOLD, cdw11=1 << 20) == 270
        assert await expect(0, get, cdw10=number) == 0x10001
        await expect(0, put, cdw10=Feature.ASYNC_EVENT_CONFIG, cdw11=0x1F)
        assert await expect(0, get, cdw10=Feature.ASYNC_EVENT_CONFIG) == 0x1F
        await expect(Status.INVALID_FIELD, get, cdw10=0x7E)
        await expect(Status.FEATURE_NOT_SAVEABLE, put, cdw10=1 << 31 | 6)
        await expect(Status.INVALID_OPCODE, 0x7F)
        await expect(Status.INVALID_FIELD, get, cdw10=6, fuse=1)
        await expect(Status.INVALID_FIELD, get, cdw10=6, psdt=1)
        assert await expect(0, AdminOpcode.ABORT, cdw10=0x10000) == 1
        # A reset gives the features their defaults again.
        await driver.disable(ctx)
        await driver.enable(ctx)
        assert await expect(0, get, cdw10=Feature.VOLATILE_WRITE_CACHE) == 1

    bench.run(test)


def test_transfers_and_prps():
    """Reads and writes of one block to the largest, with offsets, lists and chained lists."""
    bench = Bench(FAST, stall=0.1)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0x2000, blocks=256)
        await bench.volume(ctx, 1, 3, base=0x40000, blocks=16, flags={"blocks_4096": 1})
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1)
        memory, store = driver.memory, bench.store
        store[0x2000:0x22000] = pattern(0x20000)

        async def move(opcode, status=0, **fields):
            cqe = await driver.command(ctx, 1, opcode, **{"nsid": 1, "cdw12": 0, **fields})
            assert cqe.status == status, fields

        async def refuse(*commands):
            """Up to 7 at once; each ends with its own status."""
            want = {driver.put(1, opcode, **{"nsid": 1, "cdw12": 0, "prp1": 0x40000, **fields}):
                    status for status, opcode, fields in commands}
            await driver.ring(ctx, 1)
            for _ in commands:
                cqe = await driver.wait(ctx, 1)
                assert cqe.status == want.pop(cqe.cid), cqe

        # One block; two pages by PRP2; an offset that makes a piece of an odd size.
        await move(Opcode.READ, prp1=0x40200)
        assert memory[0x40200:0x40400] == pattern(512)
        await move(Opcode.READ, prp1=0x40104, prp2=0x45000, cdw10=8, cdw12=7)
        assert memory[0x40104:0x41000] + memory[0x45000:0x45104] == store[0x3000:0x4000]
        # A list that begins near the end of a page: three entries, then the pointer to the rest.
        pages = [0x60000 + 0x2000 * n for n in range(9)]
        first, rest = pages[:3], pages[3:]
        memory[0x50FE0:0x51000] = b"".join(p.to_bytes(8, "little") for p in (*first, 0x52000))
        memory[0x52000:0x52030] = b"".join(p.to_bytes(8, "little") for p in rest)
        fields = {"prp1": 0x40800, "prp2": 0x50FE0, "cdw10": 2, "cdw12": 71}
        await move(Opcode.READ, **fields)
        got = memory[0x40800:0x41000] + b"".join(memory[p:p + 4096] for p in pages)
        assert got[:72 * 512] == store[0x2400:0x2400 + 72 * 512]
        for number, page in enumerate(pages):
            memory[page:page + 4096] = pattern(4096, seed=50 + number)
        written = memory[0x40800:0x41000] + b"".join(memory[p:p + 4096] for p in pages)
        await move(Opcode.WRITE, **{**fields, "cdw10": 100})
        assert store[0x2000 + 51200:][:72 * 512] == written[:72 * 512]
        # A list whose first entry is a pointer already.
        memory[0x53FF8:0x54000] = (0x52000).to_bytes(8, "little")
        await move(Opcode.READ, prp1=0x40000, prp2=0x53FF8, cdw12=23, cdw10=0)
        assert memory[rest[1]:][:4096] == store[0x4000:0x5000]
        # Blocks of 4,096 octets; zeros; flush of one and of all namespaces.
        await move(Opcode.WRITE, nsid=3, prp1=pages[0], cdw10=15)
        assert store[0x4F000:0x50000] == memory[pages[0]:][:4096]
        await move(Opcode.WRITE_ZEROES, cdw10=3, cdw12=20)
        assert not any(store[0x2600:0x2600 + 21 * 512]) and store[0x2600 + 21 * 512] != 0
        await move(Opcode.FLUSH)
        await move(Opcode.FLUSH, nsid=0xFFFFFFFF)
        # What is refused, and that nothing was touched.
        before = bytes(store)
        bad_list = {"prp2": 0x55000, "cdw12": 40}
        memory[0x55000:0x55010] = (0x60000).to_bytes(8, "little") + (0x61010).to_bytes(8, "little")
        refused = (
                (Status.LBA_OUT_OF_RANGE, Opcode.WRITE, {"cdw10": 256}),
                (Status.LBA_OUT_OF_RANGE, Opcode.WRITE, {"cdw10": 250, "cdw12": 6}),
                (Status.LBA_OUT_OF_RANGE, Opcode.WRITE, {"cdw10": -1 & 0xFFFFFFFF,
                                                         "cdw11": 0xFFFFFFFF}),
                (Status.LBA_OUT_OF_RANGE, Opcode.WRITE_ZEROES, {"cdw10": 255, "cdw12": 0xFFFF}),
                (Status.INVALID_NAMESPACE, Opcode.WRITE, {"nsid": 2}),
                (Status.INVALID_NAMESPACE, Opcode.WRITE, {"nsid": 5}),
                (Status.INVALID_NAMESPACE, Opcode.WRITE, {"nsid": 0}),
                (Status.INVALID_NAMESPACE, Opcode.FLUSH, {"nsid": 2}),
                (Status.INVALID_FIELD, Opcode.WRITE, {"cdw12": 256}),
                (Status.INVALID_FIELD, Opcode.WRITE, {"fuse": 1}),
                (Status.INVALID_FIELD, Opcode.READ, {"psdt": 1}),
                (Status.INVALID_OPCODE, 0x04, {}),
                (Status.INVALID_PRP_OFFSET, Opcode.WRITE, {"prp1": 0x40001}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, {"cdw12": 9, "prp2": 0x50100}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, {"cdw12": 40, "prp2": 0x50104}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, bad_list))
        for begin in range(0, len(refused), 6):
            await refuse(*refused[begin:begin + 6])
        assert bytes(store) == before
        # Memory that does not answer: data, list, and a target that refuses.
        bench.read_faults |= {(1, 0x70), (1, 0x71)}
        bench.write_faults |= {(1, 0x72)}
        error = Status.DATA_TRANSFER_ERROR
        await refuse((error, Opcode.WRITE, {"prp1": 0x70000, "cdw12": 7}),
                     (error, Opcode.READ, {"prp2": 0x71000, "cdw12": 40}),
                     (error, Opcode.READ, {"prp1": 0x72000, "cdw12": 3}))
        assert bytes(store) == before
        await move(Opcode.READ, prp1=0x40000, cdw10=5)

    bench.run(test)
    base = {1: (0x2000, 0x22000), 3: (0x40000, 0x50000)}
    for _, function_id, address, length in bench.store_reads + bench.store_writes:
        assert function_id == 1
        assert any(low <= address and address + length <= high for low, high in base.values())


def test_queues_fill_and_share():
    """Two submission queues on a completion queue of 4 entries: nothing is lost, none overflows."""
    bench = Bench(TINY)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0, blocks=64)
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1, cq_entries=4)
        await driver.create_queue(ctx, 2, cqid=1)
        cids = [driver.put(1 + n % 2, Opcode.FLUSH, nsid=1) for n in range(14)]
        await driver.ring(ctx, 1)
        await driver.ring(ctx, 2)
        seen = []
        for _ in range(14):
            for _ in range(150):
                await ctx.tick()
            # Three CQEs at most lie there unseen: one entry stays empty.
            queue = driver.queues[1]
            cqes = []
            while (cqe := driver.poll(1)) is not None:
                cqes.append(cqe)
            assert 1 <= len(cqes) <= 3
            seen += [(cqe.cid, cqe.sqid) for cqe in cqes]
            await driver.acknowledge(ctx, 1)
            if len(seen) == 14:
                break
        assert sorted(cid for cid, _ in seen) == cids
        assert all(sqid == 1 + (cid - cids[0]) % 2 for cid, sqid in seen)
        assert queue["phase"] in (0, 1)

    bench.run(test)
    assert {vector for _, _, vector in bench.interrupts} == {0, 1}


def test_async_events():
    """Events are held back, told once, masked until the log was read; the limit; the reset."""
    bench = Bench(TINY)

    async def test(ctx):
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        first = [driver.put(0, AdminOpcode.ASYNC_EVENT) for _ in range(4)]
        await driver.ring(ctx, 0)
        cqe = await driver.command(ctx, 0, AdminOpcode.ASYNC_EVENT)
        assert cqe.status == Status.ASYNC_EVENT_LIMIT_EXCEEDED
        # The doorbell of a queue that is not.
        await bench.mmio_write(ctx, 1, 0x1008, 1)
        cqe = await driver.wait(ctx, 0)
        assert (cqe.cid, cqe.sqid, cqe.status, cqe.dw0) == (first[3], 0, 0, 0x010000)
        # Another error stays untold until the log is read.
        await bench.mmio_write(ctx, 1, 0x1000, 8)
        for _ in range(200):
            await ctx.tick()
        assert driver.poll(0) is None
        cid = driver.put(0, AdminOpcode.GET_LOG_PAGE, prp1=0x40000, cdw10=LogPage.ERROR)
        await driver.ring(ctx, 0)
        cqes = [await driver.wait(ctx, 0), await driver.wait(ctx, 0)]
        assert {cqe.cid for cqe in cqes} == {cid, first[2]}
        assert {cqe.dw0 for cqe in cqes} == {0, 0x010100}
        # Two are still held; a reset frees them without a word.
        await driver.disable(ctx)
        # An error while there is no controller is none of the next one's.
        await bench.mmio_write(ctx, 1, 0x1014, 0)
        await driver.enable(ctx)
        cid = driver.put(0, AdminOpcode.ASYNC_EVENT)
        cqe = await driver.command(ctx, 0, AdminOpcode.ABORT)
        assert cqe.dw0 == 1
        for _ in range(100):
            await ctx.tick()
        assert driver.poll(0) is None
        await bench.mmio_write(ctx, 1, 0x1014, 0)
        assert (await driver.wait(ctx, 0)).cid == cid

    bench.run(test)


def test_end_under_load():
    """A function ends with commands in flight: no access of it after the end, none of another's."""
    bench = Bench(FAST, latency=60)

    async def test(ctx):
        for function_id in (1, 4):
            await bench.volume(ctx, function_id, 1, base=0x10000 * function_id, blocks=64)
        victim, other = Driver(bench, 1), Driver(bench, 4)
        for driver in (victim, other):
            await driver.enable(ctx)
            await driver.create_queue(ctx, 1)
        for how in ("disable", "stop", "delete", "stop"):
            cids = [victim.put(1, Opcode.WRITE if n % 2 else Opcode.READ, nsid=1, prp1=0x40000,
                               cdw12=7) for n in range(7)]
            await victim.ring(ctx, 1)
            other.put(1, Opcode.READ, nsid=1, prp1=0x40000, cdw12=3)
            await other.ring(ctx, 1)
            for _ in range(100):
                await ctx.tick()
            if how == "disable":
                await victim.disable(ctx)
            elif how == "stop":
                await bench.stop(ctx, 1)
                assert await victim.read(ctx, "CC") == 0
                assert await victim.read(ctx, "ASQ", 8) == 0
                assert await victim.read(ctx, "CSTS") == 0
            else:
                assert (await victim.admin(ctx, AdminOpcode.DELETE_SQ, cdw10=1)).status == 0
                seen = [victim.poll(1).cid for _ in cids]
                assert sorted(seen) == cids
                assert (await victim.admin(ctx, AdminOpcode.DELETE_CQ, cdw10=1)).status == 0
            end = bench.cycle
            await other.wait(ctx, 1)
            for _ in range(100):
                await ctx.tick()
            if how != "delete":
                for log in (bench.reads, bench.writes, bench.interrupts):
                    assert not [entry for entry in log if entry[1] == 1 and entry[0] > end]
                await victim.enable(ctx)
            await victim.create_queue(ctx, 1)
            assert (await victim.command(ctx, 1, Opcode.READ, nsid=1, prp1=0x40000)).status == 0

    bench.run(test)
    for _, function_id, address, _ in bench.store_reads + bench.store_writes:
        assert 0x10000 * function_id <= address < 0x10000 * function_id + 64 * 512


def test_queue_memory_that_fails():
    """A queue that cannot be read or written is fatal to its own controller only."""
    bench = Bench(TINY)

    async def test(ctx):
        for faults, page in ((bench.read_faults, 1), (bench.write_faults, 2)):
            driver = Driver(bench, 1)
            await driver.enable(ctx)
            faults.add((1, page))
            driver.put(0, AdminOpcode.ABORT)
            await driver.ring(ctx, 0)
            while not (await driver.read(ctx, "CSTS")) & 2:
                pass
            faults.clear()
            await driver.disable(ctx)
            assert await driver.read(ctx, "CSTS") == 0
        await driver.enable(ctx)
        assert (await driver.admin(ctx, AdminOpcode.ABORT)).status == 0
        # A controller that cannot start says so; a shutdown is complete at once.
        await driver.write(ctx, "CC", 0x0046_4001)
        while (await driver.read(ctx, "CSTS")) & 0xC != 8:
            pass
        await driver.disable(ctx)
        await driver.write(ctx, "CC", 0x0046_0081)  # MPS
        while (await driver.read(ctx, "CSTS")) != 2:
            pass

    bench.run(test)


def test_narrow_and_stalled():
    """The same transfers where a line takes eight beats and every port rests now and then."""
    bench = Bench(TINY, stall=0.3)

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0x200, blocks=64)
        driver = Driver(bench, 1)
        await driver.enable(ctx, entries=2)
        await driver.create_queue(ctx, 1, sq_entries=4, cq_entries=2)
        driver.memory[0x40000:0x40600] = pattern(0x600)
        fields = {"nsid": 1, "cdw10": 7, "cdw12": 2}
        assert (await driver.command(ctx, 1, Opcode.WRITE, prp1=0x40000, **fields)).status == 0
        assert bench.store[0x1000:0x1600] == pattern(0x600)
        assert (await driver.command(ctx, 1, Opcode.READ, prp1=0x50E00, prp2=0x61000,
                                     **fields)).status == 0
        assert driver.memory[0x50E00:0x51000] + driver.memory[0x61000:0x61400] == pattern(0x600)

    bench.run(test)
