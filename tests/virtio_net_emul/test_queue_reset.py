"""One queue is reset while its function goes on: nothing touches its memory afterwards."""

import random

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of
from tests.virtio_net_emul.test_control import Control


async def reset_queue(host, ctx, function_id, number):
    """[virtio-1.2: 2.6.1.2] write 1, wait until it reads 0; then the queue is disabled."""
    await host.set_register(ctx, function_id, "queue_select", number)
    await host.set_register(ctx, function_id, "queue_reset", 1)
    for _ in range(500):
        await host.set_register(ctx, function_id, "queue_select", number)
        if not await host.get_register(ctx, function_id, "queue_reset"):
            break
    else:
        raise AssertionError("a queue's reset must come to its end")
    for name in ("queue_enable", "queue_desc", "queue_driver", "queue_device"):
        assert await host.get_register(ctx, function_id, name) == 0
    assert await host.get_register(ctx, function_id, "queue_msix_vector") == 0xFFFF
    most = host.dut.config.virtio_queue_size
    assert await host.get_register(ctx, function_id, "queue_size") == most


def test_a_queue_is_reset_under_load():
    """Receive, transmit and control queues in turn; the other queues' traffic never rests."""
    host = Host(Device(TINY), shuffle=True, latency=30, size=1 << 22)
    rng = random.Random(4)
    dead, over, sent = [], [], []

    def watch(function_id, address, length):
        for low, high in dead:
            assert not low <= address < high, f"access to {address:#x} of a queue that was reset"

    host.watch = watch

    async def frames(ctx):
        while not over:
            await host.receive(ctx, 3, frame_of(rng.choice((60, 700)), 1))
            await ctx.tick().repeat(rng.randrange(1, 60))

    async def other_pair(ctx):
        """Transmit queue of the second pair: each frame leaves once, in order."""
        while "started" not in over_state:
            await ctx.tick().repeat(10)
        number = 0
        while not over:
            second.send(frame_of(64, 1000 + number))
            sent.append(frame_of(64, 1000 + number))
            second.publish()
            await second.notify(ctx)
            number += 1
            await host.until(ctx, lambda n=number: second.used_idx() == n & 0xFFFF)
            second.take()
            await ctx.tick().repeat(40)

    over_state = set()
    second = Queue(host, 3, 3, size=8)

    async def story(ctx):
        control = Control(host, 3)
        await host.start(ctx, 3, [second, control])
        over_state.add("started")
        for number in range(3):
            begin = host._free
            into, out = Queue(host, 3, 0, size=8), Queue(host, 3, 1, size=8)
            for n in range(4):
                into.post(rng.choice(([1526], [100, 1426])))
                out.send(frame_of(rng.choice((60, 600)), n))
            into.publish()
            out.publish()
            spans = {q.number: [] for q in (into, out)}
            for queue in (into, out):
                spans[queue.number] = [(queue.desc, queue.used + 6 + 8 * 8)]
                for _, pieces in queue.chains.values():
                    spans[queue.number] += [(a, a + n) for a, n in pieces]
                await queue.set_up(ctx)
                await queue.notify(ctx)
            await ctx.tick().repeat(rng.randrange(400))
            order = [0, 1] if number % 2 else [1, 0]
            for index in order:
                await reset_queue(host, ctx, 3, index)
                dead.extend(spans[index])
            assert begin < host._free
        assert await control.command(ctx, b"\0\0\1") == 0
        await reset_queue(host, ctx, 3, control.number)
        dead.append((control.desc, control.used + 6 + 8 * 8))
        control = Control(host, 3)
        await control.set_up(ctx)
        assert await control.command(ctx, b"\0\0\1") == 0
        # A queue in a new life takes frames from its first entry on.
        out = Queue(host, 3, 1, size=4)
        frame = frame_of(99, 7)
        out.send(frame)
        out.publish()
        await out.set_up(ctx)
        await out.notify(ctx)
        await host.until(ctx, lambda: out.used_idx() == 1)
        assert frame in [octets for _, _, octets in host.sent]
        over.append(True)

    host.simulate(story, other_pair, frames)
    seen = [octets for _, meta, octets in host.sent if octets in sent]
    assert seen == sent and len(sent) > 5


def test_a_reset_without_the_feature_or_behind_the_functions_own():
    """Not negotiated, nothing happens; a function's reset ends its queues' too."""
    host = Host(Device(TINY))

    async def story(ctx):
        queue = Queue(host, 2, 1, size=8)
        await host.start(ctx, 2, [queue],
                         features=spec.FEATURES & ~(1 << spec.VIRTIO_F_RING_RESET))
        await host.set_register(ctx, 2, "queue_reset", 1)
        assert await host.get_register(ctx, 2, "queue_reset") == 0
        assert await host.get_register(ctx, 2, "queue_enable") == 1
        for _ in range(4):
            queue = Queue(host, 3, 1, size=8)
            await host.start(ctx, 3, [queue])
            queue.send(frame_of(600, 1))
            queue.publish()
            await queue.notify(ctx)
            await host.set_register(ctx, 3, "queue_select", 1)
            await host.set_register(ctx, 3, "queue_reset", 1)
            await host.set_register(ctx, 3, "device_status", 0)
            while await host.get_register(ctx, 3, "device_status"):
                pass
        queue = Queue(host, 3, 1, size=8)
        await host.start(ctx, 3, [queue])
        await ctx.tick().repeat(200)
        assert await host.get_register(ctx, 3, "queue_enable") == 1
        queue.send(frame_of(60, 2))
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == 1)

    host.simulate(story)
