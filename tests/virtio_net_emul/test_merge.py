"""Frames in several buffers: MRG_RXBUF."""

from dataclasses import replace

from offloadcard.config import TINY
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of
from tests.virtio_net_emul.test_queue_reset import reset_queue

MERGE = PLAIN | 1 << spec.VIRTIO_NET_F_MRG_RXBUF
LONG  = replace(TINY, virtio_queue_size=32)   # rings longer than a frame has buffers
NAMES = {r.name: r.offset for r in spec.MANAGEMENT}


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
        await host.manage(ctx, NAMES["FUNCTION"], 3)
        assert await host.manage(ctx, NAMES["RX_DROPS"]) == 1
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
        assert await host.manage(ctx, NAMES["RX_DROPS"]) == 2

    return story


def test_frames_in_several_buffers():
    """[virtio-1.2: 5.1.6.4] num_buffers, full buffers, one index for all of a frame."""
    host = Host(Device(TINY), shuffle=True)
    host.simulate(in_pieces(host, 2, one_by_one=False, lengths=(1514, 60, 1200, 588, 589, 1514),
                            sizes=(600,)),
                  in_pieces(host, 0, one_by_one=True, lengths=(1000, 60, 1400, 700, 61),
                            sizes=(300, 700, 412)),
                  without_room(host))


async def drops(host, ctx, function_id):
    """Received frames of a function that were dropped."""
    await host.manage(ctx, NAMES["FUNCTION"], function_id)
    return await host.manage(ctx, NAMES["RX_DROPS"])


def frames_in(elements):
    """Frames of elements that became visible; each must be whole."""
    frames = []
    while elements:
        octets, count = b"", 0
        while len(octets) < 12:
            assert count < len(elements), "a part of a frame is visible"
            octets += elements[count][2][:elements[count][1]]
            count += 1
        number = int.from_bytes(octets[10:12], "little")
        assert number <= len(elements), "a part of a frame is visible"
        frames.append(octets_of(elements[:number], number))
        elements = elements[number:]
    return frames


def any_frames(host, function_id, *, count, sizes, lengths, event_idx=False):
    """Any frames into any buffers, shown at any time: each comes whole and in order, or counts."""
    queue = Queue(host, function_id, 0, size=32, event_idx=event_idx)
    random = host.random
    sent, found, state = [], [], {"over": False}

    async def guest(ctx):
        await host.start(ctx, function_id, [queue],
                         features=MERGE | event_idx << spec.VIRTIO_F_EVENT_IDX)
        state["started"] = True
        quiet = 0
        while not state["over"] or quiet < 10:
            quiet += state["over"]
            for _ in range(random.choice((1, 3, 20, 32))):
                if queue.ids:
                    queue.post([random.choice(sizes)])
            queue.publish()
            await queue.kick(ctx)
            for _ in range(random.randrange(20, 200)):
                found.extend(frames_in(queue.take()))
                await ctx.tick()

    async def wire(ctx):
        while "started" not in state:
            await ctx.tick()
        for number in range(count):
            sent.append(frame_of(random.choice(lengths), 100 * function_id + number))
            await host.receive(ctx, function_id, sent[-1])
            for _ in range(random.choice((0, 10, 600))):
                await ctx.tick()
        await ctx.tick().repeat(4300)
        lost = await drops(host, ctx, function_id)
        rest = iter(sent)
        assert all(frame in rest for frame in found), "in order, octet for octet"
        assert len(found) + lost == len(sent)
        assert len(found) > count // 4
        state["over"] = True

    return guest, wire


def test_any_frames_in_any_buffers():
    """Two guests at a time; one of them hears of what it gets by events."""
    host = Host(Device(LONG), shuffle=True, seed=6, size=1 << 24)
    host.simulate(*any_frames(host, 2, count=14, sizes=(12, 60, 100, 600, 1526),
                              lengths=(1, 60, 588, 589, 700, 1514)),
                  *any_frames(host, 3, count=14, sizes=(256, 256, 300, 700), event_idx=True,
                              lengths=(60, 244, 245, 500, 501, 1514)))


