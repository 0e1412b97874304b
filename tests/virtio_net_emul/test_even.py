"""Both ways at once, where writes limit: frames leave as fast as they come."""

from dataclasses import replace

from offloadcard.config import MODEL
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from offloadcard.virtio_net_emul.walk_transmit import SURE_BITS
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

CONFIG = replace(MODEL, name="even", virtio_net_vfs=8, nvme_vfs=1, function_id_width=4)
FEATURES = PLAIN & ~(1 << spec.VIRTIO_F_EVENT_IDX | 1 << spec.VIRTIO_NET_F_CSUM)
SURE = SURE_BITS // CONFIG.data_width  # cycles a frame
EASY, HARD = (1, 112, 112), (8, 112, 24)  # cycles a beat written, frames of a queue out and in


def test_even():
    """While received frames wait, no more leave than come; but some leave in any case."""
    host = Host(Device(CONFIG), latency=125, size=1 << 20)
    functions = range(2, 10)
    out  = [Queue(host, function_id, 1, size=256) for function_id in functions]
    into = [Queue(host, function_id, 0, size=256) for function_id in functions]
    found = []

    def sent():
        return all(queue.used_idx() == queue.next for queue in out)

    async def both(ctx, pace, leave, come):
        host.write_pace = pace
        host.writes.clear()
        host.sent.clear()
        for queue in out:
            for number in range(leave):
                queue.send(frame_of(60, number))
            queue.publish()
            await queue.notify(ctx)
        for number in range(come):
            for queue in into:
                await host.receive(ctx, queue.function_id, frame_of(60, number))
                for _ in range(2 * pace - 1):  # more than 2 beats of writes a frame
                    await ctx.tick()
        await host.until(ctx, sent)
        ways = ([cycle for cycle, *_ in host.sent],
                [cycle for cycle, _, _, length in host.writes if length == 72])
        begin = max(way[len(way) // 4] for way in ways)
        end = min(way[-len(way) // 16] for way in ways)
        found.append([(end - begin) / sum(begin <= cycle < end for cycle in way) for way in ways])

    async def story(ctx):
        for sender, receiver in zip(out, into):
            await host.start(ctx, sender.function_id, [sender, receiver], features=FEATURES)
            for _ in range(256):
                receiver.post([72])
            receiver.publish()
            await receiver.notify(ctx)
        for number in range(8):  # until their memory is known to be prompt
            for queue in out:
                queue.send(frame_of(60, number))
                queue.publish()
                await queue.notify(ctx)
            await host.until(ctx, sent)
        await both(ctx, *EASY)
        await both(ctx, *HARD)

    host.simulate(story)
    print(found)
    (easy_out, easy_in), (hard_out, hard_in) = found
    assert easy_in <= 2.6 and 0.95 * easy_in <= easy_out <= 1.1 * easy_in
    assert hard_in > 16 and 0.95 * SURE <= hard_out <= 1.1 * SURE
