"""How much is under way when many send at once: what waits for the link delays who has little."""

from dataclasses import replace

from offloadcard.config import MODEL
from offloadcard.virtio_net_emul.device import Device
from offloadcard.virtio_net_emul.layouts import Geometry
from tests.virtio_net_emul.host import Host, Queue, frame_of

QUEUES, CROWD = 4, 16
CONFIG = replace(MODEL, name="crowd", virtio_net_vfs=8, nvme_vfs=1, function_id_width=4)
BATCH  = Geometry(CONFIG).batch
EACH   = Geometry.per_queue * BATCH  # frames of each queue


def test_a_crowd_waits_in_its_rings(monkeypatch):
    """Four queues with as much as each may have in flight: half of it is, where that is a crowd."""
    monkeypatch.setattr(Geometry, "crowd", CROWD)
    host = Host(Device(CONFIG), latency=125, size=1 << 22)
    out  = [Queue(host, 2 + n, 1, size=256) for n in range(QUEUES)]
    ring = {queue.function_id: range(queue.avail + 4, queue.avail + 4 + 2 * queue.size)
            for queue in out}
    peaks = []

    async def story(ctx):
        async def offer(count):
            for queue in out:
                for number in range(count):
                    queue.send(frame_of(60, number))
                queue.publish()
                await queue.notify(ctx)
            await host.until(ctx, lambda: all(queue.used_idx() == queue.next for queue in out))

        for queue in out:
            await host.start(ctx, queue.function_id, [queue])
        for _ in range(2):  # until their memory is known to be prompt
            await offer(BATCH)
        host.reads.clear()
        host.sent.clear()
        await offer(EACH)

    host.simulate(story)
    begun = [(cycle, length // 2) for cycle, function_id, address, length in host.reads
             if address in ring[function_id]]
    ended = [(cycle, -1) for cycle, *_ in host.sent]
    assert sum(count for _, count in begun) == len(ended) == QUEUES * EACH
    inside = 0
    for _, change in sorted(begun + ended):
        inside += change
        peaks.append(inside)
    batches = max(peaks) / BATCH
    assert CROWD * 3 / 4 < batches <= CROWD + 2
