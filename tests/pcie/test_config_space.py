"""Configuration space: what software finds, may write, and may not."""

import pytest

from offloadcard.config import TINY
from offloadcard.pcie import spec_config as spec
from tests.pcie.world import World, bar

UR, CRS = 1, 2
FIRST_NVME = TINY.first_nvme_vf


def run(story, *, ari=True):
    """Run ``story(ctx, world, guest)`` after enumeration."""
    world = World()

    async def host(ctx):
        await world.enumerate(ctx, ari=ari)
        await story(ctx, world, world.guest)
    world.run(host)
    return world


def test_capability_lists_are_whole():
    """Both lists of each kind end, and hold what a driver looks for."""
    found = {}

    async def story(ctx, world, guest):
        for function in (0, 1, 2, FIRST_NVME):
            bdf, standard, extended = 0x100 | function, [], []
            place = await guest.config_read(ctx, bdf, 0x34, 1)
            while place:
                capability = await guest.config_read(ctx, bdf, place, 1)
                if capability == spec.Capability.VENDOR:
                    capability = "virtio", await guest.config_read(ctx, bdf, place + 3, 1)
                standard.append(capability)
                place = await guest.config_read(ctx, bdf, place + 1, 1)
            place = 0x100
            while place:
                head = await guest.config_read(ctx, bdf, place)
                extended.append(head & 0xFFFF)
                place = head >> 20
            found[function] = standard, extended
    run(story)
    virtio = [("virtio", number) for number in (1, 3, 4, 2, 5)]
    assert found == {
        0: ([1, 0x11, 0x10, *virtio], [1, 0xE, 0xD, 0x10]),
        1: ([1, 0x11, 0x10], [1, 0xE, 0xD, 0x10]),
        2: ([1, 0x11, 0x10, *virtio], [1, 0xE, 0xD]),
        FIRST_NVME: ([1, 0x11, 0x10], [1, 0xE, 0xD]),
    }


def test_bars_tell_their_size():
    """All ones written show the size; type bits stay; unused BARs read zero."""
    async def story(ctx, world, guest):
        for function in range(2):
            for offset, low in ((0x10, 0xFFFF_0004), (0x14, 0xFFFF_FFFF), (0x18, 0xFFFF_0004),
                                (0x1C, 0xFFFF_FFFF), (0x20, 0), (0x24, 0), (0x30, 0)):
                await guest.config_write(ctx, 0x100 | function, offset, 0xFFFF_FFFF)
                assert await guest.config_read(ctx, 0x100 | function, offset) == low
    run(story)


@pytest.mark.parametrize("page,low", [(1 << 4, 0xFFFF_0004), (1 << 10, 0xFFC0_0004)])
def test_vf_bars_follow_the_page_size(page, low):
    """The aperture is the larger of 64 KiB and the page; it locks with VF Enable."""
    async def story(ctx, world, guest):
        control, size = spec.SRIOV + 8, spec.SRIOV + 0x20
        await guest.config_write(ctx, 0x100, size, 1 << 8)
        assert await guest.config_read(ctx, 0x100, size) == 1  # VFs are enabled
        await guest.config_write(ctx, 0x100, control, 0x10, 2)
        await guest.config_write(ctx, 0x100, size, 1 << 2)
        assert await guest.config_read(ctx, 0x100, size) == 1  # not supported
        await guest.config_write(ctx, 0x100, size, page)
        await guest.config_write(ctx, 0x100, spec.SRIOV + 0x24, 0xFFFF_FFFF)
        assert await guest.config_read(ctx, 0x100, spec.SRIOV + 0x24) == low
        # The second VF stands one aperture behind the first.
        step = max(0x10000, 4096 * page)
        await guest.config_write(ctx, 0x100, spec.SRIOV + 0x24, 0x8000_0000)
        await guest.config_write(ctx, 0x100, control, 0x19, 2)
        octets = await guest.read_octets(ctx, 0x1_8000_0000 + step + 8, 4)
        assert int.from_bytes(octets, "little") == 8
        assert world.accesses[-1][:3] == ("net", 3, 8)
        if step > 0x10000:  # nothing is behind the registers
            assert await guest.read_octets(ctx, 0x1_8000_0000 + 0x10000, 4) == bytes(4)
            await guest.write(ctx, 0x1_8000_0000 + 0x11000, b"1234")
            await ctx.tick().repeat(20)
            assert len(world.accesses) == 1
    run(story)


def test_without_ari_vfs_stand_on_the_next_bus():
    """First VF Offset is re-read after the ARI bit; Type 1 requests reach the VFs."""
    async def story(ctx, world, guest):
        for function, first in ((0, 2), (1, FIRST_NVME - 1)):
            offset = await guest.config_read(ctx, 0x100 | function, spec.SRIOV + 0x14, 2)
            stride = await guest.config_read(ctx, 0x100 | function, spec.SRIOV + 0x16, 2)
            assert (offset, stride) == (first + 256, 1)
        assert await guest.config_read(ctx, 0x202, spec.PM, 1, type1=True) == 1
        assert (await guest.config(ctx, 0x102, 0))["status"] == UR
        assert (await guest.config(ctx, 0x201, 0, type1=True))["status"] == UR
        assert (await guest.config(ctx, 0x302, 0, type1=True))["status"] == UR
        answer = await guest.read(ctx, bar(2) + 8, 4)
        assert answer["completer_id"] == 0x202
    run(story, ari=False)


