"""The whole house at TINY: commands, queues, errors, ends; and the pace at 512 bits."""

from dataclasses import replace

import pytest

from offloadcard.config import MODEL, TINY
from offloadcard.nvme_emul.spec import AdminOpcode, Feature, LogPage, Opcode, Status
from offloadcard.nvme_emul.spec_pages import (
    controller_page,
    firmware_page,
    namespace_page,
    smart_page,
)

from .bench import Bench, Driver

MDTS = 5


def pattern(count, seed=0):
    """Octets that no other place has."""
    return bytes((7 * n + (n >> 8) * 13 + seed) & 0xFF for n in range(count))


def test_identify_and_logs():
    """Every CNS, the logs with offsets, and what the card must not answer."""
    bench = Bench(TINY)

    async def test(ctx):
        await bench.volume(ctx, 4, 2, base=0x1000, blocks=1000, flags={"read_only": 1})
        driver = Driver(bench, 4)
        await driver.enable(ctx)
        memory = driver.memory

        async def page(opcode, octets, *, prp1=0x40000, prp2=0x50000, **fields):
            memory[0x40000:0x60000] = b"\xEE" * 0x20000
            cqe = await driver.admin(ctx, opcode, prp1=prp1, prp2=prp2, **fields)
            first = min(octets, 4096 - prp1 % 4096)
            assert memory[prp1 + first] == 0xEE
            assert memory[prp2 + octets - first] == 0xEE
            return cqe.status, bytes(memory[prp1:prp1 + first] + memory[prp2:][:octets - first])

        assert await page(AdminOpcode.IDENTIFY, 4096, cdw10=1) == (
            0, controller_page(4, mdts=MDTS))
        # A page that begins in the middle of a page of the guest's, at a multiple of 4 only.
        assert await page(AdminOpcode.IDENTIFY, 4096, prp1=0x40F04, cdw10=0, nsid=2) == (
            0, namespace_page(4, 2, blocks=1000, blocks_4096=0, read_only=1))
        assert await page(AdminOpcode.IDENTIFY, 4096, cdw10=0, nsid=1) == (0, bytes(4096))
        assert await page(AdminOpcode.IDENTIFY, 4096, cdw10=2, nsid=0) == (
            0, b"\x02".ljust(4096, b"\0"))
        assert await page(AdminOpcode.IDENTIFY, 4096, cdw10=2, nsid=2) == (0, bytes(4096))
        status, octets = await page(AdminOpcode.IDENTIFY, 4096, cdw10=3, nsid=2)
        nguid = namespace_page(4, 2, blocks=1, blocks_4096=0, read_only=0)[104:120]
        assert (status, octets) == (0, (b"\x02\x10\0\0" + nguid).ljust(4096, b"\0"))
        for fields, want in (({"cdw10": 0, "nsid": 0}, Status.INVALID_NAMESPACE),
                             ({"cdw10": 0, "nsid": 5}, Status.INVALID_NAMESPACE),
                             ({"cdw10": 3, "nsid": 1}, Status.INVALID_NAMESPACE),
                             ({"cdw10": 2, "nsid": 0xFFFFFFFE}, Status.INVALID_NAMESPACE),
                             ({"cdw10": 4}, Status.INVALID_FIELD),
                             ({"cdw10": 1, "prp1": 0x40002}, Status.INVALID_PRP_OFFSET),
                             ({"cdw10": 1, "prp1": 0x40800, "prp2": 0x50010},
                              Status.INVALID_PRP_OFFSET)):
            cqe = await driver.admin(ctx, AdminOpcode.IDENTIFY, **{"prp1": 0x40000, **fields})
            assert cqe.status == want, fields

        log = AdminOpcode.GET_LOG_PAGE
        assert await page(log, 512, cdw10=127 << 16 | LogPage.SMART) == (0, smart_page())
        assert await page(log, 64, cdw10=15 << 16 | LogPage.FIRMWARE_SLOT, cdw12=8) == (
            0, firmware_page()[8:72])
        assert await page(log, 256, cdw10=63 << 16 | LogPage.ERROR) == (0, bytes(256))
        for fields, want in (({"cdw10": 4}, Status.INVALID_LOG_PAGE),
                             ({"cdw10": LogPage.SMART, "cdw12": 2}, Status.INVALID_FIELD),
                             ({"cdw10": LogPage.SMART, "cdw12": 516}, Status.INVALID_FIELD),
                             ({"cdw10": LogPage.SMART, "cdw11": 1}, Status.INVALID_FIELD)):
            assert (await driver.admin(ctx, log, prp1=0x40000, **fields)).status == want, fields

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
    bench = Bench(TINY, stall=0.1)

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
        for status, opcode, changed in (
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
                (Status.INVALID_OPCODE, 0x05, {}),
                (Status.INVALID_PRP_OFFSET, Opcode.WRITE, {"prp1": 0x40001}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, {"cdw12": 9, "prp2": 0x50100}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, {"cdw12": 40, "prp2": 0x50104}),
                (Status.INVALID_PRP_OFFSET, Opcode.READ, bad_list)):
            await move(opcode, status, **{"prp1": 0x40000, "cdw10": 0, **changed})
        assert bytes(store) == before
        # Memory that does not answer: data, list, and a target that refuses.
        bench.read_faults |= {(1, 0x70), (1, 0x71)}
        bench.write_faults |= {(1, 0x72)}
        error = Status.DATA_TRANSFER_ERROR
        await move(Opcode.WRITE, error, prp1=0x70000, cdw12=7)
        await move(Opcode.READ, error, prp1=0x40000, prp2=0x71000, cdw12=40)
        await move(Opcode.READ, error, prp1=0x72000, cdw12=3)
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
        await driver.enable(ctx)
        cid = driver.put(0, AdminOpcode.ASYNC_EVENT)
        cqe = await driver.command(ctx, 0, AdminOpcode.ABORT)
        assert cqe.dw0 == 1
        await bench.mmio_write(ctx, 1, 0x1014, 0)
        assert (await driver.wait(ctx, 0)).cid == cid

    bench.run(test)


