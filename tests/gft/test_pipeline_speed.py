"""What the Timing sections promise, counted in cycles at 512 bits."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from offloadcard.gft.spec import DestinationKind
from tests.gft.harness import WIDE, Bench, key_of

MHZ = 250  # of MODEL
COUNT = 60
INNER = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b") / IP(src="10.0.0.1",
                                                                      dst="10.0.0.2")


def frames(flow, *, vni=None):
    """A 60-octet frame of a flow, or its tunnel of 110."""
    inner = INNER / UDP(sport=flow, dport=9) / bytes(18)
    assert len(inner) == 60
    if vni is None:
        return bytes(inner)
    return bytes(Ether(src="02:00:00:00:00:0c", dst="02:00:00:00:00:0d")
                 / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=5, dport=4789, chksum=0)
                 / VXLAN(vni=vni, flags=8) / inner)


async def back_to_back(bench, ctx, port, many, function_id):
    """Offer beats without a rest; the cycles that passed until the last was taken."""
    width = bench.config.data_width // 8
    stream = getattr(bench.dut, port)
    begun = bench.now
    beats = []
    for octets in many:
        for low in range(0, len(octets), width):
            beats.append((list(octets[low:low + width].ljust(width, b"\0")), len(octets),
                          low == 0, low + width >= len(octets)))
    for octets, length, first, last in beats:
        ctx.set(stream.p.data, octets)
        ctx.set(stream.p.meta.length, length)
        ctx.set(stream.p.meta.function_id, function_id)
        ctx.set(stream.p.first, first)
        ctx.set(stream.p.last, last)
        ctx.set(stream.valid, 1)
        ready = False
        while not ready:
            *_, ready = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)
    return bench.now - begun


# Cycles a packet in steady state, and the packets a microsecond which that makes.
@pytest.mark.parametrize(("name", "entry", "port", "cycles", "mpps"), (
    ("rewrite", {"decrement_ttl": 1, "set_ethernet": 1}, "from_guests", 1, 148.8),
    ("push", {"push": 1, "template": 1, "vni": 5}, "from_guests", 2, 93.2),
    ("pop", {"pop": 1}, "from_wire", 2, 125.0),
))
def test_throughput(name, entry, port, cycles, mpps):
    """60-octet frames back to back: a beat a cycle, whichever side of the edit is longer."""
    vni = 7 if name == "pop" else None
    function = 2 if port == "from_guests" else None
    bench = Bench(WIDE)
    taken = []

    async def run(ctx):
        await bench.start(ctx)
        for flow in range(4):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(flow, 9), function_id=function, vni=vni)
            await bench.insert(ctx, flow, key, destination=DestinationKind.WIRE, **entry)
        taken.append(await back_to_back(
            bench, ctx, port, [frames(n % 4, vni=vni) for n in range(COUNT)], 2))
        await bench.wait(ctx, "to_wire", COUNT)

    bench.run(run)
    spent = bench.cycles["to_wire"][-1] - bench.cycles["to_wire"][9]
    assert spent == cycles * (COUNT - 10), f"{name}: {spent / (COUNT - 10)} cycles a packet"
    assert MHZ / cycles >= mpps


def test_both_lanes():
    """Two lanes share one lookup a cycle: 125 Mpps each way at once."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        for flow, function in ((0, 2), (1, None)):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(flow, 9), function_id=function)
            await bench.insert(ctx, flow, key, destination=DestinationKind.FUNCTION
                               if function is None else DestinationKind.WIRE,
                               destination_function=3)

    async def wire(ctx):
        while bench.now < 240:
            await ctx.tick()
        await back_to_back(bench, ctx, "from_wire", [frames(1)] * COUNT, 0)

    async def guest(ctx):
        while bench.now < 240:
            await ctx.tick()
        await back_to_back(bench, ctx, "from_guests", [frames(0)] * COUNT, 2)
        await bench.wait(ctx, "to_wire", COUNT)
        await bench.wait(ctx, "to_guests", COUNT)

    bench.run(run, wire, guest)
    for name in ("to_wire", "to_guests"):
        spent = bench.cycles[name][-1] - bench.cycles[name][9]
        assert spent <= 2 * (COUNT - 10)


def test_latency():
    """A hit of 60 octets leaves within 32 cycles of its entry, in an idle pipeline."""
    bench = Bench(WIDE)
    begun = []

    async def run(ctx):
        await bench.start(ctx)
        key = key_of("10.0.0.1", "10.0.0.2", ports=(0, 9), function_id=2)
        await bench.insert(ctx, 0, key, destination=DestinationKind.WIRE, decrement_ttl=1)
        begun.append(bench.now)
        await bench.send(ctx, "from_guests", frames(0), function_id=2)
        await bench.wait(ctx, "to_wire", 1)

    bench.run(run)
    assert bench.cycles["to_wire"][0] - begun[0] <= 32
