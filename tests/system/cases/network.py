"""Packets through the card: the walks out, first and in; tenants apart; frames of every length."""

import random

import cocotb

from offloadcard.virtio_net_emul import spec
from sim.link.world import Event
from sim.traffic import from_wire, only, to_wire, udp

from .common import (
    BLUE_FAR,
    RED,
    RED_FAR,
    VNI_BLUE,
    VNI_RED,
    VTEP,
    card,
    member,
    net_rig,
)


async def received(rig, count, since=0):
    """Frames that the card has put on the wire, ``count`` from the ``since``."""
    assert await rig.env.wire_wait(since + count), \
        f"{count} frames must leave, not {len(rig.env.wire_received()) - since}"
    await rig.bus.sleep(2_000)
    return [octets for _, octets in rig.env.wire_received()[since:]]


@cocotb.test()
async def walk_packet_out(dut):
    """A frame of a known flow: doorbell, four dependent reads, the wire, the used ring."""
    async with net_rig(dut, 1) as (rig, drivers):
        red, = drivers
        frame = udp(RED[0], RED_FAR, b"one of many")
        await red.send([frame])           # the flow's first packet takes the other walk
        await received(rig, 1)
        await red.flush()
        env, rid = rig.env, red.function.rid
        env.keep(Event.TLP_UP, Event.DOORBELL, Event.FRAME_OUT, Event.EXCEPTION)
        env.world.log_clear()
        before = rig.controller.slowpath.counters.served
        await red.send([frame])
        frames = await received(rig, 1, since=1)
        only(frames, [to_wire(frame, VNI_RED, VTEP)])
        await red.flush()
        assert rig.controller.slowpath.counters.served == before, "the flow must be known"
        log = env.world.log()
        inside = lambda r, region: region.address <= r["b"] < region.address + region.size
        ups = [r for r in log if r["kind"] == Event.TLP_UP and r["a"] == rid]
        bell = [r for r in log if r["kind"] == Event.DOORBELL
                and r["b"] == red.device.notify_at[1]]
        out = [r for r in log if r["kind"] == Event.FRAME_OUT]
        avail = [r for r in ups if inside(r, red.tx.avail)]
        desc = [r for r in ups if inside(r, red.tx.desc)]
        used = [r for r in ups if inside(r, red.tx.used)]
        assert len(bell) == len(out) == 1 and avail and desc and used
        first = [int(min(r["time_ps"] for r in group)) for group in (bell, avail, desc, out)]
        assert first == sorted(first), first
        assert int(used[0]["time_ps"]) > first[2]
        assert not [r for r in log if r["kind"] == Event.EXCEPTION]


@cocotb.test()
async def walk_first_packet(dut):
    """A flow's first packets go to the slow path, later ones do not, and none overtakes."""
    async with net_rig(dut, 1) as (rig, drivers):
        red, = drivers
        frames = [udp(RED[0], RED_FAR, n.to_bytes(2, "big") * 20) for n in range(24)]
        await red.send(frames)
        got = await received(rig, len(frames))
        only(got, [to_wire(frame, VNI_RED, VTEP) for frame in frames])
        counters = rig.controller.slowpath.counters
        assert counters.inserted == 1 and 1 <= counters.served <= len(frames), counters
        # The flow is known now: nothing goes to the slow path any more.
        await red.send(frames[:4])
        only(await received(rig, 4, len(frames)), [to_wire(f, VNI_RED, VTEP) for f in frames[:4]])
        assert counters.served <= len(frames), counters


@cocotb.test()
async def walk_packet_in(dut):
    """Out of the tunnel into the one guest it is for, by interrupt; the other hears nothing."""
    async with net_rig(dut, 2) as (rig, drivers):
        red, blue = drivers
        frames = [udp(RED_FAR, RED[0], bytes([n]) * 30) for n in range(20)]
        for n in range(0, len(frames), 4):
            for frame in frames[n:n + 4]:
                rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
            only(await red.receive_frames(4), frames[n:n + 4])
        assert await blue.receive() == []
        counted = await rig.controller.network_counters(rig.config.first_net_vf)
        assert counted["rx_packets"] == len(frames) and counted["rx_drops"] == 0


@cocotb.test()
async def neighbours(dut):
    """Two tenants of one network meet on the card; not one frame touches the wire."""
    async with net_rig(dut, 3) as (rig, drivers):
        one, _, two = drivers  # the second is blue
        there = [udp(RED[0], RED[1], bytes([n]) * 100) for n in range(6)]
        back = [udp(RED[1], RED[0], bytes([n]) * 60) for n in range(6)]
        for driver, peer, frames in ((one, two, there), (two, one, back)):
            await driver.send(frames)
            only(await peer.receive_frames(len(frames)), frames)
        assert rig.env.wire_received() == []


