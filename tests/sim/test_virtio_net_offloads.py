"""The driver that leaves work to the device, tried on the model."""

from offloadcard.virtio_net_emul import spec_control as control
from sim.host.virtio_net_offloads import OffloadDriver
from sim.models.packet import checksum
from tests.sim.test_virtio_net_driver import tenants


def test_work_is_left_to_the_device():
    bus, vfs, models = tenants()
    model = models[0]

    async def story():
        driver = OffloadDriver(vfs[0], queue_size=8)
        await driver.start()
        frame = bytes(range(30)) + bytes(2) + bytes(range(28))
        await driver.send_partial(frame, start=14, offset=16)
        sent, = model.transmitted
        assert sent[:30] == frame[:30] and sent[32:] == frame[32:]
        assert checksum(sent[14:]) == 0
        await driver.send_partial(frame, start=14, offset=45)  # outside: goes nowhere
        assert len(model.transmitted) == 1
        await driver.flush()

        model.receive(bytes(64), pair=1)
        assert [pair for pair, *_ in await driver.arrived_frames(1)] == [0]
        assert await driver.use_pairs(3) == control.VIRTIO_NET_ERR
        assert await driver.use_pairs(2) == control.VIRTIO_NET_OK
        model.receive(bytes(64), pair=1)
        assert [pair for pair, *_ in await driver.arrived_frames(1)] == [1]
        mac_set = (control.VIRTIO_NET_CTRL_MAC, control.VIRTIO_NET_CTRL_MAC_ADDR_SET)
        assert await driver.command(*mac_set, driver.mac) == control.VIRTIO_NET_OK
        assert await driver.command(*mac_set, bytes(6)) == control.VIRTIO_NET_ERR
        for queue in (0, 1, 2):
            await driver.reset_queue(queue)
        model.receive(bytes(70))
        assert [len(frame) for *_, frame in await driver.arrived_frames(1)] == [70]
        await driver.send([frame])
        await driver.flush()
        assert model.transmitted[-1] == frame
        await driver.stop()

    bus.run(story())
    assert not bus.memory.regions, "every buffer must be given back"