@pytest.mark.parametrize("how", ["disable", "stop", "delete"])
def test_end_under_load(how):
    """A function ends with commands in flight: no access of it after the end, none of another's."""
    bench = Bench(TINY, latency=60)

    async def test(ctx):
        for function_id in (1, 4):
            await bench.volume(ctx, function_id, 1, base=0x10000 * function_id, blocks=64)
        victim, other = Driver(bench, 1), Driver(bench, 4)
        for driver in (victim, other):
            await driver.enable(ctx)
            await driver.create_queue(ctx, 1)
        for _ in range(2):
            cids = [victim.put(1, Opcode.WRITE if n % 2 else Opcode.READ, nsid=1, prp1=0x40000,
                               cdw12=7) for n in range(7)]
            await victim.ring(ctx, 1)
            other.put(1, Opcode.READ, nsid=1, prp1=0x40000, cdw12=3)
            await other.ring(ctx, 1)
            for _ in range(130):
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
            for _ in range(200):
                await ctx.tick()
            if how != "delete":
                for log in (bench.reads, bench.writes, bench.interrupts):
                    assert not [entry for entry in log if entry[1] == 1 and entry[0] > end]
                await victim.enable(ctx)
            await victim.create_queue(ctx, 1)
            assert (await victim.command(ctx, 1, Opcode.READ, nsid=1, prp1=0x40000)).status == 0

    bench.run(test)
    for _, function_id, address, length in bench.store_reads + bench.store_writes:
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


WIDE = replace(MODEL, virtio_net_vfs=1, nvme_vfs=1, function_id_width=2, nvme_io_queues=2,
               nvme_queue_size=64)


@pytest.mark.parametrize("opcodes, octets, count, cycles", [
    ((Opcode.READ,), 4096, 10, 65),
    ((Opcode.WRITE,), 4096, 10, 65),
    ((Opcode.READ, Opcode.WRITE), 4096, 16, 35),
    ((Opcode.READ,), 512, 40, 10),
], ids=["read-4k", "write-4k", "mixed-4k", "read-512"])
def test_pace(opcodes, octets, count, cycles):
    """Cycles per command at 512 bits, the guest's memory 125 cycles away."""
    bench = Bench(WIDE, latency=125, store_latency=25)
    times = []

    async def test(ctx):
        await bench.volume(ctx, 1, 1, base=0, blocks=1000)
        driver = Driver(bench, 1)
        await driver.enable(ctx)
        await driver.create_queue(ctx, 1, sq_entries=64, cq_entries=64)
        for number in range(count):
            driver.put(1, opcodes[number % len(opcodes)], nsid=1, prp1=0x40000 + 4096 * number,
                       cdw10=number * octets // 512, cdw12=octets // 512 - 1)
        await driver.ring(ctx, 1)
        begin = bench.cycle
        while len(times) < count:
            if driver.poll(1) is None:
                await ctx.tick()
            else:
                times.append(bench.cycle - begin)

    bench.run(test)
    # The first: one read of the entry, one of the store, its data, and at most 128 cycles.
    reads = 2 if opcodes[0] == Opcode.WRITE else 1
    if len(opcodes) == 1:
        assert times[0] <= 125 * reads + 25 + 2 * octets // 64 + 128
    quarter = count // 4
    assert (times[-1] - times[quarter]) / (count - 1 - quarter) <= cycles
