"""What stock drivers negotiate about rings: indirect tables and the index of the next event."""

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

INDIRECT  = PLAIN | 1 << spec.VIRTIO_F_INDIRECT_DESC
EVENT_IDX = PLAIN | 1 << spec.VIRTIO_F_EVENT_IDX


def indirect_out(host):
    """Frames whose pieces lie in a table, in any order there, alone or behind direct pieces."""
    queue  = Queue(host, 2, 1, size=8)
    frames = [frame_of(length, length) for length in (100, 600, 75, 1400, 60)]
    splits = (([12, 100], 0), ([5, 7, 1, 0, 599], 2), ([80, 7], 1), ([11, 2, 511, 512, 376], 0),
              ([72], 0))

    async def story(ctx):
        await host.start(ctx, 2, [queue], features=INDIRECT)
        for frame, (split, direct) in zip(frames, splits):
            queue.send(frame, split=split, direct=direct, align=1)
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == queue.next)
        assert [octets for _, meta, octets in host.sent if meta.function_id == 2] == frames
        assert len(queue.take()) == len(frames)

    return story


def indirect_in(host):
    """Receive buffers in tables, and one that is direct."""
    queue  = Queue(host, 3, 0, size=8)
    frames = [frame_of(length, length) for length in (60, 700, 1514)]

    async def story(ctx):
        await host.start(ctx, 3, [queue], features=INDIRECT)
        for split, direct in (([12, 1514], 0), ([1, 10, 1, 1514], 1), ([1526], None)):
            queue.post(split, direct=direct)
        queue.publish()
        await queue.notify(ctx)
        for frame in frames:
            await host.receive(ctx, 3, frame)
        await host.until(ctx, lambda: queue.used_idx() == len(frames))
        for frame, (_, length, octets) in zip(frames, queue.take()):
            assert octets[:length] == bytes(10) + b"\1\0" + frame

    return story


def events_out(host):
    """A driver that notifies only when asked and is interrupted only where it wants."""
    queue = Queue(host, 0, 1, size=8, event_idx=True)

    def irqs():
        return len([irq for irq in host.irqs if irq[1:] == (0, 2)])

    async def story(ctx):
        await host.start(ctx, 0, [queue], features=EVENT_IDX)
        queue.want(0x8000)
        sent = 0
        for _ in range(24):
            for _ in range(host.random.randrange(1, 4)):
                queue.send(frame_of(60, sent))
                sent += 1
            queue.publish()
            await queue.kick(ctx)
            if host.random.randrange(2):
                await host.until(ctx, lambda: queue.used_idx() == queue.next)
            else:
                for _ in range(host.random.randrange(60)):
                    await ctx.tick()
                await host.until(ctx, lambda: (queue.take(), len(queue.ids) > 3)[1])
            queue.take()
        await host.until(ctx, lambda: queue.used_idx() == queue.next)
        queue.take()
        assert len([1 for _, meta, _ in host.sent if meta.function_id == 0]) == sent
        assert not irqs()

        # The third entry from here, be they used one by one or together.
        for batches in ((1, 1, 1), (3,), (2, 2), (1, 3)):
            queue.want(queue.used_idx() + 2)
            before, used = irqs(), 0
            for count in batches:
                for _ in range(count):
                    queue.send(frame_of(60, 1))
                queue.publish()
                await queue.kick(ctx)
                await host.until(ctx, lambda: queue.used_idx() == queue.next)
                queue.take()
                used += count
                for _ in range(150):
                    await ctx.tick()
                assert irqs() - before == (used > 2), batches

    return story


def events_in(host):
    """Frames find buffers that were shown without a notification."""
    queue = Queue(host, 3, 0, size=8, event_idx=True)

    async def story(ctx):
        await host.start(ctx, 3, [queue], features=EVENT_IDX)
        queue.want(0x8000)
        for number in range(12):
            queue.post([1526])
            queue.publish()
            await queue.kick(ctx)
            for _ in range(200):
                await ctx.tick()
            frame = frame_of(60, number)
            await host.receive(ctx, 3, frame)
            await host.until(ctx, lambda: queue.used_idx() == queue.next)
            [(_, length, octets)] = queue.take()
            assert octets[12:length] == frame
        assert not [irq for irq in host.irqs if irq[1:] == (3, 1)]
        queue.want(queue.used_idx())
        queue.post([1526])
        queue.publish()
        await queue.kick(ctx)
        await host.receive(ctx, 3, frame_of(60, 1))
        await host.until(ctx, lambda: [irq for irq in host.irqs if irq[1:] == (3, 1)])

    return story


def test_indirect_tables():
    """[virtio-1.2: 2.7.5.3] both ways, reads answered out of order."""
    host = Host(Device(TINY), shuffle=True)
    host.simulate(*(story(host) for story in (indirect_out, indirect_in)))


def test_event_index():
    """[virtio-1.2: 2.7.7, 2.7.10] no entry is forgotten and no interrupt is lost or in vain."""
    host = Host(Device(TINY), shuffle=True)
    host.simulate(*(story(host) for story in (events_out, events_in)))


def test_used_elements_keep_their_order():
    """[virtio-1.2: 2.7.8] a chain whose rest comes late does not let the next batch overtake."""
    host   = Host(Device(TINY))
    queue  = Queue(host, 2, 0, size=8)
    frames = [frame_of(60, number) for number in range(7)]

    async def story(ctx):
        await host.start(ctx, 2, [queue])
        for lengths in ([1526], [40, 1500]):
            queue.post(lengths)
        queue.publish()
        await queue.notify(ctx)
        for _ in range(200):
            await ctx.tick()
        for _ in frames[2:]:
            queue.post([1526])
        queue.publish()
        await queue.notify(ctx)
        for _ in range(200):
            await ctx.tick()
        host.latency = 900
        for frame in frames:
            await host.receive(ctx, 2, frame)
        seen = 0
        while seen < len(frames):
            await ctx.tick()
            seen = queue.used_idx()
            for number in range(seen):
                at = queue.used + 4 + 8 * number
                id_, length = (int.from_bytes(host.memory[a:a + 4], "little")
                               for a in (at, at + 4))
                assert length == 72 and id_ in queue.chains, "an element that nobody wrote"
        for frame, (_, length, octets) in zip(frames, queue.take()):
            assert octets[12:length] == frame

    host.simulate(story)