def test_absent_functions_are_unsupported():
    """Functions over NumVFs, VFs before VF Enable and other buses answer UR."""
    async def story(ctx, world, guest):
        assert (await guest.config(ctx, 0x100 | TINY.functions, 0))["status"] == UR
        assert (await guest.config(ctx, 0x1FF, 0))["status"] == UR
        assert (await guest.config(ctx, 0x202, 0, type1=True))["status"] == UR
        await guest.config_write(ctx, 0x100, spec.SRIOV + 8, 0x10, 2)
        assert (await guest.config(ctx, 0x102, 0))["status"] == UR
        assert await guest.config_read(ctx, 0x100 | FIRST_NVME, spec.PM, 1) == 1
        await guest.config_write(ctx, 0x100, spec.SRIOV + 0x10, 1, 2)
        await guest.config_write(ctx, 0x100, spec.SRIOV + 8, 0x19, 2)
        for _ in range(1000):  # the former life of the VFs ends first
            answer = await guest.config(ctx, 0x102, 0)
            if answer["status"] != CRS:
                break
        assert answer["status"] == 0
        assert (await guest.config(ctx, 0x103, 0))["status"] == UR
        assert (await guest.read(ctx, bar(3), 4))["status"] == UR
    run(story)


def test_vfs_have_what_the_standard_leaves_them():
    """Ids read FFFF; only Bus Master is writable, the rest, which errors are told among it, is the
    physical function's."""
    async def story(ctx, world, guest):
        for bdf in (0x102, 0x100 | FIRST_NVME):
            assert await guest.config_read(ctx, bdf, 0) == 0xFFFF_FFFF
            assert await guest.config_read(ctx, bdf, 0x0C) == 0  # no multi-function bit
            await guest.config_write(ctx, bdf, 4, 0xFFFF, 2)
            assert await guest.config_read(ctx, bdf, 4, 2) == 0x0004
            await guest.config_write(ctx, bdf, spec.PCIE + 8, 0x79FF, 2)
            assert await guest.config_read(ctx, bdf, spec.PCIE + 8, 2) == 0
            for offset in range(0x10, 0x28, 4):
                await guest.config_write(ctx, bdf, offset, 0xFFFF_FFFF)
                assert await guest.config_read(ctx, bdf, offset) == 0
            await guest.config_write(ctx, bdf, spec.MSIX + 2, 0xFFFF, 2)
            assert await guest.config_read(ctx, bdf, spec.MSIX + 3, 1) & 0xC0 == 0xC0
    run(story)


def test_settings_follow():
    """MPS is function 0's, MRRS and tags each physical function's; a row tells bus master."""
    async def story(ctx, world, guest):
        await guest.config_write(ctx, 0x100, spec.PCIE + 8, 0x5130, 2)
        await guest.config_write(ctx, 0x101, spec.PCIE + 8, 0x0000, 2)
        await guest.config_write(ctx, 0x101, spec.PCIE + 0x28, 0x10, 2)
        await ctx.tick().repeat(4)
        settings = ctx.get(world.dut.settings)
        assert (settings.bus, settings.ari, settings.max_payload) == (1, 1, 1)
        assert [(pf.max_read, pf.extended_tag, pf.timeout_disable, pf.num_vfs)
                for pf in settings.pf] == [(5, 1, 0, 2), (0, 0, 1, 2)]
    run(story)


def test_a_row_is_told_at_every_change():
    """Bus master, MSI-X and power state reach all who keep a copy."""
    told = []

    async def story(ctx, world, guest):
        for offset, value, expected in (
                (4, 4, (1, 1, 1, 0, 0)), (spec.MSIX + 2, 0x8000, (1, 1, 1, 1, 0)),
                (spec.MSIX + 2, 0xC000, (1, 1, 1, 1, 1)), (spec.PM + 4, 3, (1, 0, 0, 1, 1)),
                (spec.PM + 4, 0, (1, 1, 1, 1, 1)), (spec.PM + 4, 1, (1, 1, 1, 1, 1))):
            await guest.config_write(ctx, 0x102, offset, value, 2)
            await ctx.tick().repeat(4)
            row = told[-1]
            assert (row.function_id, row.alive, row.bus_master, row.memory, row.msix_enable,
                    row.msix_mask) == (2, *expected)
    world = World()

    async def listen(ctx):
        rows = world.dut.rows
        while True:
            *_, valid, row = await ctx.tick().sample(rows.valid, rows.payload)
            if valid:
                told.append(row)
    world.background.append(listen)

    async def host(ctx):
        await world.enumerate(ctx)
        await story(ctx, world, world.guest)
    world.run(host)
    # At power-up each function is told once.
    assert [row.function_id for row in told[:TINY.functions]] == list(range(TINY.functions))


