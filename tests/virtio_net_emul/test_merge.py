"""Frames in several buffers: MRG_RXBUF."""

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

MERGE = PLAIN | 1 << spec.VIRTIO_NET_F_MRG_RXBUF


def octets_of(elements, buffers):
    """The frame that ``buffers`` elements hold, all but the last of them full."""
    for _, length, octets in elements[:-1]:
        assert length == len(octets), "all buffers but the last must be full"
    whole = b"".join(octets[:length] for _, length, octets in elements)
    assert whole[:12] == bytes(10) + buffers.to_bytes(2, "little")
    return whole[12:]


def in_pieces(host, function_id, *, one_by_one, lengths, sizes):
    """Frames of ``lengths`` into buffers of ``sizes`` in turn; all of one frame's show at once."""
    queue = Queue(host, function_id, 0, size=8)

    async def story(ctx):
        await host.start(ctx, function_id, [queue], features=MERGE)
        turn = 0
        for number, length in enumerate(lengths):
            posted = []
            while sum(posted) < 12 + length or len(queue.chains) < 4:
                posted.append(sizes[turn % len(sizes)])
                turn += 1
                queue.post([posted[-1]])
                if one_by_one:
                    queue.publish()
                    await queue.notify(ctx)
                    for _ in range(60):
                        await ctx.tick()
            queue.publish()
            await queue.notify(ctx)
            frame = frame_of(length, number)
            await host.receive(ctx, function_id, frame)
            await host.until(ctx, lambda: queue.used_idx() != queue.seen)
            elements = queue.take()
            assert octets_of(elements, len(elements)) == frame
            for _ in range(host.random.randrange(300)):
                await ctx.tick()

    return story


def without_room(host):
    """A frame that finds too few buffers is dropped and takes none of them."""
    queue = Queue(host, 3, 0, size=8)
    names = {r.name: r.offset for r in spec.MANAGEMENT}

    async def story(ctx):
        await host.start(ctx, 3, [queue], features=MERGE)
        for _ in range(2):
            queue.post([500])
        queue.publish()
        await queue.notify(ctx)
        for _ in range(200):
            await ctx.tick()
        await host.receive(ctx, 3, frame_of(1500, 1))
        for _ in range(600):
            await ctx.tick()
        assert queue.used_idx() == 0
        await host.manage(ctx, names["FUNCTION"], 3)
        assert await host.manage(ctx, names["RX_DROPS"]) == 1
        for number in range(2):
            await host.receive(ctx, 3, frame_of(400, number))
        await host.until(ctx, lambda: queue.used_idx() == 2)
        for number, element in enumerate(queue.take()):
            assert octets_of([element], 1) == frame_of(400, number)
        # All that the ring has are too few: dropped when the next frame asks for buffers.
        for _ in range(8):
            queue.post([12])
        queue.publish()
        await queue.notify(ctx)
        await host.receive(ctx, 3, frame_of(1500, 1))
        for _ in range(600):
            await ctx.tick()
        assert queue.used_idx() == 2
        await host.receive(ctx, 3, frame_of(60, 7))
        await host.until(ctx, lambda: queue.used_idx() != 2)
        elements = queue.take()
        assert octets_of(elements, 6) == frame_of(60, 7)
        assert await host.manage(ctx, names["RX_DROPS"]) == 2

    return story


def test_frames_in_several_buffers():
    """[virtio-1.2: 5.1.6.4] num_buffers, full buffers, one index for all of a frame."""
    host = Host(Device(TINY), shuffle=True)
    host.simulate(in_pieces(host, 2, one_by_one=False, lengths=(1514, 60, 1200, 588, 589, 1514),
                            sizes=(600,)),
                  in_pieces(host, 0, one_by_one=True, lengths=(1000, 60, 1400, 700, 61),
                            sizes=(300, 700, 412)),
                  without_room(host))
