"""Act 5: the provider changes a policy, and the flows that exist obey."""

from offloadcard.control.network import AclRule
from offloadcard.control.policy import Match
from sim.traffic import to_wire, udp

from .common import far_side


async def play(stage):
    act = stage.open("policy", "A policy changes; flows that exist obey it")
    rig, red = stage.rig, stage.guests[0]
    controller, function_id = rig.controller, rig.config.first_net_vf
    own, far = far_side(stage, 0)
    frame = udp(own, far, b"before and after", destination_port=7777)
    other = udp(own, far, b"not concerned", destination_port=7778)
    out = [to_wire(f, stage.vnis[0], stage.vteps[0]) for f in (frame, other)]

    async def sent(frames, expected, what):
        await red.send(frames)
        got = await stage.gateway.take(len(expected), act)
        await rig.bus.sleep(40_000)
        got += await stage.gateway.take(0, act)
        stage.gateway.same(act, what, got, expected)

    for by in ("by the slow path", "from the flow table"):
        await sent([frame, other], out, f"before: both flows pass, {by}")
    updated = controller.slowpath.counters.updated
    deny = AclRule("no 7777", 10, Match(destination_ports=range(7777, 7778), protocol=17),
                   allow=False)
    start = rig.env.now_ns
    await controller.set_acl(function_id, [deny], hard=True)
    act.fact("from the command to the card's new generation", rig.env.now_ns - start, "ns")
    await sent([frame] * 4 + [other], out[1:], "after: the denied flow ends, the other goes on")
    await sent([frame] * 4 + [other] * 2, out[1:] * 2, "and stays ended, from the flow table")
    await controller.set_acl(function_id, [], hard=True)
    for by in ("by the slow path", "from the flow table"):
        await sent([frame, other], out, f"allowed again: both pass, {by}")
    act.fact("flows decided anew", controller.slowpath.counters.updated - updated, "")
    act.say("Red's access list gets one more line: nothing to port 7777. The card's flow entries "
            "of red are of an old generation from that clock on; a hard change lets none pass "
            "before the slow path has decided it again, once. Then the line goes again, and "
            "the flow comes back.")
