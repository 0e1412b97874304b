"""A storm of bad writes: configuration is answered all the same."""

from offloadcard.pcie import spec
from offloadcard.pcie.spec import Fmt
from tests.pcie.world import World

POISONED = [0x4000_4001, 0x0000_000F, 0x5000_0000, 0]  # a write of one DW, to nowhere
BEGIN, TAG = 50, 200


def test_errors_do_not_starve_configuration():
    world, ended = World(), []

    async def story(ctx):
        await world.enumerate(ctx)
        read = spec.ConfigRequest.const({
            "fmt": Fmt.THREE_DW, "type": spec.Type.CONFIG_0, "length": 1, "first_be": 15,
            "completer_id": 0x101, "tag": TAG}).as_bits()
        asked = [read >> 32 * n & 0xFFFF_FFFF for n in range(4)]
        stream = world.dut.requests
        for cycle in range(2000):
            header = asked if cycle == BEGIN else POISONED
            ctx.set(stream.payload, {"header": header, "first": 1, "last": 1})
            ctx.set(stream.valid, 1)
            await ctx.tick()
            if TAG in world.guest.completions:
                ended.append(cycle)
                break
        ctx.set(stream.valid, 0)
    world.run(story)
    assert ended and ended[0] < BEGIN + 100, ended
