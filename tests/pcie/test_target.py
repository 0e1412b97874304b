"""The target: exactly one completion per non-posted request, and the standard's words in each."""

import random

from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.spec import ConfigRequest, Fmt, MemoryRequest3Dw, Message, MessageCode, Type
from tests.pcie.world import World, bar

SC, UR, CRS, CA = 0, 1, 2, 4


def run(story, world=None):
    world = world or World()

    async def host(ctx):
        await world.enumerate(ctx)
        await story(ctx, world, world.guest)
    world.run(host)
    return world


def test_byte_counts_and_lower_addresses():
    """[pcie-5.0: Table 2-39] for every legal combination of byte enables of one and two DWs."""
    async def story(ctx, world, guest):
        for offset, length, count, lower in ((0, 4, 4, 0), (1, 3, 3, 1), (1, 2, 2, 1), (3, 1, 1, 3),
                                             (4, 4, 4, 4), (6, 1, 1, 6), (0, 8, 8, 0), (2, 5, 5, 2),
                                             (0x79, 3, 3, 0x79)):
            answer = await guest.read(ctx, bar(2) + 0x200 + offset, length)
            assert answer["status"] == SC
            assert (answer["byte_count"], answer["lower_address"]) == (count, lower)
            assert answer["completer_id"] == 0x102
            assert answer["requester_id"] == 0x0018
            place = 0x200 + (offset & ~7)
            expected = (0xAA << 56 | 2 << 32 | place).to_bytes(8, "little")
            first = offset & 4
            words = (offset % 4 + length + 3) // 4
            assert answer["data"] == expected[first:first + 4 * words]
        # Sparse enables of a single DW.
        for first_be, count, lower in ((0b1001, 4, 0), (0b1010, 3, 1), (0b0101, 3, 0)):
            answer = await guest.read(ctx, bar(2), 4, first_be=first_be)
            assert (answer["byte_count"], answer["lower_address"]) == (count, lower)
    run(story)


def test_a_zero_length_read_touches_nothing():
    """One DW comes back, the device saw no read (the ISR register would have cleared)."""
    async def story(ctx, world, guest):
        answer = await guest.read(ctx, bar(2) + 0x100, 0)
        assert (answer["status"], answer["length"], answer["byte_count"]) == (SC, 1, 1)
        assert not world.accesses
    run(story)


def test_too_long_is_aborted_or_dropped():
    """Reads over eight octets, or across a boundary of eight: CA. Writes: dropped."""
    async def story(ctx, world, guest):
        for address, length in ((0, 12), (4, 8), (0, 64), (8, 512)):
            answer = await guest.read(ctx, bar(4) + address, length)
            assert (answer["status"], answer["length"], answer["byte_count"]) == (CA, 0, length)
            await guest.write(ctx, bar(4) + address, bytes(length))
        await ctx.tick().repeat(40)
        assert not world.accesses
        assert await guest.config_read(ctx, 0x104, spec.AER + 4) & 1 << spec.ERROR_UNSUPPORTED
    run(story)


def test_what_no_bar_has_is_unsupported():
    """Addresses beside the BARs, memory disabled, IO, atomics, locked reads, translation."""
    async def story(ctx, world, guest):
        for address in (0x8000_0000, bar(1) + 0x1_0000, bar(3) + 0x1_0000, bar(2) - 8,
                        bar(5) + 0x1_0000, 0xF000_0001_1000_0000):
            assert (await guest.read(ctx, address, 4))["status"] == UR
            await guest.write(ctx, address, b"1234")
        request = {"length": 1, "first_be": 15, "address_low": bar(2) >> 2 & 0x3FFF_FFFF}
        for fmt, kind in ((Fmt.THREE_DW, Type.IO), (Fmt.THREE_DW_DATA, Type.IO),
                          (Fmt.THREE_DW_DATA, Type.FETCH_ADD), (Fmt.THREE_DW_DATA, Type.SWAP),
                          (Fmt.THREE_DW_DATA, Type.CAS)):
            answer = await guest.ask(ctx, MemoryRequest3Dw, {"fmt": fmt, "type": kind, **request},
                                     b"1234" if fmt == Fmt.THREE_DW_DATA else b"")
            assert (answer["status"], answer["type"]) == (UR, Type.COMPLETION)
            assert answer["byte_count"] == 4
        answer = await guest.ask(ctx, MemoryRequest3Dw, {
            "fmt": Fmt.THREE_DW, "type": Type.MEMORY_READ_LOCKED, **request})
        assert (answer["status"], answer["type"]) == (UR, Type.COMPLETION_LOCKED)
        assert (await guest.read(ctx, bar(2), 4, at=1))["status"] == UR
        await guest.config_write(ctx, 0x100, 4, 4, 2)
        assert (await guest.read(ctx, bar(0), 4))["status"] == UR
        assert (await guest.read(ctx, bar(2), 4))["status"] == SC  # VF MSE rules
        await guest.config_write(ctx, 0x100, spec.SRIOV + 8, 0x11, 2)
        assert (await guest.read(ctx, bar(2), 4))["status"] == UR
        assert (await guest.read(ctx, bar(4), 4))["status"] == SC
        assert len(world.accesses) == 2
        # [pcie-5.0: 6.2.3.2.4.1] requests that were answered are advisory, posted ones are not.
        status = await guest.config_read(ctx, 0x100, spec.PCIE + 10, 2)
        assert status & 0b1011 == 0b1011
        assert await guest.config_read(ctx, 0x100, spec.AER + 0x10) == 1 << 13
        assert await guest.config_read(ctx, 0x100, spec.AER + 4) == 1 << spec.ERROR_UNSUPPORTED
        assert await guest.config_read(ctx, 0x100, spec.AER + 0x18) == spec.ERROR_UNSUPPORTED
        # The header of the first one that was not advisory: the write beside the BARs.
        assert await guest.config_read(ctx, 0x100, spec.AER + 0x1C) == 0x4000_0001
        assert await guest.config_read(ctx, 0x100, spec.AER + 0x24) == 0x8000_0000
        await guest.config_write(ctx, 0x100, spec.AER + 4, 0xFFFF_FFFF)
        assert await guest.config_read(ctx, 0x100, spec.AER + 4) == 0
    run(story)


