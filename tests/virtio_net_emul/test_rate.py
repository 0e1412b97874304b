"""Cycles a frame at 512 bit, host reads answered after 125 cycles.

At 250 MHz 2.5 cycles a frame are 100 million frames per second, and 64-octet frames come from a
100G wire every 1.68 cycles.
"""

from dataclasses import replace

from offloadcard.config import MODEL
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import PLAIN, Host, Queue, frame_of

CONFIG = replace(MODEL, name="rate", virtio_net_vfs=8, nvme_vfs=1, function_id_width=4)
# A header that is read with its frame is a second beat.
FEATURES = PLAIN & ~(1 << spec.VIRTIO_NET_F_CSUM)
EACH  = 32  # frames of each queue that sends
BURST = 64  # frames to each queue that receives


def test_cycles_a_frame():
    """Out of 8 queues, then into 4; one device, so that it is elaborated once."""
    host = Host(Device(CONFIG), latency=125, size=1 << 22)
    functions = range(2, 10)
    out  = [Queue(host, function_id, 1, size=64) for function_id in functions]
    into = [Queue(host, function_id, 0, size=64) for function_id in functions[:4]]
    found = {}

    async def story(ctx):
        for queue, other in zip(out, [*into, None, None, None, None]):
            queues = [queue, other] if other else [queue]
            await host.start(ctx, queue.function_id, queues, features=FEATURES)
        for _ in range(200):
            await ctx.tick()
        for number in range(8):  # until their memory is known to be prompt
            for queue in out:
                queue.send(frame_of(60, number))
                queue.publish()
                await queue.notify(ctx)
            await host.until(ctx, lambda: all(queue.used_idx() == queue.next for queue in out))
        for _ in range(200):
            await ctx.tick()
        host.sent.clear()
        used = out[0].used_idx()
        # One frame on an idle card: four reads that depend on one another, and what is between.
        out[0].send(frame_of(60, 0))
        out[0].publish()
        begin = host.cycle
        await out[0].notify(ctx)
        await host.until(ctx, lambda: out[0].used_idx() == used + 1)
        found["latency"] = host.sent.pop()[0] - begin
        host.reads.clear()

        for queue in out:
            for number in range(EACH):
                queue.send(frame_of(60, number))
            queue.publish()
        for queue in out:
            await queue.notify(ctx)
        await host.until(ctx, lambda: all(queue.used_idx() == queue.next for queue in out))
        cycles = [cycle for cycle, *_ in host.sent]
        found["out"] = (cycles[-1] - cycles[len(cycles) // 4]) / (len(cycles) * 3 / 4)
        found["reads"] = len(host.reads)

        for queue in into:
            for _ in range(BURST):
                queue.post([72])
            queue.publish()
            await queue.notify(ctx)
        for _ in range(600):
            await ctx.tick()
        host.writes.clear()
        # Three frames in five cycles: the wire's own pace.
        pace = 0
        for number in range(BURST):
            for queue in into:
                await host.receive(ctx, queue.function_id, frame_of(60, number))
                pace += 1
                if pace % 3:
                    await ctx.tick()
        await host.until(ctx, lambda: all(queue.used_idx() == BURST for queue in into))
        data = [cycle for cycle, _, _, length in host.writes if length == 72]
        found["in"] = (data[-1] - data[len(data) // 2]) / (len(data) / 2)
        found["writes"] = len(host.writes)

    host.simulate(story)
    print(found)
    assert found["latency"] <= 4 * 125 + 46
    assert found["out"] <= 2
    assert found["in"] <= 2.5
    assert found["reads"] < 8 * EACH * 1.3
    assert found["writes"] < 4 * BURST * 1.3
