"""What the receive front says of frames, against scapy's sums; and that it keeps every octet."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator
from scapy.all import IP, TCP, UDP, Dot1Q, Ether, IPv6, Raw

from offloadcard.config import TINY
from offloadcard.virtio_net_emul.layouts import Geometry
from offloadcard.virtio_net_emul.octet_sum import OctetSum
from offloadcard.virtio_net_emul.receive_front import ReceiveFront


def frames_of(seed):
    """Frames, and whether their checksum can be verified."""
    rng = random.Random(seed)
    found = []

    def add(packet, good, spoil=None):
        octets = bytearray(bytes(packet))
        if spoil is not None:
            octets[spoil] ^= 1 << rng.randrange(8)
        found.append((bytes(octets), good))

    for number in range(12):
        data = Raw(rng.randbytes(rng.choice((0, 1, 7, 18, 100, 1000))))
        ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        link = ether / Dot1Q(vlan=number) if number % 2 else ether
        four = IP(src=f"10.0.0.{number}", dst="10.0.0.9")
        six  = IPv6(src=f"fd00::{number}", dst="fd00::9")
        ports = {"sport": rng.randrange(1, 65536), "dport": 80}
        at = len(link)
        add(link / four / TCP(**ports) / data, True)
        add(link / four / UDP(**ports) / data, True)
        add(link / six / TCP(**ports) / data, True)
        add(link / six / UDP(**ports) / data, True)
        # One bit wrong: in an address, in the segment's header, in its last octet.
        add(link / four / TCP(**ports) / data, False, spoil=at + 13)
        add(link / four / TCP(**ports) / data, False, spoil=at + 24)
        add(link / six / UDP(**ports) / Raw(b"12345"), False, spoil=-1)
        # Padding behind the packet does not count.
        add((bytes(link / four / UDP(**ports) / Raw(b"x"))).ljust(70, b"\xAB"), True)
        # Not for us to verify.
        add(link / four / UDP(chksum=0, **ports) / data, False)
        add(link / four / UDP(len=9, **ports) / Raw(b"1234"), False)
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\1\1\1\1") / TCP(**ports), False)
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(**ports) / data, False)
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", frag=3) / UDP(**ports) / data, False)
        # Lengths that lie.
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", len=1500) / TCP(**ports) / data, False)
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", len=19) / TCP(**ports) / data, False)
        add(link / IP(src="10.0.0.1", dst="10.0.0.2", len=24) / TCP(**ports) / data, False)
        add(link / IPv6(src="fd00::1", dst="fd00::2", plen=65535) / UDP(**ports) / data, False)
        add(rng.randbytes(rng.choice((14, 15, 60, 64, 65))), False)
    rng.shuffle(found)
    return found


def run(width, frames, *, guest_csum=True, last_pair=1, gaps=True, pairs=2):
    """Frames as they leave: octets, status, queue; and the cycles of first beats."""
    dut = ReceiveFront(Geometry(replace(TINY, data_width=width, virtio_queue_pairs=pairs)))
    lanes, rng = width // 8, random.Random(1)
    out, begins = [], []
    simulator = Simulator(dut)
    simulator.add_clock(1e-9)

    async def rows(ctx):
        while True:
            ctx.set(dut.chosen.guest_csum, guest_csum)
            ctx.set(dut.last_pair, last_pair)
            await ctx.tick()

    async def send(ctx):
        for octets in frames:
            for low in range(0, len(octets), lanes):
                part = octets[low:low + lanes].ljust(lanes, b"\xEE")
                ctx.set(dut.i.payload, {
                    "data": list(part), "first": low == 0, "last": low + lanes >= len(octets),
                    "meta": {"function_id": 1, "length": len(octets), "queue": 5}})
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                if gaps and rng.random() < 0.3:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick().repeat(rng.randrange(1, 12))
        ctx.set(dut.i.valid, 0)

    async def take(ctx):
        octets, cycle = b"", 0
        shape = dut.o.payload.shape()
        while len(out) < len(frames):
            *_, valid, raw = await ctx.tick().sample(dut.o.valid, dut.o.payload.as_value())
            cycle += 1
            assert cycle < 100_000
            if not valid:
                continue
            beat = shape.from_bits(raw)
            if beat.first:
                begins.append(cycle)
            octets += bytes(beat.data)
            if beat.last:
                out.append((octets[:beat.meta.length], beat.meta.csum_status, beat.meta.queue))
                octets = b""

    simulator.add_testbench(rows, background=True)
    simulator.add_testbench(send, background=True)
    simulator.add_testbench(take)
    simulator.run()
    return out, begins


@pytest.mark.parametrize("width", (64, 128, 512))
def test_sums_are_verified_where_they_can_be(width):
    frames = frames_of(width)
    out, _ = run(width, [octets for octets, _ in frames])
    assert [octets for octets, *_ in out] == [octets for octets, _ in frames]
    for (octets, good), (_, status, _) in zip(frames, out):
        assert status == good, octets.hex()


def test_nothing_is_said_to_a_driver_that_did_not_ask():
    out, _ = run(512, [octets for octets, _ in frames_of(1)], guest_csum=False)
    assert not any(status for _, status, _ in out)


def test_flows_keep_their_pair_and_spread():
    """Both ways of a connection fall on one pair; many flows on all; one pair takes all."""
    flows = []
    for number in range(64):
        ends = ({"src": "10.0.0.1", "dst": "10.0.1.7"}, {"sport": 40000 + number, "dport": 443})
        back = ({"src": "10.0.1.7", "dst": "10.0.0.1"}, {"sport": 443, "dport": 40000 + number})
        for network, ports in (ends, back):
            flows.append(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                               / IP(**network) / TCP(**ports)))
    out, _ = run(512, flows, pairs=8, last_pair=7, gaps=False)
    queues = [queue for *_, queue in out]
    assert queues[::2] == queues[1::2]
    counts = [queues.count(queue) for queue in range(8)]
    assert sum(counts) == len(flows) and min(counts) >= len(flows) // 32
    out, _ = run(512, flows, pairs=8, last_pair=2, gaps=False)
    assert {queue for *_, queue in out} == {0, 1, 2}
    out, _ = run(512, flows, pairs=8, last_pair=0, gaps=False)
    assert {queue for *_, queue in out} == {0}


def test_one_beat_a_cycle():
    """Never stalled, no bubble, and the latency that is promised."""
    frames = [octets[:64].ljust(60, b"\0")[:60] for octets, _ in frames_of(2)][:100]
    out, begins = run(512, frames, gaps=False)
    assert begins == list(range(begins[0], begins[0] + len(frames)))
    assert begins[0] - 1 == OctetSum(octets=64).latency + 8
