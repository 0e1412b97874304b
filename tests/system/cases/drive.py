"""Blocks through the NVMe controller: the walk of a read, PRPs of every kind, errors by status."""

import random

import cocotb

from offloadcard.nvme_emul import spec
from sim.host.nvme_driver import NvmeError
from sim.host.prp import PAGE
from sim.link.world import Event

from .common import card, drive_rig

LBA = 512


@cocotb.test()
async def walk_nvme_read(dut):
    """Doorbell, SQE, payload, CQE, interrupt: in this order, each once, nothing else."""
    async with drive_rig(dut, interrupts=True) as (rig, drives):
        drive, = drives
        env, rid = rig.env, drive.function.rid
        octets = random.Random(1).randbytes(PAGE)
        rig.volume(drive, 1)[:PAGE] = octets
        await drive.read(1, 0, PAGE)   # warms nothing: the card has no cache; but settles credits
        before = rig.bus.messages_seen(drive.messages[1])
        env.keep(Event.TLP_UP, Event.DOORBELL, Event.INTERRUPT, Event.DRAM)
        env.world.log_clear()
        assert await drive.read(1, 0, PAGE) == octets
        await rig.bus.sleep(2_000)
        log = env.world.log()
        pair = drive.queues[1]
        doorbell = drive.base + spec.doorbell_offset(1, completion=False)
        bells = [r for r in log if r["kind"] == Event.DOORBELL and r["b"] == doorbell]
        ups = [r for r in log if r["kind"] == Event.TLP_UP and r["a"] == rid]
        inside = lambda r, region: region.address <= r["b"] < region.address + region.size
        fetches = [r for r in ups if inside(r, pair.sq)]
        posted = [r for r in ups if inside(r, pair.cq)]
        rings = [r for r in log if r["kind"] == Event.INTERRUPT and r["a"] == rid]
        payload = [r for r in ups if (int(r["c"]) >> 8 & 0x40) and not inside(r, pair.cq)
                   and r["b"] >> 20 != 0xFEE]
        assert len(bells) == len(posted) == len(rings) == 1, (bells, posted, rings)
        assert fetches and payload
        times = [int(bells[0]["time_ps"]), int(fetches[0]["time_ps"]),
                 int(min(r["time_ps"] for r in payload)),
                 int(max(r["time_ps"] for r in payload)),
                 int(posted[0]["time_ps"]), int(rings[0]["time_ps"])]
        assert times == sorted(times), times
        assert sum(int(r["c"]) >> 16 for r in payload) == PAGE
        assert rig.bus.messages_seen(drive.messages[1]) == before + 1


@cocotb.test()
async def any_buffer(dut):
    """Lengths, offsets and depths by seed, against a plain copy of the volume."""
    seed = card().seed
    source = random.Random(seed)
    async with drive_rig(dut, entries=16) as (rig, drives):
        drive, = drives
        blocks, _ = drive.namespaces[1]
        shadow = bytearray(rig.volume(drive, 1))
        for _ in range(card().rounds):
            count = source.choice([1, 2, 7, 8, 9, 16, 33, 64])
            block = source.randrange(blocks - count)
            options = {"offset": 4 * source.randrange(1024), "depth": source.choice([1, 2, None]),
                       "chunk": LBA * source.choice([1, 8, 24])}
            if source.random() < .5:
                octets = source.randbytes(count * LBA)
                await drive.write(1, block, octets, **options)
                shadow[block * LBA:(block + count) * LBA] = octets
            else:
                got = await drive.read(1, block, count * LBA, **options)
                assert got == shadow[block * LBA:(block + count) * LBA], (seed, block, count)
        await drive.write_zeroes(1, 3, 5)
        shadow[3 * LBA:8 * LBA] = bytes(5 * LBA)
        await drive.flush(1)
        assert rig.volume(drive, 1)[:len(shadow)] == shadow
        await drive.stop()


