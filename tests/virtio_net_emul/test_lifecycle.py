"""A function ends under load: nothing of it is in flight when the card says so."""

import random

from offloadcard.config import TINY
from offloadcard.virtio_net_emul.device import Device
from tests.virtio_net_emul.host import Host, Queue, frame_of


def test_ends_under_load():
    """Stops and resets at any time, in turn: no access afterwards, and a new life works."""
    host = Host(Device(TINY), shuffle=True, latency=40, size=1 << 22)
    rng = random.Random(3)
    dead = set()
    state = {"over": False, "rounds": 0}

    def watch(function_id, address, length):
        assert function_id not in dead, f"access to {address:#x} of a function that ended"

    host.watch = watch

    async def traffic(ctx):
        while not state["over"]:
            await host.receive(ctx, 2, frame_of(rng.choice((60, 700)), 1))
            for _ in range(rng.randrange(20)):
                await ctx.tick()

    async def ends(ctx):
        # A function that never lived is drained within a hundred cycles.
        for function_id in (3, 0):
            begin = host.cycle
            await host.stop(ctx, function_id)
            await host.until(ctx, lambda: host.drained)
            assert host.drained.pop()[1] == function_id
            assert host.cycle - begin < 100
        for number in range(5):
            dead.discard(2)
            host.gate.discard(2)
            out, into = Queue(host, 2, 1, size=8), Queue(host, 2, 0, size=8)
            await host.start(ctx, 2, [out, into])
            for n in range(4):
                out.send(frame_of(rng.choice((60, 600)), n))
                into.post(rng.choice(([1526], [100, 1426])))
            out.publish()
            into.publish()
            await out.notify(ctx)
            await into.notify(ctx)
            for _ in range(rng.randrange(400)):
                await ctx.tick()
            irqs = len(host.drained)
            if number % 2:
                host.gate.add(2)
                await host.stop(ctx, 2)
                await host.until(ctx, lambda n=irqs: len(host.drained) == n + 1)
                dead.add(2)
                assert not await host.get_register(ctx, 2, "device_status")
            else:
                await host.set_register(ctx, 2, "device_status", 0)
                while await host.get_register(ctx, 2, "device_status"):
                    pass
                dead.add(2)
            seen = len(host.irqs)
            for name in ("queue_desc", "queue_enable", "driver_feature", "queue_select"):
                assert await host.get_register(ctx, 2, name) == 0
            for _ in range(60):
                await ctx.tick()
            assert len(host.irqs) == seen
            state["rounds"] += 1
        state["over"] = True

    host.simulate(ends, traffic)
    assert state["rounds"] == 5
    assert [item[1] for item in host.drained] == [2] * 2
