"""The device from the doorbell to the frame, and from the frame to the interrupt."""

from offloadcard.config import SMALL, TINY
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of


def frames_out(host):
    """Function 0 sends frames of several lengths; each leaves once, in order."""
    queue = Queue(host, 0, 1, size=8)
    frames = [frame_of(length, length) for length in (60, 61, 512, 513, 1514)]

    async def story(ctx):
        await host.start(ctx, 0, [queue])
        queue.send(frames[0])
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == 1)
        for frame in frames[1:]:
            queue.send(frame)
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == len(frames))
        await host.until(ctx, lambda: len(host.irqs) >= 2)
        assert [octets for _, meta, octets in host.sent if meta.function_id == 0] == frames
        assert len(queue.take()) == len(frames)

    return story


def chains_of_any_split(host):
    """Header and data cut anywhere, pieces of no length, unaligned: the frames are the same."""
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
        assert [octets for _, meta, octets in host.sent if meta.function_id == 2] == frames

    return story


def frames_in(host):
    """Frames find the driver's buffers in order, behind a header with one buffer."""
    queue = Queue(host, 3, 0, size=8)
    frames = [frame_of(length, length) for length in (60, 61, 512, 700, 1514)]

    async def story(ctx):
        await host.start(ctx, 3, [queue])
        for split in ([1526], [12, 1514], [1, 10, 1, 1514]):
            queue.post(split)
        queue.publish()
        await queue.notify(ctx)
        for frame in frames[:3]:
            await host.receive(ctx, 3, frame)
        await host.until(ctx, lambda: queue.used_idx() == 3)
        first = queue.take()
        for _ in frames[3:]:
            queue.post([800, 800])
        queue.publish()
        await queue.notify(ctx)
        for frame in frames[3:]:
            await host.receive(ctx, 3, frame)
        await host.until(ctx, lambda: queue.used_idx() == 5)
        await host.until(ctx, lambda: (3, 1) in [irq[1:] for irq in host.irqs])
        for frame, (_, length, octets) in zip(frames, [*first, *queue.take()]):
            assert length == 12 + len(frame)
            assert octets[:12] == bytes(10) + b"\1\0"
            assert octets[12:length] == frame
        assert (3, 1) in [irq[1:] for irq in host.irqs]

    return story


def test_frames_both_ways():
    """Three functions at once, reads answered out of order; each sees its own traffic only."""
    host = Host(Device(TINY), shuffle=True)
    host.simulate(*(story(host) for story in (frames_out, chains_of_any_split, frames_in)))
    assert {irq[1:] for irq in host.irqs} == {(0, 2), (2, 2), (3, 1)}


def test_more_pages_than_half_of_the_reads():
    """At 128 bits a full batch of frames may fill more pages than there are reads: it goes."""
    host = Host(Device(SMALL))
    queue = Queue(host, 1, 1, size=32)
    frames = [frame_of(1514, number) for number in range(9)]

    async def story(ctx):
        await host.start(ctx, 1, [queue])
        for frame in frames:
            queue.send(frame)
        queue.publish()
        await queue.notify(ctx)
        await host.until(ctx, lambda: queue.used_idx() == len(frames))
        assert [octets for *_, octets in host.sent] == frames

    host.simulate(story)
