"""Drive and watch streams in Amaranth's simulator, with stalls from a printed seed."""

import random

__all__ = ["Stalls", "stream_put", "stream_get", "stream_put_all", "stream_get_all"]


class Stalls:
    """Decides, from a seed, whether a side of a stream rests in a cycle.

    ``chance`` is the probability of a rest; 0 never rests.
    """

    def __init__(self, seed=0, chance=0.0):
        self.random = random.Random(seed)
        self.chance = chance

    def __call__(self):
        return self.random.random() < self.chance


async def stream_put(ctx, stream, payload):
    """Offer one payload and wait until it is taken."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    taken = False
    while not taken:
        *_, taken = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)


async def stream_get(ctx, stream):
    """Take one payload."""
    ctx.set(stream.ready, 1)
    valid = False
    while not valid:
        *_, payload, valid = await ctx.tick().sample(stream.payload, stream.valid)
    ctx.set(stream.ready, 0)
    return payload


async def stream_put_all(ctx, stream, payloads, stalls=Stalls()):
    """Offer payloads in turn, resting as ``stalls`` says."""
    for payload in payloads:
        while stalls():
            await ctx.tick()
        await stream_put(ctx, stream, payload)


async def stream_get_all(ctx, stream, count, stalls=Stalls()):
    """Take ``count`` payloads, resting as ``stalls`` says."""
    payloads = []
    while len(payloads) < count:
        while stalls():
            await ctx.tick()
        payloads.append(await stream_get(ctx, stream))
    return payloads
