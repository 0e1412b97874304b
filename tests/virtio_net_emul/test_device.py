"""The device from the doorbell to the frame, and from the frame to the interrupt."""

from offloadcard.config import TINY
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of


def test_frames_out():
    """A driver sends frames of several lengths and splits; each leaves once, in order."""
    host = Host(Device(TINY))
    queue = Queue(host, 2, 1, size=8)
    frames = [frame_of(length, length) for length in (60, 61, 512, 513, 1514)]

    async def story(ctx):
        await host.start(ctx, 2, [queue])
        queue.send(frames[0])
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: len(host.sent) == 1)
        for frame in frames[1:]:
            queue.send(frame)
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == len(frames))
        await host.until(ctx, lambda: len(host.irqs) >= 2)

    host.simulate(story)
    assert [octets for _, _, octets in host.sent] == frames
    assert len(queue.take()) == len(frames)


def test_chains_of_any_split():
    """Header and data cut anywhere, pieces of no length, unaligned: the frames are the same."""
    host = Host(Device(TINY), shuffle=True)
    queue = Queue(host, 2, 1, size=8)
    frames = [frame_of(length, length) for length in (100, 600, 75, 1400)]
    splits = ([12, 100], [5, 7, 1, 599], [80, 0, 7], [11, 2, 511, 512, 376])

    async def story(ctx):
        await host.start(ctx, 2, [queue])
        for frame, split in zip(frames, splits):
            queue.send(frame, split=split, align=1)
            queue.publish()
            await queue.notify(ctx)
            await host.until(ctx, lambda: queue.used_idx() == queue.next)
            queue.take()

    host.simulate(story)
    assert [octets for _, _, octets in host.sent] == frames


def test_frames_in():
    """Frames find the driver's buffers in order, behind a header with one buffer."""
    host = Host(Device(TINY))
    queue = Queue(host, 2, 0, size=8)
    frames = [frame_of(length, length) for length in (60, 61, 512, 700, 1514)]

    async def story(ctx):
        await host.start(ctx, 2, [queue])
        for split in ([1526], [12, 1514], [1, 10, 1, 1514]):
            queue.post(split)
        queue.publish()
        await queue.notify(ctx)
        for frame in frames[:3]:
            await host.receive(ctx, 2, frame)
        await host.until(ctx, lambda: queue.used_idx() == 3)
        first = queue.take()
        for _ in frames[3:]:
            queue.post([800, 800])
        queue.publish()
        await queue.notify(ctx)
        for frame in frames[3:]:
            await host.receive(ctx, 2, frame)
        await host.until(ctx, lambda: queue.used_idx() == 5)
        await host.until(ctx, lambda: len(host.irqs) >= 2)
        for frame, (_, length, octets) in zip(frames, [*first, *queue.take()]):
            assert length == 12 + len(frame)
            assert octets[:12] == bytes(10) + b"\1\0"
            assert octets[12:length] == frame
        assert {irq[1:] for irq in host.irqs} == {(2, 1)}

    host.simulate(story)