def test_a_header_across_buffers():
    """Buffers of an octet, which a driver must not post: whole frames, or none [5.1.6.3.1]."""
    host  = Host(Device(LONG))
    queue = Queue(host, 2, 0, size=32)

    async def story(ctx):
        await host.start(ctx, 2, [queue], features=MERGE)
        for _ in range(31):
            queue.post([1])
        queue.publish()
        await queue.notify(ctx)
        for length, number in ((3, 15), (1, 13), (4, 0)):
            before = queue.used_idx()
            await host.receive(ctx, 2, frame_of(length, 1))
            await ctx.tick().repeat(1500)
            elements = queue.take()
            assert len(elements) == number == queue.used_idx() - before
            assert frames_in(elements) == [frame_of(length, 1)] * bool(number)
        assert await drops(host, ctx, 2) == 1

    host.simulate(story)


def beside_a_starving_guest(starves):
    """Cycles that one guest's frames take beside another whose buffers are always too few."""
    host = Host(Device(LONG), size=1 << 22)
    poor, rich = Queue(host, 2, 0, size=32), Queue(host, 3, 0, size=32)
    spans = []

    async def story(ctx):
        for queue, count, octets in ((poor, 4, 100), (rich, 24, 200)):
            await host.start(ctx, queue.function_id, [queue], features=MERGE)
            for _ in range(count):
                queue.post([octets])
            queue.publish()
            await queue.notify(ctx)
        await ctx.tick().repeat(300)
        for _ in range(2 * starves):
            await host.receive(ctx, 2, frame_of(1500, 1))
        begin = host.cycle
        for number in range(6):
            await host.receive(ctx, 3, frame_of(500, number))
        await host.until(ctx, lambda: rich.used_idx() == 18)
        spans.append(host.cycle - begin)
        assert frames_in(rich.take()) == [frame_of(500, number) for number in range(6)]
        if starves:
            while await drops(host, ctx, 2) != 2:
                assert host.cycle < begin + 2 * 17 * TINY.clock_mhz
            assert poor.used_idx() == 0
            await host.receive(ctx, 2, frame_of(150, 1))
            await host.until(ctx, lambda: poor.used_idx() == 2)
            assert frames_in(poor.take()) == [frame_of(150, 1)]

    host.simulate(story)
    return spans[0]


def test_a_guest_that_starves_holds_nobody():
    """Its frames are dropped, the other's are not late."""
    assert beside_a_starving_guest(True) <= beside_a_starving_guest(False) + 60


def test_ends_while_a_frame_waits():
    """Resets of the queue, of the function, a stop with all its accesses refused, in the middle."""
    host = Host(Device(LONG), shuffle=True, size=1 << 22)

    async def story(ctx):
        for number in range(9):
            queue = Queue(host, 2, 0, size=32)
            await host.start(ctx, 2, [queue], features=MERGE)
            for _ in range((3, 16, 31)[number // 3]):
                queue.post([100])
            queue.publish()
            await queue.notify(ctx)
            await host.receive(ctx, 2, frame_of(1000, number))
            await host.receive(ctx, 2, frame_of(1000, number))
            for _ in range(host.random.randrange(400)):
                await ctx.tick()
            frames_in(queue.take())
            if number % 3 == 0:
                await reset_queue(host, ctx, 2, 0)
                queue = Queue(host, 2, 0, size=32)
                await queue.set_up(ctx)
                for _ in range(12):
                    queue.post([100])
                queue.publish()
                await queue.notify(ctx)
                await host.receive(ctx, 2, frame_of(1000, 70))
                await host.until(ctx, lambda q=queue: q.used_idx() == 11)
                assert frames_in(queue.take())[-1] == frame_of(1000, 70)
            if number % 3 == 1:
                host.gate.add(2)
                ends = len(host.drained)
                await host.stop(ctx, 2)
                await host.until(ctx, lambda n=ends: len(host.drained) == n + 1)
                host.gate.discard(2)
            else:
                await host.set_register(ctx, 2, "device_status", 0)
                while await host.get_register(ctx, 2, "device_status"):
                    pass

    host.simulate(story)
