"""The NVMe driver, tried on the model: what the card will be asked, and must answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.host.enumeration import SriovPf, enumerate_bus
from sim.host.memory import Memory
from sim.host.nvme_driver import NvmeDriver, NvmeError
from sim.host.pci import BarWindow
from sim.host.prp import PAGE, Transfer
from sim.models.nvme import NvmeModel
from sim.models.pci import ModelBus, build_card
from sim.models.virtio_net import VirtioNetModel
from tests.support.soak import TIMES

BLOCKS = 4096


def drives(count=2):
    """A bus with ``count`` drives of 2 MiB on VFs of PF1, and their volumes."""
    bus, volumes = ModelBus(Memory(bytearray(1 << 23), 0x1_0000_0000)), {}

    def nvme(n):
        volumes[n] = bytearray(512 * BLOCKS)
        return NvmeModel({1: volumes[n]}, serial=f"N{n}", io_queues=3)

    build_card(bus, net=lambda n: VirtioNetModel(bytes(6)), nvme=nvme, vfs=count)

    async def enable():
        window = BarWindow(0x40_0000_0000, 1 << 30)
        functions = await enumerate_bus(bus, 1, window)
        pf = SriovPf(functions[1])
        await pf.setup(window)
        vfs = await pf.enable(count)
        for vf in vfs:
            await vf.enable()
        return vfs

    return bus, bus.run(enable()), volumes


@given(length=st.integers(1, 700).map(lambda n: 512 * n), block=st.integers(0, 3000),
       chunk=st.sampled_from([512, 4096, 128 * 1024]), depth=st.sampled_from([1, 3, None]),
       offset=st.sampled_from([0, 4, 2052]))
@settings(max_examples=25 * TIMES, deadline=None)
def test_blocks_come_back(length, block, chunk, depth, offset):
    bus, vfs, volumes = drives()
    octets = bytes(n * 7 + (n >> 8) & 0xFF for n in range(length))

    async def story():
        driver = NvmeDriver(vfs[0], io_queues=2, entries=16)
        await driver.start()
        assert driver.namespaces == {1: (BLOCKS, 512)} and len(driver.queues) == 3
        options = {"chunk": chunk, "depth": depth, "offset": offset}
        await driver.write(1, block, octets, **options)
        assert volumes[0][512 * block:][:length] == octets
        assert await driver.read(1, block, length, queue=2, **options) == octets
        await driver.flush(1)
        await driver.write_zeroes(1, block, 1)
        assert await driver.read(1, block, 512) == bytes(512)
        await driver.stop()

    bus.run(story())
    assert not bus.memory.regions and not any(volumes[1])


def test_an_error_ends_all_commands():
    bus, vfs, _ = drives()

    async def story():
        driver = NvmeDriver(vfs[1], entries=8)
        await driver.start()
        before = len(bus.memory.regions)
        with pytest.raises(NvmeError) as seen:
            await driver.write(1, BLOCKS - 4, bytes(512 * 32), chunk=512)
        assert seen.value.status == 0x80 and len(bus.memory.regions) == before
        with pytest.raises(NvmeError) as seen:
            await driver.flush(7)
        assert seen.value.status == 0x0B
        await driver.shutdown()

    bus.run(story())


def test_completions_can_be_polled():
    bus, vfs, _ = drives()

    async def story():
        driver = NvmeDriver(vfs[0], entries=4, interrupts=False)
        await driver.start()
        pair = driver.queues[1]
        for n in range(3):
            pair.put(n, opcode=0, nsid=1)
        await pair.ring()
        assert [c.token for c in await pair.take()] == [0, 1, 2]

    bus.run(story())


@given(length=st.integers(1, 3 << 20), offset=st.integers(0, 1023).map(lambda n: 4 * n),
       list_offset=st.integers(0, 511).map(lambda n: 8 * n))
@settings(max_examples=20 * TIMES, deadline=None)
def test_prp_lists_name_every_page(length, offset, list_offset):
    if list_offset == PAGE - 8:
        list_offset = 0  # a list of one entry that points on would be legal, but no driver's
    memory = Memory(bytearray(1 << 23), 1 << 32)
    transfer = Transfer(memory, length, offset=offset, list_offset=list_offset)
    volume = NvmeModel({})
    volume.function = type("Dma", (), {"dma_read": staticmethod(memory.read)})
    pieces = list(volume._pieces({"prp1": transfer.prp1, "prp2": transfer.prp2}, length))
    assert sum(n for _, n in pieces) == length
    assert [a - a % PAGE for a, _ in pieces] == [page.address for page in transfer.pages]
    transfer.free()
    assert not memory.regions
