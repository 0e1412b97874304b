"""Act 7: a tenant misbehaves; it is stopped and reset, and nobody else loses a packet."""

import cocotb

from offloadcard.virtio_net_emul import spec
from sim.traffic import from_wire, only, to_wire, udp

from .common import far_side

ROUNDS, BATCH = 60, 4


async def _storm(bad, stop):
    """Doorbells without end, for queues that are there and for such that are not."""
    number = 0
    while not stop:
        number += 1
        for queue in range(6):
            await bad.bus.write(bad.device.notify_at[0] + 4 * queue, 2, number & 0xFFFF)
        await bad.bus.sleep(200)


def _loop(bad):
    """A chain that never ends, and one that names a descriptor that is not there."""
    ring = bad.tx
    target = ring.desc.address
    for n in range(ring.size):
        ring.write_descriptor(n, target, 64, spec.VIRTQ_DESC_F_NEXT, (n + 1) % ring.size)
    ring.offer(0)
    ring.offer(ring.size + 5)
    ring.publish()


async def play(stage):
    act = stage.open("misbehaviour", "A tenant misbehaves; the others lose nothing")
    rig, blue, bad = stage.rig, stage.guests[1], stage.guests[2]
    function_id = rig.config.first_net_vf + 2
    own, far = far_side(stage, 1)
    vni, vtep = stage.vnis[1], stage.vteps[1]
    stop, marks = [], {}
    rig.env.world.tolerate(bad.function.rid)
    sent = received = 0
    curve, base = [(0.0, 0.0)], rig.env.now_ns
    for round_ in range(ROUNDS):
        if round_ == ROUNDS // 4:
            marks["misbehaves"] = (rig.env.now_ns - base) / 1000
            cocotb.start_soon(_storm(bad, stop))
            _loop(bad)
            await bad.device.notify(1)
        if round_ == ROUNDS // 2:
            errors = (await rig.controller.network_counters(function_id))["errors"]
            act.check("the card has seen the broken ring and said DEVICE_NEEDS_RESET",
                      errors >= 1 and await bad.needs_reset(), f"{errors} errors")
            marks["is reset"] = (rig.env.now_ns - base) / 1000
            reset = rig.env.now_ns
            await rig.controller.reset_function(function_id)
            act.fact("until nothing of it is in flight", rig.env.now_ns - reset, "ns")
            stop.append(True)
            bad.forget()
        frames = [udp(own, far, bytes([round_, n]) * 50) for n in range(BATCH)]
        inward = [udp(far, own, bytes([n, round_]) * 30) for n in range(2)]
        await blue.send(frames)
        for frame in inward:
            stage.gateway.send(from_wire(frame, vni, vtep))
        got = await stage.gateway.take(BATCH, act)
        only(got, [to_wire(frame, vni, vtep) for frame in frames])
        only(await blue.receive_frames(2), inward)
        sent, received = sent + BATCH, received + 2
        curve.append(((rig.env.now_ns - base) / 1000, float(sent + received)))
        stage.tell(act.title, round_ / ROUNDS)
    act.check("blue's frames, out and in, all arrived in order", True,
              f"{sent} out, {received} in")
    await bad.function.enable()
    await bad.start()
    act.check("after its reset the guest's driver starts again", not await bad.needs_reset())
    lines = {"blue's frames": list(zip(*curve))}
    for name, at in marks.items():
        lines[f"the other {name}"] = ([at, at], [0, sent + received])
    act.plot("blue's traffic beside a tenant that misbehaves", lines, xlabel="µs",
             ylabel="frames, cumulative")
    act.say("Red's neighbour writes a ring that never ends and floods doorbells, of queues that "
            "do not exist, too. The card answers in the standard's words, DEVICE_NEEDS_RESET; the "
            "controller resets the function over the management port. Blue's traffic goes on all "
            "the while, each frame checked.")
