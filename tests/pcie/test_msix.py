"""MSI-X: tables, masks, pending bits, and what becomes of an interrupt."""

import pytest

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from offloadcard.pcie.msix_bank import MsixBank
from offloadcard.pcie.spec import ConfigRequest, Fmt, Type
from tests.pcie.guest import simulate
from tests.pcie.world import World, bar

ADDRESS, DATA = 0x0000_0042_FEE0_0000, 0x4000
VF = 2


async def arm(ctx, world, function, vector, *, address=None, data=None, masked=0):
    """Write one entry of the table as Linux does: four DWs."""
    place = bar(function, 2) + 16 * vector
    address = ADDRESS + 0x1000 * function if address is None else address
    for offset, value in ((0, address & 0xFFFF_FFFF), (4, address >> 32),
                          (8, DATA + vector if data is None else data), (12, masked)):
        await world.guest.write(ctx, place + offset, value.to_bytes(4, "little"))


async def begin(ctx, world, function, vectors):
    """Bus master, entries, MSI-X Enable."""
    bdf = 0x100 | function
    command = 6 if function < 2 else 4
    await world.guest.config_write(ctx, bdf, 4, command, 2)
    for vector in range(vectors):
        await arm(ctx, world, function, vector)
    await world.guest.config_write(ctx, bdf, spec.MSIX + 2, 0x8000, 2)
    await ctx.tick().repeat(10)


def run(story):
    world = World()

    async def host(ctx):
        await world.enumerate(ctx)
        await story(ctx, world, world.guest)
    world.run(host)


def message(function, vector):
    return function, ADDRESS + 0x1000 * function, DATA + vector


def test_each_function_sends_its_own_entry():
    """Address, data and requester come from the function's own row, for every kind."""
    async def story(ctx, world, guest):
        expected = []
        for function in range(TINY.functions):
            await begin(ctx, world, function, 3)
        for vector in range(3):
            for function in range(TINY.functions):
                nvme = function in (1, 4, 5)
                port = world.dut.nvme_interrupts if nvme else world.dut.net_interrupts
                await world.interrupt(ctx, port, function, vector)
                await ctx.tick().repeat(8)
                expected.append(message(function, vector))
        assert world.messages == expected
        # Tables read back, by DW and by eight octets; the PBA is empty.
        for function in (VF, 5):
            octets = await guest.read_octets(ctx, bar(function, 2) + 16, 8)
            assert int.from_bytes(octets, "little") == ADDRESS + 0x1000 * function
            octets = await guest.read_octets(ctx, bar(function, 2) + 24, 8)
            assert int.from_bytes(octets, "little") == DATA + 1
            assert await guest.read_octets(ctx, bar(function, 2) + spec.MSIX_PBA, 8) == bytes(8)
            assert await guest.read_octets(ctx, bar(function, 2) + 0x4000, 8) == bytes(8)
    run(story)


