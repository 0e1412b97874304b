"""Entries of the rings travel in whole batches where a card is full."""

from dataclasses import replace
from itertools import accumulate

from offloadcard.config import MODEL
from offloadcard.virtio_net_emul.device import Device
from offloadcard.virtio_net_emul.layouts import Geometry
from tests.virtio_net_emul.host import Host, Queue, frame_of

# A clock so slow that held elements wait for 800 cycles.
CONFIG = replace(MODEL, name="batches", virtio_net_vfs=2, nvme_vfs=1, function_id_width=3,
                 clock_mhz=25)
BATCH  = Geometry(CONFIG).batch
FULL   = Geometry.per_queue
EACH   = 7 * BATCH  # frames to each queue


def test_batches():
    """The index is read before a part of a batch is taken, when there is word of more; a timer
    does not split the batches behind the one that it was set for."""
    host = Host(Device(CONFIG), latency=125, size=1 << 20)
    out  = Queue(host, 2, 1, size=256)
    into = [Queue(host, function_id, 0, size=128) for function_id in (2, 3)]
    shown = []

    def watch(function_id, address, length):
        queue = into[function_id - 2]
        if queue.used + 4 <= address < queue.used + 4 + 8 * queue.size:
            shown.append(length // 8)

    async def offer(ctx, count):
        for number in range(count):
            out.send(frame_of(60, number))
        out.publish()
        await out.notify(ctx)

    async def story(ctx):
        await host.start(ctx, 2, [out, into[0]])
        await host.start(ctx, 3, [into[1]])
        for queue in into:
            for _ in range(EACH):
                queue.post([72])
            queue.publish()
            await queue.notify(ctx)
        for _ in range(4):  # until its memory is known to be prompt
            await offer(ctx, BATCH)
            await host.until(ctx, lambda: out.used_idx() == out.next)

        host.reads.clear()
        await offer(ctx, FULL * BATCH + 1)  # as many as one queue may have in flight, and one
        for _ in range(300):
            await ctx.tick()
        await offer(ctx, BATCH - 1)
        await host.until(ctx, lambda: out.used_idx() == out.next)
        rings = [length // 2 for _, _, address, length in host.reads
                 if out.avail + 4 <= address < out.avail + 4 + 2 * out.size]
        print(rings)
        assert rings == (FULL + 1) * [BATCH]

        host.watch, host.write_pace = watch, 8
        for number in range(EACH):
            for queue in into:
                await host.receive(ctx, queue.function_id, frame_of(60, number))
                # 17 cycles a frame; the first come faster, so that the card is full.
                for _ in range(15 if number >= BATCH else 3):
                    await ctx.tick()
        await host.until(ctx, lambda: sum(shown) == len(into) * EACH)
        print(shown)

    host.simulate(story)
    # What came before the card was full may be parts; all that follows is whole.
    full = 1 + list(accumulate(shown)).index(len(into) * BATCH)
    assert shown[full:] == len(into) * (EACH // BATCH - 1) * [BATCH], shown
