"""When used elements are shown to a driver: soon on an idle card, many at a time on a full one."""

from dataclasses import replace

from offloadcard.config import MODEL
from offloadcard.virtio_net_emul.device import Device
from offloadcard.virtio_net_emul.walk_receive import HELD
from tests.virtio_net_emul.host import Host, Queue, frame_of

CONFIG = replace(MODEL, name="flush", virtio_net_vfs=8, nvme_vfs=1, function_id_width=4)
FLUSH  = CONFIG.clock_mhz  # cycles
COUNT  = 8                 # of queues
FRAMES = 32                # to each queue
SLACK  = 1500              # from a marker to its element, behind what waits before it


def test_flush():
    """A lone frame is shown after one microsecond; of frames that come faster than they can be
    written the elements go eight and more at a time, none later than it may."""
    host = Host(Device(CONFIG), latency=125, size=1 << 20)
    queues = [Queue(host, function_id, 0, size=64) for function_id in range(2, 2 + COUNT)]
    shown = []  # (cycle, queue, elements)

    def watch(function_id, address, length):
        queue = queues[function_id - 2]
        if queue.used + 4 <= address < queue.used + 4 + 8 * queue.size:
            shown.append((host.cycle, function_id, length // 8))

    async def story(ctx):
        host.watch = watch
        for queue in queues:
            await host.start(ctx, queue.function_id, [queue])
            for _ in range(64):
                queue.post([73])
            queue.publish()
            await queue.notify(ctx)
        for _ in range(1000):
            await ctx.tick()
        await host.receive(ctx, 2, frame_of(61, 0))
        await host.until(ctx, lambda: host.writes)
        written = host.cycle
        await host.until(ctx, lambda: shown)
        assert FLUSH / 2 <= shown.pop()[0] - written <= FLUSH + 100

        host.writes.clear()
        host.write_pace = 8  # 16 cycles a frame, which come each 14: one a queue in 112
        for number in range(FRAMES):
            for queue in queues:
                await host.receive(ctx, queue.function_id, frame_of(61, number))
                while host.cycle % 14:
                    await ctx.tick()
        await host.until(ctx, lambda: sum(count for *_, count in shown) == COUNT * FRAMES)

    host.simulate(story)
    assert len(shown) <= COUNT * FRAMES / 8
    for queue in queues:
        written = [cycle for cycle, function_id, _, length in host.writes
                   if function_id == queue.function_id and length == 73]
        assert len(written) == FRAMES
        for cycle, function_id, count in shown:
            if function_id == queue.function_id:
                assert cycle - written[0] <= 2 * HELD * FLUSH + SLACK
                del written[:count]
