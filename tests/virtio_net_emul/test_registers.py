"""The guest's registers, the status machine, and the provider's registers."""

from dataclasses import replace

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

PAIRS = TINY.virtio_queue_pairs


async def after_reset(host, ctx):
    """Every register reads as declared after reset."""
    for register in spec.COMMON_CFG:
        expected = {"num_queues": 2 * PAIRS + 1, "queue_size": 8}.get(register.name, register.reset)
        if register.name == "device_feature":
            expected = spec.FEATURES & 0xFFFF_FFFF
        assert await host.get_register(ctx, 2, register.name) == expected, register.name


async def features(host, ctx):
    """[virtio-1.2: 4.1.4.3] two windows of 32 bits; all above read zero; SR_IOV on PF0 only."""
    for function_id, offered in ((2, spec.FEATURES), (0, spec.FEATURES_PF)):
        for select, value in ((0, offered & 0xFFFF_FFFF), (1, offered >> 32), (2, 0),
                              (0xFFFF_FFFF, 0)):
            await host.set_register(ctx, function_id, "device_feature_select", select)
            assert await host.get_register(ctx, function_id, "device_feature") == value
    # [virtio-1.2: 2.2.2] what was not offered, or no VERSION_1: FEATURES_OK does not stick.
    for wanted in (spec.FEATURES | 1 << 24, spec.FEATURES & 0xFFFF_FFFF):
        for half in range(2):
            await host.set_register(ctx, 2, "driver_feature_select", half)
            await host.set_register(ctx, 2, "driver_feature", wanted >> 32 * half & 0xFFFF_FFFF)
        await host.set_register(ctx, 2, "device_status", 0xB)
        assert await host.get_register(ctx, 2, "device_status") == 0x3
        await host.set_register(ctx, 2, "device_status", 0xF)
        assert await host.get_register(ctx, 2, "device_status") == 0x3


async def queues(host, ctx):
    """Queue registers: out of range, smaller sizes, refused vectors, addresses in halves."""
    # [virtio-1.2: 5.1.2] before MQ is negotiated there is one pair.
    for queue in (2, 3, 4, 5, 0x8000, 0xFFFF):
        await host.set_register(ctx, 2, "queue_select", queue)
        assert await host.get_register(ctx, 2, "queue_size") == 0
        await host.set_register(ctx, 2, "queue_enable", 1)
        assert await host.get_register(ctx, 2, "queue_enable") == 0
    for queue in (0, 1):
        await host.set_register(ctx, 2, "queue_select", queue)
        assert await host.get_register(ctx, 2, "queue_notify_off") == queue
        for size, seen in ((4, 4), (6, 4), (16, 4), (0, 4), (8, 8)):
            await host.set_register(ctx, 2, "queue_size", size)
            assert await host.get_register(ctx, 2, "queue_size") == seen
        for vector, seen in ((2 * PAIRS, 2 * PAIRS), (2 * PAIRS + 1, 0xFFFF), (0, 0)):
            await host.set_register(ctx, 2, "queue_msix_vector", vector)
            assert await host.get_register(ctx, 2, "queue_msix_vector") == seen
        address = 0x1122_3344_5566_7780 + queue
        await host.set_register(ctx, 2, "queue_driver", address)
        assert await host.get_register(ctx, 2, "queue_driver") == address
        assert await host.get_register(ctx, 2, "queue_desc") == 0
    # Eight octets in one write, and one octet in the middle.
    await host.write(ctx, 2, spec.COMMON_CFG["queue_device"].offset, 0x1234_5678_9ABC_DEF0, 8)
    await host.write(ctx, 2, spec.COMMON_CFG["queue_device"].offset + 5, 0xEE, 1)
    assert await host.get_register(ctx, 2, "queue_device") == 0x1234_EE78_9ABC_DEF0
    await host.set_register(ctx, 2, "config_msix_vector", 9)
    assert await host.get_register(ctx, 2, "config_msix_vector") == 0xFFFF
    # Nobody else's registers moved.
    await after_reset_of(host, ctx, 3)