def test_virtio_configuration_access():
    """The window reads and writes the registers of its own function, 1, 2 and 4 octets."""
    async def story(ctx, world, guest):
        window = spec.VIRTIO_PCI

        async def aim(offset, length, bar_number=0):
            await guest.config_write(ctx, 0x103, window + 4, bar_number, 1)
            await guest.config_write(ctx, 0x103, window + 8, offset)
            await guest.config_write(ctx, 0x103, window + 12, length)

        for offset, length, expected in ((0x10, 4, 0x10), (0x14, 4, 0xAA00_0003), (0x14, 1, 3),
                                         (0x16, 2, 0xAA00), (0x17, 1, 0xAA)):
            await aim(offset, length)
            assert await guest.config_read(ctx, 0x103, window + 16) == expected
            assert world.accesses[-1][:4] == ("net", 3, offset & ~7, 0)
        await aim(0x12, 2)
        await guest.config_write(ctx, 0x103, window + 16, 0xBEEF)
        assert world.accesses[-1] == ("net", 3, 0x10, 1, 0x0C, 0xBEEF << 16)
        seen = len(world.accesses)
        for offset, length, bar_number in ((0x11, 2, 0), (0x10, 3, 0), (0x10, 8, 0), (0x10, 0, 0),
                                           (0x1_0000, 4, 0), (0x10, 4, 2)):
            await aim(offset, length, bar_number)
            assert await guest.config_read(ctx, 0x103, window + 16) == 0
        assert len(world.accesses) == seen
    run(story)


def test_transactions_pending_is_shown():
    """Device Status asks the requester about the function."""
    async def story(ctx, world, guest):
        for pending in (1, 0):
            ctx.set(world.dut.pending, pending)
            status = await guest.config_read(ctx, 0x102, spec.PCIE + 10, 2)
            assert status >> 5 & 1 == pending
        assert ctx.get(world.dut.pending_function) == 2
    run(story)


def test_a_poisoned_write_changes_nothing():
    """It is answered UR."""
    async def story(ctx, world, guest):
        answer = await guest.config(ctx, 0x100, 4, 0, size=2, ep=1)
        assert answer["status"] == UR
        assert await guest.config_read(ctx, 0x100, 4, 2) == 6
    run(story)


def test_registers_behind_the_images_read_zero():
    """Up to the end of the extended space, and writes there do nothing."""
    async def story(ctx, world, guest):
        for offset in (0x200, 0x244, 0x444, 0x804, 0xFFC):
            await guest.config_write(ctx, 0x100, offset, 0xFFFF_FFFF)
            assert await guest.config_read(ctx, 0x100, offset) == 0
        assert await guest.config_read(ctx, 0x100, 4, 2) == 6
    run(story)


def test_provider_sees_and_stops_functions():
    """The function table by the management port: state, presence, reset, link."""
    async def story(ctx, world, guest):
        async def access(name, value=None):
            port = world.dut.management
            ctx.set(port.requests.p.address, 0x10000 + spec.MANAGEMENT[name].offset)
            ctx.set(port.requests.p.write, value is not None)
            ctx.set(port.requests.p.data, value or 0)
            ctx.set(port.requests.valid, 1)
            await ctx.tick()
            ctx.set(port.requests.valid, 0)
            *_, reply = await ctx.tick().sample(port.replies.payload).until(port.replies.valid)
            return "error" if reply.error else reply.data

        assert await access("ID") == spec.MANAGEMENT["ID"].reset
        assert await access("LINK") == 1 | 1 << 1 | 1 << 8 | 2 << 16 | 2 << 32
        await guest.config_write(ctx, 0x102, 4, 4, 2)
        await access("FUNCTION", 2)
        assert await access("FUNCTION_STATE") == 0b001100
        await access("FUNCTION_CONTROL", 0)  # not present
        assert (await guest.config(ctx, 0x102, 0))["status"] == UR
        await ctx.tick().repeat(300)
        assert await access("FUNCTION_STATE") == 0b001010
        assert (await guest.read(ctx, bar(2), 4))["status"] == UR
        await access("FUNCTION_CONTROL", 1)
        assert await guest.config_read(ctx, 0x102, 4, 2) == 0
        assert (await guest.read(ctx, bar(2), 4))["status"] == 0
        await access("FUNCTION_CONTROL", 3)  # reset
        assert (await guest.config(ctx, 0x102, 0))["status"] == CRS
        await ctx.tick().repeat(300)
        assert (await guest.config(ctx, 0x102, 0))["status"] == 0
        assert await access("UNSUPPORTED") >= 1
        await access("FUNCTION", 0)
        assert await access("FUNCTION_CONTROL", 0) == "error"
        await access("FUNCTION", 99)
        assert await access("FUNCTION_STATE") == "error"
        assert await access("ID", 5) == spec.MANAGEMENT["ID"].reset
    run(story)