def test_messages_poison_and_nonsense():
    """Messages are consumed, poison and nullified TLPs change nothing, nonsense is malformed."""
    async def story(ctx, world, guest):
        message = {"fmt": Fmt.FOUR_DW, "type": Type.MESSAGE | 4}
        await guest.send(ctx, Message, {**message, "code": MessageCode.PME_TURN_OFF})
        await guest.send(ctx, Message, {**message, "fmt": Fmt.FOUR_DW_DATA, "length": 1,
                                        "code": MessageCode.SET_SLOT_POWER}, bytes(4))
        await guest.send(ctx, Message, {**message, "code": MessageCode.VENDOR_TYPE_1})
        assert await guest.config_read(ctx, 0x100, spec.AER + 4) == 0
        await guest.write(ctx, bar(3), b"poison!!", ep=1)
        await guest.send(ctx, *guest._memory(bar(3), True, length=1, first_be=15), b"gone",
                         error=1)
        await ctx.tick().repeat(30)
        assert not world.accesses
        assert await guest.config_read(ctx, 0x103, spec.AER + 4) == 1 << spec.ERROR_POISONED
        assert await guest.config_read(ctx, 0x100, spec.AER + 4) == 0
        await guest.send(ctx, Message, {**message, "code": MessageCode.VENDOR_TYPE_0})
        await guest.send(ctx, MemoryRequest3Dw, {"fmt": Fmt.TLP_PREFIX, "type": Type.MEMORY})
        await guest.send(ctx, MemoryRequest3Dw, {"fmt": Fmt.THREE_DW, "type": 0b11111})
        await ctx.tick().repeat(30)
        errors = await guest.config_read(ctx, 0x100, spec.AER + 4)
        assert errors == 1 << spec.ERROR_MALFORMED | 1 << spec.ERROR_UNSUPPORTED
        assert await guest.config_read(ctx, 0x100, spec.PCIE + 10, 2) & 4  # fatal
    run(story)


def test_writes_pass_a_waiting_read_but_no_read_passes_a_write():
    """One device's slow read stops neither doorbells nor the other device."""
    async def story(ctx, world, guest):
        for step in range(20):
            await guest.write(ctx, bar(2) + 0x1000, bytes([step] * 4))
        await guest.send(ctx, *guest._memory(bar(2) + 8, False, length=1, first_be=15, tag=200))
        for step in range(20, 40):
            await guest.write(ctx, bar(2) + 0x1000, bytes([step] * 4))
        await ctx.tick().repeat(60)
        kinds = [access[3] for access in world.accesses]
        assert kinds.count(1) == 40 and kinds.count(0) == 1
        assert kinds.index(0) >= 20
        values = [access[5] & 0xFF for access in world.accesses if access[3]]
        assert values == list(range(40))
        assert guest.completions.pop(200)["status"] == SC
    run(story)


