"""Act 6: a rate limit bites, and only where it was set."""

from offloadcard.control.controller import Limit
from sim.traffic import udp

from .common import far_side

RATE, BURST, FRAMES, OCTETS = 1_000_000_000, 16_384, 240, 1000


async def _burst(stage, act, guest, frames):
    """Send at full speed; ``[(µs since the start, octets)]`` of what left."""
    start = stage.rig.env.now_ns
    await guest.send(frames)
    await guest.flush()
    await stage.bus.sleep(20_000)
    since = stage.gateway.seen
    await stage.gateway.take(0, act)
    return [((time - start) / 1000, len(octets) - 50)
            for time, octets in stage.rig.env.wire_received()[since:]]


def _curve(points):
    total, xs, ys = 0, [0.0], [0.0]
    for time, octets in points:
        total += octets
        xs.append(time)
        ys.append(total / 1000)
    return xs, ys


async def play(stage):
    act = stage.open("limit", "A rate limit bites")
    rig, red, blue = stage.rig, stage.guests[0], stage.guests[1]
    function_id = rig.config.first_net_vf

    def frames(n):
        own, far = far_side(stage, n)
        return [udp(own, far, bytes(OCTETS - 42), destination_port=9000)] * FRAMES

    await red.send(frames(0)[:1])
    await blue.send(frames(1)[:1])
    await stage.gateway.take(2, act)
    free = await _burst(stage, act, red, frames(0))
    act.equal("without a limit all frames pass", len(free), FRAMES)
    await rig.controller.set_limit(function_id, Limit(bits_per_second=RATE))
    await red.send(frames(0)[:1])
    await stage.bus.sleep(300_000)
    await stage.gateway.take(0, act)
    held = await _burst(stage, act, red, frames(0))
    others = await _burst(stage, act, blue, frames(1))
    span = free[-1][0] if not held else max(held[-1][0], free[-1][0])
    passed, allowed = sum(o for _, o in held), BURST + RATE / 8 * span / 1e6
    act.check("no more passes than the burst and the rate allow", passed <= allowed + OCTETS,
              f"{passed} of {allowed:.0f} octets")
    act.check("nearly as much passes as is allowed", passed >= 0.7 * BURST,
              f"{passed} of {allowed:.0f} octets")
    act.equal("blue, who has no limit, loses nothing", len(others), FRAMES)
    await rig.controller.set_limit(function_id, Limit())
    await stage.bus.sleep(100_000)
    act.plot("octets that left the card", {
        "red, no limit": _curve(free), "red, 1 Gb/s": _curve(held),
        "blue, no limit": _curve(others)}, xlabel="µs", ylabel="kB, cumulative")
    act.fact("limit", RATE / 1e9, f"Gb/s, burst {BURST} octets")
    act.fact("red offered", FRAMES * OCTETS, "octets at once")
    act.fact("of which passed", passed, "octets")
    act.say("Red sends as fast as it can, then does so again with a limit of 1 Gb/s: a bucket of "
            "octets at its function, filled by the clock. Blue sends the same and feels nothing.")
