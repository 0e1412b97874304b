"""Conservation: whatever enters leaves once, goes to the slow path once, or is counted once."""

import random
from collections import Counter

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from offloadcard.gft.spec import DestinationKind, Reason
from tests.gft.harness import NARROW, Bench, key_of

ETHER = {"src": "02:00:00:00:00:0a", "dst": "02:00:00:00:00:0b"}
DROPS = [reason for reason in Reason if reason >= Reason.FLOW_DROP]


def test_every_packet_has_one_last_word():
    """Both lanes at once, two tenants to each other and to the wire, misses and bad frames among
    them, exits that rest half of the time, a buffer that is often full."""
    bench, rng = Bench(NARROW, stalls=0.5, seed=9), random.Random(9)
    sent = {"from_guests": [], "from_wire": []}

    def frame(number, flow):
        octets = bytes(Ether(**ETHER) / IP(src="10.0.0.1", dst="10.0.0.2")
                       / UDP(sport=flow, dport=9) / number.to_bytes(2, "big")
                       / bytes(rng.choice((16, 40, 200))))
        return octets[:-1] if flow == 9 else octets

    async def run(ctx):
        await bench.start(ctx)
        for flow, (function, kind, target) in enumerate((
                (2, DestinationKind.WIRE, 0), (2, DestinationKind.FUNCTION, 3),
                (3, DestinationKind.FUNCTION, 2), (None, DestinationKind.FUNCTION, 1),
                (None, DestinationKind.WIRE, 0), (2, DestinationKind.DROP, 0))):
            await bench.insert(ctx, flow, key_of("10.0.0.1", "10.0.0.2", ports=(flow, 9),
                                                 function_id=function),
                               destination=kind, destination_function=target)
        bench.ready = True

    def sender(port, flows, base):
        async def send(ctx):
            while not getattr(bench, "ready", False):
                await ctx.tick()
            for number in range(base, base + 35):
                flow, function = rng.choice(flows)
                octets = frame(number, flow)
                sent[port].append((flow, octets))
                await bench.send(ctx, port, octets, function_id=function)
            await ctx.tick().repeat(900 if port == "from_wire" else 1)
        return send

    async def count(ctx):
        while not getattr(bench, "ready", False) or bench.now < 400:
            await ctx.tick()
        while any(len(sent[port]) < 35 for port in sent):
            await ctx.tick()
        await ctx.tick().repeat(900)
        bench.drops = 0
        for wire in (False, True):
            for reason in DROPS:
                bench.drops += await bench.reason(ctx, reason, wire=wire)

    bench.run(run, sender("from_guests", ((0, 2), (1, 2), (2, 3), (5, 2), (8, 2), (9, 2)), 0),
              sender("from_wire", ((3, 0), (4, 0), (8, 0), (9, 0)), 100), count)

    left = {name: [octets for _, octets in packets] for name, packets in bench.out.items()}
    left["exceptions"] = [octets[64:] for octets in left["exceptions"]]
    entered = Counter(octets for packets in sent.values() for _, octets in packets)
    gone = Counter(octets for packets in left.values() for octets in packets)
    assert not gone - entered, "what leaves has entered"
    assert sum(gone.values()) + bench.drops == 70
    # To each function only what its flows sent there, in the order in which it entered.
    for port, flow, exit, function in (
            ("from_guests", 0, "to_wire", 2), ("from_guests", 1, "to_guests", 3),
            ("from_guests", 2, "to_guests", 2), ("from_wire", 3, "to_guests", 1),
            ("from_wire", 4, "to_wire", 0)):
        expected = [octets for number, octets in sent[port] if number == flow]
        got = [octets for owner, octets in bench.out[exit] if owner == function]
        assert got == [octets for octets in expected if octets in got]
        assert port == "from_wire" or got == expected, "the guests' lane loses nothing"