def test_masked_vectors_are_pending_and_sent_once():
    """Vector mask and function mask: the bit is shown, and unmasking sends one message."""
    async def story(ctx, world, guest):
        pba = bar(VF, 2) + spec.MSIX_PBA
        net = world.dut.net_interrupts
        await begin(ctx, world, VF, 3)
        await guest.write(ctx, bar(VF, 2) + 16 + 12, b"\1\0\0\0")
        await ctx.tick().repeat(20)
        for _ in range(3):
            await world.interrupt(ctx, net, VF, 1)
        await world.interrupt(ctx, net, VF, 0)
        await ctx.tick().repeat(20)
        assert world.messages == [message(VF, 0)]
        assert await guest.read_octets(ctx, pba, 8) == bytes([2] + [0] * 7)
        assert await guest.read_octets(ctx, bar(VF, 2) + 28, 4) == b"\1\0\0\0"
        await guest.write(ctx, bar(VF, 2) + 16 + 12, bytes(4))
        await ctx.tick().repeat(30)
        assert world.messages == [message(VF, 0), message(VF, 1)]
        assert await guest.read_octets(ctx, pba, 8) == bytes(8)
        # The whole function masked.
        await guest.config_write(ctx, 0x102, spec.MSIX + 2, 0xC000, 2)
        for vector in (2, 0):
            await world.interrupt(ctx, net, VF, vector)
        await ctx.tick().repeat(20)
        assert len(world.messages) == 2
        assert await guest.read_octets(ctx, pba, 8) == bytes([5] + [0] * 7)
        await guest.config_write(ctx, 0x102, spec.MSIX + 2, 0x8000, 2)
        await ctx.tick().repeat(60)
        assert world.messages[2:] == [message(VF, 0), message(VF, 2)]
        # Entries may be written while masked; what is pending goes by the new ones.
        await guest.write(ctx, bar(VF, 2) + 12, b"\1\0\0\0")
        await ctx.tick().repeat(20)
        await world.interrupt(ctx, net, VF, 0)
        await arm(ctx, world, VF, 0, address=0x1_0000, data=0x77)
        await ctx.tick().repeat(60)
        assert world.messages[4:] == [(VF, 0x1_0000, 0x77)]
    run(story)


def test_no_message_without_enable_bus_master_or_vector():
    """MSI-X off and vectors out of range: swallowed. Bus master off: pending until it is on."""
    async def story(ctx, world, guest):
        net = world.dut.net_interrupts
        await arm(ctx, world, VF, 0)
        await ctx.tick().repeat(40)
        await world.interrupt(ctx, net, VF, 0)
        await begin(ctx, world, VF, 3)
        for vector in (3, 4, 64, 2047):
            await world.interrupt(ctx, net, VF, vector)
        await ctx.tick().repeat(40)
        assert world.messages == []
        await guest.config_write(ctx, 0x102, 4, 0, 2)
        await world.interrupt(ctx, net, VF, 2)
        await ctx.tick().repeat(40)
        assert world.messages == []
        await guest.config_write(ctx, 0x102, 4, 4, 2)
        await ctx.tick().repeat(60)
        assert world.messages == [message(VF, 2)]
    run(story)


def test_a_stalled_link_never_stalls_the_guest():
    """Without credits for messages, table and PBA are read and written as ever."""
    world = World()
    world.background.remove(world.messenger)

    async def host(ctx):
        await world.enumerate(ctx)
        await begin(ctx, world, VF, 3)
        ctx.set(world.dut.net_interrupts.requests.valid, 1)
        ctx.set(world.dut.net_interrupts.requests.p.function_id, VF)
        ctx.set(world.dut.net_interrupts.requests.p.vector, 1)
        await ctx.tick().repeat(200)
        assert not ctx.get(world.dut.net_interrupts.requests.ready)
        for step in range(70):
            await world.guest.write(ctx, bar(VF, 2) + 8, step.to_bytes(4, "little"))
            await ctx.tick().repeat(3)
        assert await world.guest.read_octets(ctx, bar(VF, 2) + 8, 4) == b"\x45\0\0\0"
        assert await world.guest.config_read(ctx, 0x102, 4, 2) == 4
    world.run(host)