@cocotb.test()
async def isolation(dut):
    """Two tenants with the same addresses at once; nobody hears the other, nor a stranger."""
    async with net_rig(dut, 2) as (rig, drivers):
        source = random.Random(card().seed)
        sent, heard = [[], []], [[], []]
        for _ in range(card().rounds):
            for n, driver in enumerate(drivers):
                vni, own, far = member(n)
                frames = [udp(own, far, source.randbytes(source.randrange(18, 1000)))
                          for _ in range(4)]
                inward = [udp(far, own, bytes([n]) + source.randbytes(source.randrange(18, 900)))
                          for _ in range(2)]
                await driver.send(frames)
                sent[n] += [to_wire(frame, vni, VTEP) for frame in frames]
                for frame in inward:
                    rig.env.wire_send(from_wire(frame, vni, VTEP))
                # Spoofed, strange and untunnelled frames are for nobody.
                await driver.send([udp(far, own, b"not my address")])
                rig.env.wire_send(from_wire(inward[0], 7777, VTEP))
                rig.env.wire_send(inward[0])
                heard[n] += inward
            for n, driver in enumerate(drivers):
                only(await driver.receive_frames(2), heard[n][-2:])
            # A flow that outruns the slow path loses what its order slot cannot hold: the first
            # frames of each are waited for.
            frames = await received(rig, sum(map(len, sent)))
        for n, vni in enumerate((VNI_RED, VNI_BLUE)):
            mark = b"\x08\x00\x00\x00" + vni.to_bytes(3, "big")
            only([frame for frame in frames if frame[42:49] == mark], sent[n])
        for driver in drivers:
            assert await driver.receive() == []


@cocotb.test()
async def any_frame(dut):
    """Frames of every length and split, both ways, order kept in each flow."""
    async with net_rig(dut, 1, split="random", seed=card().seed) as (rig, drivers):
        red, = drivers
        source = random.Random(card().seed)
        count = 0
        for _ in range(card().rounds):
            frames = [udp(RED[0], RED_FAR, source.randbytes(source.randrange(18, 1430)))
                      for _ in range(source.randrange(1, 12))]
            await red.send(frames)
            only(await received(rig, len(frames), since=count),
                 [to_wire(frame, VNI_RED, VTEP) for frame in frames])
            count += len(frames)
            inward = [udp(RED_FAR, RED[0], source.randbytes(source.randrange(18, 1430)))
                      for _ in range(min(4, red.rx.size))]
            for frame in inward:
                rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
            only(await red.receive_frames(len(inward)), inward)
        await red.flush()
        await red.stop()


@cocotb.test()
async def without_a_buffer(dut):
    """Frames for a guest that posts no buffer are dropped and counted; the others do not wait."""
    async with net_rig(dut, 2, receive_buffers=4, queue_size=8) as (rig, drivers):
        red, blue = drivers
        frame = udp(RED_FAR, RED[0], bytes(100))
        other = udp(BLUE_FAR, member(1)[1], bytes(80))
        for _ in range(200):
            rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
        rig.env.wire_send(from_wire(other, VNI_BLUE, VTEP))
        only(await blue.receive_frames(1), [other])
        await rig.bus.sleep(100_000)
        counted = await rig.controller.network_counters(rig.config.first_net_vf)
        assert len(await red.receive()) >= 4
        assert counted["rx_drops"] > 0 and counted["rx_packets"] + counted["rx_drops"] <= 200


@cocotb.test()
async def notifications(dut):
    """NO_INTERRUPT is kept; after re-arming and looking again no frame is left behind."""
    async with net_rig(dut, 1) as (rig, drivers):
        red, = drivers
        message = red.messages[1]
        frame = udp(RED_FAR, RED[0], bytes(100))
        rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
        only(await red.receive_frames(1), [frame])
        red.rx.no_interrupt(True)
        await rig.bus.sleep(5_000)
        seen = rig.bus.messages_seen(message)
        rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
        await rig.bus.sleep(20_000)
        assert rig.bus.messages_seen(message) == seen and red.rx.waiting == 1
        red.rx.no_interrupt(False)
        only(await red.receive(), [frame])
        rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
        only(await red.receive_frames(1), [frame])
        assert rig.bus.messages_seen(message) > seen
        assert red.device.features & 1 << spec.VIRTIO_F_VERSION_1
