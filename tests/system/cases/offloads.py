"""What a driver leaves to the card: checksums, pairs, commands, single resets, merged buffers."""

import random

import cocotb

from offloadcard.control.network import AclRule
from offloadcard.control.policy import Match
from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul import spec_control as control
from sim.host.virtio_net_offloads import OffloadDriver
from sim.traffic import from_wire, only, to_wire, udp

from .common import RED, RED_FAR, VNI_RED, VTEP, card, net_rig

UDP_AT, SUM_AT = 34, 6  # of the datagram in the frame, of the checksum in the datagram


def partial(frame):
    """The frame as Linux hands it over: in the field stands the pseudo header's sum."""
    words = frame[26:34] + bytes([0, 17]) + frame[38:40]
    total = sum(int.from_bytes(words[n:n + 2], "big") for n in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    at = UDP_AT + SUM_AT
    return frame[:at] + total.to_bytes(2, "big") + frame[at + 2:]


@cocotb.test()
async def checksums(dut):
    """To the wire and to the neighbour; verified on arrival; a field from nowhere harms nobody."""
    async with net_rig(dut, 2, checksums=True, driver=OffloadDriver) as (rig, drivers):
        one, two = drivers
        await rig.provision_net(1, rig.networks[VNI_RED], RED[1].mac.hex(), [str(RED[1].address)],
                                acl=(AclRule("all", 1, Match(), allow=True),))
        frames = [udp(RED[0], RED_FAR, bytes(range(1, 60 + n))) for n in range(3)]
        for frame in frames:
            await one.send_partial(partial(frame), start=UDP_AT, offset=SUM_AT)
        assert await rig.env.wire_wait(len(frames))
        only([octets for _, octets in rig.env.wire_received()],
             [to_wire(frame, VNI_RED, VTEP) for frame in frames])
        there = udp(RED[0], RED[1], b"to the neighbour")
        await one.send_partial(partial(there), start=UDP_AT, offset=SUM_AT)
        (_, header, frame), = await two.arrived_frames(1)
        assert frame == there and header["flags"] == spec.VIRTIO_NET_HDR_F_DATA_VALID

        # Fields out of bounds: those frames go nowhere, what follows goes as ever.
        for start, offset in ((len(there), 0), (0xFFFF, 0xFFFF), (0x4000, 0), (34, 0x4000)):
            await one.send_partial(there, start=start, offset=offset)
            await one.flush()
        await one.send_partial(partial(there), start=UDP_AT, offset=SUM_AT)
        assert [frame for *_, frame in await two.arrived_frames(1)] == [there]
        await one.flush()

        # From the wire: right, and wrong by one bit.
        right = udp(RED_FAR, RED[0], b"from afar")
        wrong = right[:-1] + bytes([right[-1] ^ 1])
        for frame in (right, wrong):
            rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
        found = await one.arrived_frames(2)
        assert [(frame, header["flags"]) for _, header, frame in found] == [
            (right, spec.VIRTIO_NET_HDR_F_DATA_VALID), (wrong, 0)]


@cocotb.test()
async def bulk(dut):
    """Frames in several pieces, in indirect tables, their checksums open, in long bursts."""
    async with net_rig(dut, 2, checksums=True, driver=OffloadDriver, split="random",
                       indirect=True, seed=card().seed) as (rig, drivers):
        one, two = drivers
        await rig.provision_net(1, rig.networks[VNI_RED], RED[1].mac.hex(), [str(RED[1].address)],
                                acl=(AclRule("all", 1, Match(), allow=True),))
        source = random.Random(card().seed)
        await one.send([udp(RED[0], RED[1], b"first")])
        await two.receive_frames(1)
        for _ in range(card().rounds):
            frames = [udp(RED[0], RED[1], source.randbytes(source.choice((1400, 1430, 20, 700))))
                      for _ in range(source.randrange(1, 24))]
            for frame in frames:
                one.queue(partial(frame), flags=spec.VIRTIO_NET_HDR_F_NEEDS_CSUM,
                          csum_start=UDP_AT, csum_offset=SUM_AT)
            one.tx.publish()
            await one.device.notify(1)
            only(await two.receive_frames(len(frames)), frames)
            await one.flush()


@cocotb.test()
async def pairs_and_commands(dut):
    """Commands are answered as negotiated; flows spread over two pairs and fall back to one."""
    async with net_rig(dut, 1, checksums=True, driver=OffloadDriver) as (rig, drivers):
        red, = drivers
        flows = [udp(RED_FAR, RED[0], bytes(20), source_port=4000 + n) for n in range(8)]

        async def used_pairs():
            found = []
            for frame in flows:
                rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
                found += await red.arrived_frames(1)
            assert [frame for *_, frame in found] == flows
            return {pair for pair, *_ in found}

        assert await used_pairs() == {0}
        assert await red.use_pairs(2) == control.VIRTIO_NET_OK
        assert await used_pairs() == {0, 1}
        for kind, command, octets, refused in (
                (control.VIRTIO_NET_CTRL_RX, control.VIRTIO_NET_CTRL_RX_PROMISC, b"\1", False),
                (control.VIRTIO_NET_CTRL_MAC, control.VIRTIO_NET_CTRL_MAC_ADDR_SET,
                 red.mac, False),
                (control.VIRTIO_NET_CTRL_MAC, control.VIRTIO_NET_CTRL_MAC_ADDR_SET,
                 RED_FAR.mac, True),
                (control.VIRTIO_NET_CTRL_VLAN, control.VIRTIO_NET_CTRL_VLAN_ADD, b"\5\0", False),
                (control.VIRTIO_NET_CTRL_MQ, control.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
                 b"\0\0", True),
                (9, 9, b"", True)):
            assert await red.command(kind, command, octets) == refused, (kind, command)
        assert await red.use_pairs(1) == control.VIRTIO_NET_OK
        assert await used_pairs() == {0}


@cocotb.test()
async def queue_reset(dut):
    """Each queue of a pair is reset and set up again in new memory; the other goes on."""
    async with net_rig(dut, 1, checksums=True, driver=OffloadDriver) as (rig, drivers):
        red, = drivers
        frame = udp(RED_FAR, RED[0], bytes(40))
        back = udp(RED[0], RED_FAR, bytes(50))
        for number in range(3):
            for queue in (0, 1):
                await red.reset_queue(queue)
                rig.env.wire_send(from_wire(frame, VNI_RED, VTEP))
                assert [f for *_, f in await red.arrived_frames(1)] == [frame]
                await red.send([back])
                await red.flush()
            assert await rig.env.wire_wait(2 * number + 2)


@cocotb.test()
async def merged(dut):
    """Frames of one to four buffers, in bursts; a guest with too few loses its own, none else's."""
    async with net_rig(dut, 2, driver=OffloadDriver, merged=True, buffer_octets=400,
                       receive_buffers=8) as (rig, drivers):
        one, two = drivers
        assert all(driver.device.features >> spec.VIRTIO_NET_F_MRG_RXBUF & 1 for driver in drivers)
        await rig.provision_net(1, rig.networks[VNI_RED], RED[1].mac.hex(), [str(RED[1].address)],
                                acl=(AclRule("all", 1, Match(), allow=True),))

        def frames(*lengths):
            return [udp(RED[0], RED[1], source.randbytes(length)) for length in lengths]

        source = random.Random(card().seed)
        for _ in range(card().rounds):
            # 42 octets of headers before each; 346 fill a buffer, 1146 fill three.
            sent = frames(*source.choice(((1, 346, 347), (1472,), (746, 747), (1146,), (1, 1147))))
            await one.send(sent)
            only(await two.receive_frames(len(sent)), sent)
            await one.flush()
        two.receive_buffers = 2
        for sent in (frames(700) for _ in range(3)):
            await one.send(sent)
            only(await two.receive_frames(1), sent)
        before = two.received
        await one.send(frames(1400, 1400))
        right = udp(RED_FAR, RED[0], bytes(1400))
        rig.env.wire_send(from_wire(right, VNI_RED, VTEP))
        assert [frame for *_, frame in await one.arrived_frames(1)] == [right]
        await rig.bus.sleep(40_000)
        assert not await two.arrived() and two.received == before
        sent = frames(20)
        await one.send(sent)
        only(await two.receive_frames(1), sent)
        two.receive_buffers = 8
        assert not await two.receive()
        sent = frames(1472)
        await one.send(sent)
        only(await two.receive_frames(1), sent)


@cocotb.test()
async def jumbo(dut):
    """Frames of 9,014 octets with open checksums, several at once, between small ones."""
    async with net_rig(dut, 2, checksums=True, driver=OffloadDriver, frame_octets=9014, mtu=9000,
                       indirect=True, seed=card().seed) as (rig, drivers):
        one, two = drivers
        await rig.provision_net(1, rig.networks[VNI_RED], RED[1].mac.hex(), [str(RED[1].address)],
                                acl=(AclRule("all", 1, Match(), allow=True),), mtu=9000)
        source = random.Random(card().seed)
        await one.send([udp(RED[0], RED[1], b"first")])
        await two.receive_frames(1)
        for _ in range(card().rounds):
            frames = [udp(RED[0], RED[1], source.randbytes(source.choice((8972, 8972, 3000, 30))))
                      for _ in range(source.randrange(1, 4))]
            for frame in frames:
                one.queue(partial(frame), flags=spec.VIRTIO_NET_HDR_F_NEEDS_CSUM,
                          csum_start=UDP_AT, csum_offset=SUM_AT)
            one.tx.publish()
            await one.device.notify(1)
            only(await two.receive_frames(len(frames)), frames)
            await one.flush()