def test_a_storm_of_writes_does_not_starve_a_read():
    """A read gets its turn after 32 writes at one a cycle; no write is lost."""
    async def story(ctx, world, guest):
        request = guest._memory(bar(2) + 8, False, length=1, first_be=15, tag=201)
        await guest.send(ctx, *request)
        answered = None
        for step in range(120):
            await guest.write(ctx, bar(2) + 0x1000, step.to_bytes(4, "little"))
            if answered is None and 201 in guest.completions:
                answered = step
        assert answered is not None and answered < 80
        guest.completions.pop(201)
        await ctx.tick().repeat(40)
        values = [access[5] for access in world.accesses if access[3]]
        assert values == list(range(120))
    run(story)


def test_reads_do_not_starve_configuration():
    """Register reads without a pause: virtio's configuration access of another gets its turn."""
    async def story(ctx, world, guest):
        window = spec.VIRTIO_PCI
        await guest.config_writes(ctx, [(0x103, window + 8, 0x10, 4), (0x103, window + 12, 4, 4)])
        for tag in range(200, 224):
            await guest.send(ctx, *guest._memory(bar(2) + 8, False, length=1, first_be=15,
                                                 tag=tag))
        assert await guest.config_read(ctx, 0x103, window + 16) == 0x10
        assert len(guest.completions) < 8
        while len(guest.completions) < 24:
            await ctx.tick()
        guest.completions.clear()
    world = World()
    world.latency = 20
    run(story, world)


def test_many_writes_may_leave_before_what_waits():
    """Reads that wait for their turn behind slow ones, while more writes leave than credits allow
    at once, are no later for it; nor is configuration."""
    async def story(ctx, world, guest):
        window = spec.VIRTIO_PCI
        await guest.config_writes(ctx, [(0x103, window + 8, 0x10, 4), (0x103, window + 12, 4, 4)])
        for tag in range(200, 206):
            await guest.send(ctx, *guest._memory(bar(2) + 8, False, length=1, first_be=15,
                                                 tag=tag))
        for tag, register in ((210, window + 16), (211, window + 16), (212, window + 16), (213, 0)):
            await guest.send(ctx, ConfigRequest, {
                "fmt": Fmt.THREE_DW, "type": Type.CONFIG_0, "length": 1, "first_be": 15,
                "register": register >> 2, "completer_id": 0x103, "tag": tag})
        for step in range(spec.POSTED_CREDITS + 40):
            await guest.write(ctx, bar(2) + 0x1000, step.to_bytes(4, "little"))
        for _ in range(10 * (world.latency + 20)):
            await ctx.tick()
        assert {*range(200, 206), *range(210, 214)} == set(guest.completions)
        guest.completions.clear()
    world = World()
    world.latency = 60
    run(story, world)


def test_credits_come_back_and_each_request_has_one_end():
    """Random traffic: every non-posted request completes once, every credit is released once."""
    world = World()
    rng = random.Random(7)
    spent = {"ph": 0, "pd": 0, "nph": 0, "npd": 0}
    back = dict(spent)

    async def watch(ctx):
        while True:
            *_, released = await ctx.tick().sample(world.dut.released)
            for name in back:
                back[name] += getattr(released, name)

    async def story(ctx, world, guest):
        for name in spent:
            spent[name] = back[name]
        asked = {}
        for _ in range(100):
            posted, length = rng.random() < 0.5, rng.choice((1, 2, 3, 16))
            while spent["nph"] - back["nph"] >= spec.NONPOSTED_CREDITS or \
                    spent["ph"] - back["ph"] >= spec.POSTED_CREDITS:
                await ctx.tick()
            address = rng.choice((bar(0), bar(2), bar(4), bar(3, 2), 0x9000_0000)) \
                + 4 * rng.randrange(64)
            kind = rng.choice((Type.MEMORY, Type.MEMORY, Type.MEMORY, Type.IO))
            if posted:
                await guest.send(ctx, *guest._memory(
                    address, True, length=length, first_be=15, last_be=15 * (length > 1),
                    ep=rng.random() < 0.1), bytes(4 * length))
                spent["ph"] += 1
                spent["pd"] += (length + 3) // 4
            elif kind == Type.IO:
                tag = guest.next_tag()
                await guest.send(ctx, MemoryRequest3Dw, {
                    "fmt": Fmt.THREE_DW_DATA, "type": kind, "length": 1, "first_be": 15,
                    "tag": tag}, b"1234")
                asked[tag] = UR
                spent["nph"] += 1
                spent["npd"] += 1
            else:
                tag = guest.next_tag()
                await guest.send(ctx, *guest._memory(
                    address, False, length=length, first_be=15, last_be=15 * (length > 1),
                    tag=tag))
                aligned = length == 1 or (length == 2 and address % 8 == 0)
                asked[tag] = UR if address < 1 << 32 else SC if aligned else CA
                spent["nph"] += 1
        await ctx.tick().repeat(2000)
        assert {tag: answer["status"] for tag, answer in guest.completions.items()} == asked
        assert back == spent
    world.background.append(watch)
    run(story, world)
