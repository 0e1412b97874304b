"""Act 2: captured traffic crosses from tenant to tenant, out by VXLAN and in again."""

from sim.link.world import Event
from sim.traffic import to_wire

from ..gateway import decode
from ..timeline import timeline_of


async def play(stage):
    act = stage.open("crossing", "Real traffic, out by VXLAN and in again")
    counters = stage.rig.controller.slowpath.counters
    steps, number, first = stage.steps, 0, len(stage.gateway.decoded)
    passed = denied = 0
    while number < len(steps):
        group = [steps[number]]
        while (number + len(group) < len(steps) and len(group) < 16
               and steps[number + len(group)].sender == group[0].sender
               and steps[number + len(group)].fate == group[0].fate):
            group.append(steps[number + len(group)])
        await _send(stage, act, group)
        passed += len(group) if group[0].fate == "passes" else 0
        denied += len(group) if group[0].fate == "denied" else 0
        number += len(group)
        stage.tell(act.title, number / len(steps))
    seen = stage.gateway.decoded[first:]
    act.equal("frames on the wire that scapy decodes as VXLAN to the right tunnel end point",
              sum(f.haslayer("VXLAN") and (f["VXLAN"].vni, f["IP"].dst)
                  in zip(stage.vnis, stage.vteps) for _, f in seen), passed + denied)
    act.fact("captured frames", len(steps), "")
    act.fact("from tenant to tenant", passed, "frames, each out and in again")
    act.fact("of all that, by the slow path", counters.served, "packets")
    act.fact("flows inserted", counters.inserted, "")
    act.fact("questions answered by the card", counters.answered, "ARP and neighbour discovery")
    act.say(f"{len(steps)} captured frames (ARP, DNS, HTTP over TCP, ICMP, IPv6) are sent by the "
            f"two guests' drivers. The card wraps each in VXLAN; a gateway behind the wire, whose "
            f"eyes are scapy, unwraps it and sends it back into the other tenant's network. "
            f"{passed} arrive, octet for octet as captured; what blue begins and red did not ask "
            f"for is refused ({denied}); the rest are questions that the card answers "
            f"itself, and chatter that leaves no tenant's link.")
    await _one_packet(stage, act)


async def _send(stage, act, group):
    """Send frames of one guest that share a fate, and see them to their end."""
    sender, fate = group[0].sender, group[0].fate
    guest, peer = stage.guests[sender], stage.guests[1 - sender]
    frames = [step.octets for step in group]
    await guest.send(frames)
    if fate in ("passes", "denied"):
        got = await stage.gateway.take(len(frames), act)
        vni, vtep = stage.vnis[sender], stage.vteps[sender]
        stage.gateway.same(act, "each frame on the wire is what the policy says",
                           got, [to_wire(frame, vni, vtep) for frame in frames])
        for octets in got:
            stage.gateway.forward(octets, act)
        if fate == "passes":
            act.equal("the other tenant receives each frame as it was captured",
                      await peer.receive_frames(len(frames)), frames)
        else:
            await stage.bus.sleep(60_000)
            act.equal("what red did not ask for is not let in", await peer.receive(), [])
    elif fate == "asked":
        answers = [decode(octets) for octets in await guest.receive_frames(len(frames))]
        act.equal("the card answers with the other station's MAC",
                  [bytes.fromhex(a.src.replace(":", "")) for a in answers],
                  [stage.stations[1 - sender].mac] * len(frames))
    else:
        await stage.bus.sleep(60_000)
        act.equal("chatter reaches nobody", await peer.receive(), [])
    _merge_last(act)


def _merge_last(act):
    """Equal checks of many groups are one line of the report."""
    seen = {}
    for what, value in act.checks:
        before = seen.get(what)
        seen[what] = (str(int(before) + int(value)) if before and before.isdigit()
                      and value.isdigit() else value)
    act.checks[:] = list(seen.items())


async def _one_packet(stage, act):
    """One packet of a known flow, from the doorbell to the wire, by the event log."""
    red, env = stage.guests[0], stage.rig.env
    step = next(s for s in reversed(stage.steps) if s.fate == "passes" and s.sender == 0
                and b"\x11" in (s.octets[23:24], s.octets[20:21]))
    await red.send([step.octets])
    for octets in await stage.gateway.take(1, act):
        stage.gateway.forward(octets, act)
    await stage.guests[1].receive_frames(1)
    await red.flush()
    await stage.bus.sleep(10_000)
    env.keep(Event.TLP_UP, Event.TLP_DOWN, Event.DOORBELL, Event.FRAME_OUT, Event.EXCEPTION)
    env.world.log_clear()
    await red.send([step.octets])
    await stage.gateway.take(1, act)
    await red.flush()
    stage.timeline = timeline_of(env.world.log(), red)
    out = next(s["ns"] for s in stage.timeline if s["where"] == "wire")
    act.fact("doorbell to the wire, known flow", out - stage.timeline[0]["ns"], "ns")
    env.log.clear()
    env.keep()