async def after_reset_of(host, ctx, function_id):
    """A neighbour is as it was."""
    assert await host.get_register(ctx, function_id, "device_status") == 0
    assert await host.get_register(ctx, function_id, "queue_device") == 0


async def provider(host, ctx):
    """MAC, MTU and link as the provider set them; a change is told to a driver that runs."""
    registers = {r.name: r.offset for r in spec.MANAGEMENT}
    assert await host.read(ctx, 3, spec.DEVICE_CFG_OFFSET, 8) == 0x0001_0300_0000_0002
    for name, value in (("FUNCTION", 3), ("MAC", 0x0605_0403_0202), ("MTU", 9000), ("LINK", 0),
                        ("FEATURES", spec.FEATURES & ~(1 << spec.VIRTIO_NET_F_MTU)),
                        ("COMMAND", spec.Command.STORE)):
        await host.manage(ctx, registers[name], value)
    assert await host.read(ctx, 3, spec.DEVICE_CFG_OFFSET, 8) == 0x0000_0605_0403_0202
    assert await host.read(ctx, 3, spec.DEVICE_CFG_OFFSET + 8, 4) == 9000 << 16 | PAIRS
    assert await host.get_register(ctx, 3, "config_generation") == 1
    assert await host.manage(ctx, registers["MAC_NOW"]) == 0x0605_0403_0202
    await host.set_register(ctx, 3, "device_feature_select", 0)
    assert not await host.get_register(ctx, 3, "device_feature") >> spec.VIRTIO_NET_F_MTU & 1

    # A doorbell before DRIVER_OK does nothing; DRIVER_OK looks at all queues by itself.
    queue = Queue(host, 3, 1, size=8)
    queue.send(frame_of(60, 1))
    queue.publish()
    await queue.notify(ctx)
    for _ in range(100):
        await ctx.tick()
    assert not host.reads
    await host.start(ctx, 3, [queue], features=PLAIN & ~(1 << spec.VIRTIO_NET_F_MTU))
    await host.until(ctx, lambda: host.irqs)
    assert host.irqs.pop()[1:] == (3, 2)
    assert await host.read(ctx, 3, spec.ISR_CFG_OFFSET, 1) == spec.VIRTIO_ISR_QUEUE
    assert await host.read(ctx, 3, spec.ISR_CFG_OFFSET, 1) == 0

    await host.manage(ctx, registers["LINK"], 1)
    await host.manage(ctx, registers["COMMAND"], spec.Command.STORE)
    await host.until(ctx, lambda: host.irqs)
    assert host.irqs.pop()[1:] == (3, 0)
    assert await host.read(ctx, 3, spec.ISR_CFG_OFFSET, 1) == spec.VIRTIO_ISR_CONFIG
    assert await host.manage(ctx, registers["TX_PACKETS"]) == 1
    assert await host.manage(ctx, registers["TX_OCTETS"]) == 60
    assert await host.manage(ctx, registers["STATUS"]) == 0xF

    # [virtio-1.2: 2.7.7.2] NO_INTERRUPT is obeyed, and found when it falls.
    host.memory[queue.avail] = spec.VIRTQ_AVAIL_F_NO_INTERRUPT
    queue.send(frame_of(60, 2))
    queue.publish()
    await queue.notify(ctx)
    await host.until(ctx, lambda: queue.used_idx() == 2)
    for _ in range(100):
        await ctx.tick()
    assert not host.irqs

    # A frame for a queue without buffers is dropped and counted, and holds up nobody.
    await host.receive(ctx, 3, frame_of(60, 3))
    await host.receive(ctx, 2, frame_of(60, 3))
    for _ in range(200):
        await ctx.tick()
    assert await host.manage(ctx, registers["RX_DROPS"]) == 1
    assert await host.manage(ctx, registers["RX_PACKETS"]) == 0


def test_registers():
    """One life of a device, read and written in every way."""
    host = Host(Device(replace(TINY, virtio_queue_size=8)))

    async def story(ctx):
        await after_reset(host, ctx)
        await features(host, ctx)
        await queues(host, ctx)
        await provider(host, ctx)

    host.simulate(story)
