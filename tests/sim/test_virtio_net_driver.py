"""The virtio-net driver, tried on the model: what the card will be asked, and must answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offloadcard.virtio_net_emul import spec
from sim.host.enumeration import SriovPf, enumerate_bus
from sim.host.pci import BarWindow
from sim.host.virtio_net_driver import VirtioNetDriver
from sim.models.nvme import NvmeModel
from sim.models.pci import ModelBus, build_card
from sim.models.virtio_net import VirtioNetModel
from tests.support.soak import TIMES


def tenants(count=2):
    """A bus with ``count`` tenants: their VFs, enabled, and the models behind them."""
    bus, models = ModelBus(), {}

    def net(n):
        models[n] = VirtioNetModel(bytes([2, 0, 0, 0, 0, 0 if n is None else n + 1]),
                                   queue_size=64)
        return models[n]

    build_card(bus, net=net, nvme=lambda n: NvmeModel({}), vfs=count, vectors=5)

    async def enable():
        window = BarWindow(0x40_0000_0000, 1 << 30)
        functions = await enumerate_bus(bus, 1, window)
        pf = SriovPf(functions[0])
        await pf.setup(window)
        vfs = await pf.enable(count)
        for vf in vfs:
            await vf.enable()
        return vfs

    return bus, bus.run(enable()), [models[n] for n in range(count)]


@given(frames=st.lists(st.binary(min_size=14, max_size=1514), max_size=40),
       split=st.sampled_from(["linux", "one", "random"]), seed=st.integers(0, 99))
@settings(max_examples=25 * TIMES, deadline=None)
def test_frames_go_and_come(frames, split, seed):
    bus, vfs, models = tenants()

    async def story():
        driver = VirtioNetDriver(vfs[0], queue_size=16, split=split, seed=seed)
        await driver.start()
        assert driver.mac == bytes([2, 0, 0, 0, 0, 1]) and driver.mtu == 1500
        await driver.send(frames)
        await driver.flush()
        assert models[0].transmitted == frames and driver.sent == len(frames)
        for n in range(0, len(frames), 16):
            batch = frames[n:n + 16]
            assert all(models[0].receive(frame) for frame in batch)
            assert await driver.receive_frames(len(batch)) == batch
        assert models[1].transmitted == []
        await driver.stop()
        await driver.restart()
        await driver.send([bytes(60)])
        models[0].receive(bytes(64))
        assert await driver.receive_frames(1) == [bytes(64)]
        await driver.stop()

    bus.run(story())
    assert not bus.memory.regions, "every buffer must be given back"


def test_without_a_buffer_a_frame_is_dropped():
    bus, vfs, models = tenants()

    async def story():
        driver = VirtioNetDriver(vfs[1], queue_size=8, receive_buffers=4)
        await driver.start()
        assert [models[1].receive(bytes(60)) for _ in range(6)] == [True] * 4 + [False] * 2
        assert models[1].dropped == 2
        assert len(await driver.receive_frames(4)) == 4

    bus.run(story())


@pytest.mark.parametrize("how", ["loop", "index", "head", "order", "address"])
def test_a_hostile_chain_asks_for_a_reset(how):
    bus, vfs, models = tenants()

    async def story():
        driver = VirtioNetDriver(vfs[0], queue_size=8)
        await driver.start()
        ring, region = driver.tx, driver._lend(100)
        table = {"loop": [(region.address, 50, spec.VIRTQ_DESC_F_NEXT, 0)],
                 "index": [(region.address, 50, spec.VIRTQ_DESC_F_NEXT, 8)],
                 "order": [(region.address, 50, 3, 1), (region.address, 50, 0, 0)],
                 "address": [(1 << 60, 50, 0, 0)], "head": []}[how]
        for n, descriptor in enumerate(table):
            ring.write_descriptor(n, *descriptor)
        ring.offer(77 if how == "head" else 0)
        ring.publish()
        await driver.device.notify(1)
        assert await driver.needs_reset()
        assert bus.messages_seen(driver.messages[0]) == 1
        assert await driver.device.isr() == 2 and await driver.device.isr() == 0
        await driver.device.reset()
        assert not await driver.needs_reset()

    bus.run(story())
    assert not models[0].transmitted


def test_registers_out_of_range_read_zero():
    bus, vfs, _ = tenants()

    async def story():
        driver = VirtioNetDriver(vfs[0])
        await driver.start()
        device = driver.device
        await device.put("queue_select", 9)
        assert await device.get("queue_size") == 0
        await device.put("device_feature_select", 2)
        assert await device.get("device_feature") == 0
        await device.put("config_msix_vector", 7)
        assert await device.get("config_msix_vector") == 0xFFFF

    bus.run(story())