@cocotb.test()
async def compare(dut):
    """What the volume holds compares equal; an octet that differs, first or last of a page, of a
    piece, of the whole, is a Compare Failure; nothing is written, and reads go on beside."""
    source = random.Random(card().seed)
    async with drive_rig(dut, entries=16) as (rig, drives):
        drive, = drives
        octets = source.randbytes(5 * PAGE)
        at = 7 * LBA
        rig.volume(drive, 1)[at:at + len(octets)] = octets
        for length, offset in ((LBA, 0), (PAGE, 0x7FC), (5 * PAGE, 0), (5 * PAGE, 0xA04)):
            right = octets[:length]
            await drive.compare(1, 7, right, offset=offset)
            page = min(length, PAGE - offset)
            for wrong in sorted({0, page - 1, page % length, length - LBA, length - 1}):
                other = bytearray(right)
                other[wrong] ^= 1
                try:
                    await drive.compare(1, 7, bytes(other), offset=offset)
                except NvmeError as error:
                    assert error.status == spec.Status.COMPARE_FAILURE, (wrong, error)
                else:
                    raise AssertionError(f"octet {wrong} of {length} must be seen to differ")
        # What was written by a command is what is compared.
        await drive.write(1, 20, octets[:PAGE])
        await drive.compare(1, 20, octets[:PAGE], chunk=LBA)
        blocks, _ = drive.namespaces[1]
        for block, status in ((blocks, spec.Status.LBA_OUT_OF_RANGE),
                              (blocks - 1, spec.Status.LBA_OUT_OF_RANGE)):
            try:
                await drive.compare(1, block, octets[:PAGE])
            except NvmeError as error:
                assert error.status == status
            else:
                raise AssertionError("a block behind the end must not be compared")
        assert await drive.read(1, 20, PAGE) == octets[:PAGE]
        assert rig.volume(drive, 1)[at:at + PAGE] == octets[:PAGE]
        await drive.stop()


@cocotb.test()
async def statuses(dut):
    """Each wrong command is answered by its own status, and the next right one works."""
    async with drive_rig(dut) as (rig, drives):
        drive, = drives
        blocks, _ = drive.namespaces[1]
        code, status = spec.Opcode, spec.Status
        good = rig.env.guest(rig.function_id(drive.function)).memory.alloc(
            PAGE, align=PAGE, owner=drive.function.rid)
        wrong = [
            (dict(opcode=0x7F, nsid=1), status.INVALID_OPCODE),
            (dict(opcode=code.READ, nsid=9, prp1=good.address), status.INVALID_NAMESPACE),
            (dict(opcode=code.READ, nsid=0, prp1=good.address), status.INVALID_NAMESPACE),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, cdw10=blocks),
             status.LBA_OUT_OF_RANGE),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, cdw10=blocks - 1, cdw12=1),
             status.LBA_OUT_OF_RANGE),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, cdw10=0xFFFF_FFFF,
                  cdw11=0xFFFF_FFFF), status.LBA_OUT_OF_RANGE),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, fuse=1), status.INVALID_FIELD),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, psdt=1), status.INVALID_FIELD),
            (dict(opcode=code.READ, nsid=1, prp1=good.address, prp2=good.address + 4, cdw12=9),
             status.INVALID_PRP_OFFSET),
        ]
        for fields, expected in wrong:
            completion = await drive.command(drive.queues[1], **{
                k: int(v) for k, v in fields.items()})
            assert completion.status == expected, (fields, completion)
            assert await drive.read(1, 0, LBA) == bytes(LBA)
        for opcode, fields, expected in (
                (spec.AdminOpcode.IDENTIFY, dict(cdw10=0x77), status.INVALID_FIELD),
                (spec.AdminOpcode.CREATE_CQ, dict(cdw10=3 << 16 | 0xFFFF, cdw11=1),
                 status.INVALID_QUEUE_ID),
                (spec.AdminOpcode.CREATE_SQ, dict(cdw10=3 << 16 | 2, cdw11=2 << 16 | 1),
                 status.COMPLETION_QUEUE_INVALID),
                (spec.AdminOpcode.DELETE_CQ, dict(cdw10=1), status.INVALID_QUEUE_DELETION),
                (spec.AdminOpcode.DELETE_SQ, dict(cdw10=0), status.INVALID_QUEUE_ID),
                (0x7E, {}, status.INVALID_OPCODE)):
            try:
                await drive.admin(opcode, prp1=good.address, **fields)
            except NvmeError as error:
                assert error.status == expected, (opcode, hex(error.status))
            else:
                raise AssertionError(f"{opcode} must not succeed")
        await drive.stop()