def test_interrupts_do_not_starve_accesses():
    """Interrupts without a pause: one in 3 cycles, and the guest's accesses get their turn."""
    world = World()

    async def host(ctx):
        await world.enumerate(ctx)
        await begin(ctx, world, VF, 3)
        await begin(ctx, world, VF + 1, 3)
        port = world.dut.net_interrupts
        ctx.set(port.requests.p.function_id, VF)
        ctx.set(port.requests.p.vector, 1)
        ctx.set(port.requests.valid, 1)
        await ctx.tick().repeat(10)
        sent = len(world.messages)
        await ctx.tick().repeat(60)
        assert len(world.messages) - sent >= 19
        for step in range(5):
            before = len(world.messages)
            await world.guest.write(ctx, bar(VF + 1, 2) + 8, bytes([step] * 4))
            octets = await world.guest.read_octets(ctx, bar(VF + 1, 2) + 8, 4)
            assert octets == bytes([step] * 4)
            assert len(world.messages) - before < 20
        # What is pending is scanned for, too.
        await world.guest.write(ctx, bar(VF, 2) + 16 + 12, b"\1\0\0\0")
        await ctx.tick().repeat(40)
        sent = len(world.messages)
        ctx.set(world.dut.net_interrupts.requests.p.vector, 2)
        await ctx.tick().repeat(8)
        await world.guest.write(ctx, bar(VF, 2) + 16 + 12, bytes(4))
        await ctx.tick().repeat(60)
        assert message(VF, 1) in world.messages[sent:]
    world.run(host)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`vectors` must be 1 to 64, not 65"):
        MsixBank(functions=2, vectors=65, function_id_width=2, tag_width=4, data_width=64)


def test_msix_off_is_completed_behind_its_messages():
    """A message that waits for its place in the posted order goes before the completion."""
    async def story(ctx, world, guest):
        await begin(ctx, world, VF, 2)
        ctx.set(world.dut.interrupt_writes.ready, 0)
        for vector in range(2):
            await world.interrupt(ctx, world.dut.net_interrupts, VF, vector)
        await guest.send(ctx, ConfigRequest, {
            "fmt": Fmt.THREE_DW_DATA, "type": Type.CONFIG_0, "length": 1, "tag": 250,
            "first_be": 12, "register": spec.MSIX >> 2, "completer_id": 0x100 | VF}, bytes(4))
        await ctx.tick().repeat(60)
        assert 250 not in guest.completions and not world.messages
        ctx.set(world.dut.interrupt_writes.ready, 1)
        await ctx.tick().repeat(30)
        assert world.messages == [message(VF, 0), message(VF, 1)]
        assert guest.completions.pop(250)["status"] == 0
        # From here on there is none.
        await world.interrupt(ctx, world.dut.net_interrupts, VF, 0)
        await ctx.tick().repeat(30)
        assert len(world.messages) == 2
    run(story)


def test_a_last_word_waits_for_its_reader_not_for_more_messages():
    """What was offered stays offered, however many messages of others leave in the meantime."""
    dut = MsixBank(functions=2, vectors=1, function_id_width=1, tag_width=4, data_width=64)
    seen = []

    async def host(ctx):
        ctx.set(dut.writes.ready, 1)
        for function in range(2):
            ctx.set(dut.rows.p, {"function_id": function, "alive": 1, "bus_master": 1,
                                 "msix_enable": 1})
            ctx.set(dut.rows.valid, 1)
            await ctx.tick()
        ctx.set(dut.rows.valid, 0)
        ctx.set(dut.requests.p, {"function_id": 0, "offset": 8, "write": 1, "byte_enable": 0xFF,
                                 "data": DATA})
        ctx.set(dut.requests.valid, 1)
        await ctx.tick().until(dut.requests.ready)
        ctx.set(dut.requests.valid, 0)
        ctx.set(dut.stops.p.function_id, 1)
        ctx.set(dut.stops.valid, 1)
        await ctx.tick()
        ctx.set(dut.stops.valid, 0)
        await ctx.tick().until(dut.drained.valid)
        for _ in range(12):
            ctx.set(dut.interrupts.requests.p.function_id, 0)
            ctx.set(dut.interrupts.requests.valid, 1)
            await ctx.tick().until(dut.interrupts.requests.ready)
            ctx.set(dut.interrupts.requests.valid, 0)
            for _ in range(20):
                *_, sent, offered = await ctx.tick().sample(dut.writes.valid, dut.drained.valid)
                seen.append((sent, offered))
        assert sum(sent for sent, _ in seen) == 12
        assert all(offered for _, offered in seen)
        ctx.set(dut.drained.ready, 1)
        await ctx.tick().until(dut.drained.valid)
    simulate(dut, host)
