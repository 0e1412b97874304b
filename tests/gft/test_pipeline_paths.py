"""The slow path, order around it, drops and their reasons."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

from offloadcard.gft.spec import Allowance, DestinationKind, Direction, Reason, Verdict
from tests.gft.harness import NARROW, WIDE, Bench, exceeded, key_of

ETHER = {"src": "02:00:00:00:00:0a", "dst": "02:00:00:00:00:0b"}
V4 = {"src": "10.0.0.1", "dst": "10.0.0.2"}
KEY = key_of("10.0.0.1", "10.0.0.2", ports=(7, 9), function_id=2)
TO_WIRE = {"destination": DestinationKind.WIRE}
TO_3 = {"destination": DestinationKind.FUNCTION, "destination_function": 3}


def frame(number, *, ports=(7, 9), size=30):
    """A frame of the flow ``KEY`` that can be told from its fellows."""
    return bytes(Ether(**ETHER) / IP(**V4) / UDP(sport=ports[0], dport=ports[1])
                 / (bytes([number]) * size))


async def give_back(bench, ctx, number, verdict=Verdict.LOOKUP, **more):
    """What the slow path owes: the packet comes back once."""
    found, octets = bench.exception(number)
    await bench.inject(ctx, octets, verdict=verdict, direction=found.direction,
                       counted=found.counted, order_slot=found.order_slot,
                       function_id=found.function_id, **more)


def test_first_packet_and_order():
    """Packets of a flow never reorder around the first: what is behind it follows it."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        # Two packets miss.
        for number in range(2):
            await bench.send(ctx, "from_guests", frame(number), function_id=2)
        await bench.wait(ctx, "exceptions", 2)
        found, octets = bench.exception(0)
        assert octets == frame(0)
        assert found.reason == Reason.MISS and found.counted and not found.hit
        assert found.function_id == 2 and found.direction == Direction.GUEST
        assert {name: found.key[name] for name in KEY} == {
            name: int(value) for name, value in KEY.items()}
        assert found.l3_offset == 14
        # The flow is there now, but what comes is behind those two; other flows are not held.
        await bench.insert(ctx, 1, KEY, **TO_WIRE)
        other = key_of("10.0.0.1", "10.0.0.2", ports=(8, 9), function_id=2)
        await bench.insert(ctx, 2, other, **TO_3)
        await bench.send(ctx, "from_guests", frame(2), function_id=2)
        await bench.send(ctx, "from_guests", frame(9, ports=(8, 9)), function_id=2)
        await bench.wait(ctx, "exceptions", 3)
        await bench.wait(ctx, "to_guests", 1)
        held, _ = bench.exception(2)
        assert held.reason == Reason.ORDER and held.hit and held.handle == 1
        assert held.order_slot == found.order_slot
        # The slow path gives back in order; the last one opens the way for the fourth.
        for number in range(3):
            await give_back(bench, ctx, number)
        await bench.wait(ctx, "to_wire", 3)
        await bench.send(ctx, "from_guests", frame(3), function_id=2)
        await bench.wait(ctx, "to_wire", 4)
        assert [octets for _, octets in bench.out["to_wire"]] == [frame(n) for n in range(4)]
        assert bench.out["to_guests"] == [(3, frame(9, ports=(8, 9)))]
        assert await bench.reason(ctx, Reason.ORDER) == 1
        assert await bench.reason(ctx, Reason.MISS) == 2
        assert await bench.reason(ctx, Reason.NONE) == 5

    bench.run(run)


def test_order_race():
    """A packet that enters right behind the last one given back is not held, nor ahead of it."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.send(ctx, "from_guests", frame(0, size=900), function_id=2)
        await bench.wait(ctx, "exceptions", 1)
        await bench.insert(ctx, 1, KEY, **TO_WIRE)
        ctx.set(bench.dut.from_guests.valid, 0)
        await give_back(bench, ctx, 0)
        for number in range(1, 12):
            await bench.send(ctx, "from_guests", frame(number), function_id=2)
        for _ in range(150):
            await ctx.tick()

    bench.run(run)
    held = [bench.exception(n)[1] for n in range(1, len(bench.out["exceptions"]))]
    left = [octets for _, octets in bench.out["to_wire"]]
    assert left[0] == frame(0, size=900)
    # Those held are the first of the others, and the rest follow in order.
    assert held + left[1:] == [frame(n) for n in range(1, 12)]


def test_verdicts():
    """DROP ends a packet and closes its slot; FORWARD sends it as it is."""
    bench = Bench(NARROW)

    async def run(ctx):
        await bench.start(ctx)
        for number in range(3):
            await bench.send(ctx, "from_wire", frame(number))
        await bench.wait(ctx, "exceptions", 3)
        await give_back(bench, ctx, 0, Verdict.DROP)
        await give_back(bench, ctx, 1, Verdict.FORWARD, destination=DestinationKind.FUNCTION,
                        destination_function=3)
        await give_back(bench, ctx, 2, Verdict.FORWARD, destination=DestinationKind.FUNCTION,
                        destination_function=7)
        await bench.wait(ctx, "to_guests", 1)
        assert bench.out["to_guests"] == [(3, frame(1))]
        await bench.inject(ctx, frame(4), verdict=Verdict.FORWARD, direction=1,
                           destination=DestinationKind.WIRE)
        await bench.wait(ctx, "to_wire", 1)
        # All came back, so the slot is open for a flow of it.
        await bench.insert(ctx, 0, key_of("10.0.0.1", "10.0.0.2", ports=(7, 9), function_id=None),
                           **TO_3)
        await bench.send(ctx, "from_wire", frame(5))
        await bench.wait(ctx, "to_guests", 2)
        assert bench.out["to_guests"][1] == (3, frame(5))
        assert await bench.reason(ctx, Reason.VERDICT, wire=True) == 1
        assert await bench.reason(ctx, Reason.BAD_DESTINATION, wire=True) == 1

    bench.run(run)


def test_length_that_lies():
    """A packet that is shorter or longer than it says is dropped: no octet of another shows."""
    bench = Bench(NARROW)

    async def run(ctx):
        await bench.start(ctx)
        for length in (31, 200):
            await bench.inject(ctx, frame(1, size=60), verdict=Verdict.FORWARD,
                               destination=DestinationKind.WIRE, length=length)
        await bench.send(ctx, "from_guests", frame(2), function_id=2)
        await bench.wait(ctx, "exceptions", 1)
        assert await bench.reason(ctx, Reason.DAMAGED) == 2

    bench.run(run)
    assert not bench.out["to_wire"]


BUDGET = WIDE.gft_order_budget


def test_budget_and_limit():
    """A slot takes its budget, a function its limit; what comes then is dropped and counted."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.write(ctx, "EXCEPTION_LIMIT", BUDGET + 3)
        for number in range(BUDGET + 2):
            await bench.send(ctx, "from_guests", frame(number), function_id=2)
        await bench.wait(ctx, "exceptions", BUDGET)
        assert await bench.reason(ctx, Reason.EXCEPTION_LIMIT) == 2
        # Another flow of this function: three more. Another function has its own limit.
        for number in range(5):
            await bench.send(ctx, "from_guests", frame(number, ports=(8, 9)), function_id=2)
        await bench.send(ctx, "from_guests", frame(8, ports=(9, 9)), function_id=1)
        await bench.wait(ctx, "exceptions", BUDGET + 4)
        assert await bench.reason(ctx, Reason.EXCEPTION_LIMIT) == 4
        assert [await exceeded(bench, ctx, f, Allowance.EXCEPTIONS) for f in (1, 2)] == [0, 4]
        # One back is not enough: the slot must be empty before it takes more.
        await give_back(bench, ctx, 0, Verdict.DROP)
        await bench.send(ctx, "from_guests", frame(40), function_id=2)
        for number in range(1, BUDGET):
            await give_back(bench, ctx, number, Verdict.DROP)
        await ctx.tick().repeat(4)  # what comes back has the longer way in
        await bench.send(ctx, "from_guests", frame(41), function_id=2)
        await bench.wait(ctx, "exceptions", BUDGET + 5)
        assert bench.exception(BUDGET + 4)[1] == frame(41)

    bench.run(run)


def test_exception_queue_full():
    """The slow path stands still: no lane does; what has no room is dropped and counted."""
    bench = Bench(NARROW, stalls=0)
    bench.stalls["exceptions"] = lambda: not bench.open
    bench.open = False

    async def run(ctx):
        await bench.start(ctx)
        await bench.insert(ctx, 0, key_of("10.0.0.1", "10.0.0.2", ports=(1, 1), function_id=2),
                           **TO_WIRE)
        for number in range(6):
            await bench.send(ctx, "from_guests", frame(number, size=1000), function_id=2)
        await bench.send(ctx, "from_guests", frame(0, ports=(1, 1)), function_id=2)
        await bench.wait(ctx, "to_wire", 1)
        # Half of the queue is function 2's; of the rest another may have one, while it has none.
        assert await bench.reason(ctx, Reason.EXCEPTION_FULL) == 2
        for number in range(2):
            await bench.send(ctx, "from_guests", frame(10 + number, size=1000), function_id=1)
        await bench.send(ctx, "from_guests", frame(1, ports=(1, 1)), function_id=2)
        await bench.wait(ctx, "to_wire", 2)
        assert await exceeded(bench, ctx, 2, Allowance.ROOM) == 2
        assert await exceeded(bench, ctx, 1, Allowance.ROOM) == 1
        bench.open = True
        await bench.wait(ctx, "exceptions", 5)
        await bench.send(ctx, "from_guests", frame(6, size=1000), function_id=2)
        await bench.wait(ctx, "exceptions", 6)

    bench.run(run)
    assert bench.exception(4)[0].function_id == 1


def test_bad_frames():
    """Each fault is dropped or goes to the slow path, and its reason is counted."""
    udp = UDP(sport=7, dport=9)
    ip = Ether(**ETHER) / IP(**V4)
    vxlan = Ether(**ETHER) / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=1, dport=4789, chksum=0)
    good = frame(1)
    long_headers = (Ether(**ETHER) / IP(src="1.1.1.1", dst="2.2.2.2")
                    / UDP(sport=1, dport=4789, chksum=0) / VXLAN(vni=1, flags=8) / Ether(**ETHER)
                    / IPv6(src="::1", dst="::2") / TCP())
    drops = [
        (good[:13], Reason.TRUNCATED),
        (good[:30], Reason.TRUNCATED),
        (good[:-1], Reason.TRUNCATED),
        (bytes(ip / udp)[:-8] + b"", Reason.TRUNCATED),
        (bytes(ip / TCP())[:14] + bytes(Ether(**ETHER) / IP(**V4, len=30, proto=6))[14:]
         + bytes(10), Reason.TRUNCATED),
        (good[:14] + b"\x65" + good[15:], Reason.BAD_HEADER),
        (bytes(Ether(**ETHER) / IP(**V4, ihl=4) / udp), Reason.BAD_HEADER),
        (bytes(Ether(**ETHER) / IP(**V4, len=19) / udp), Reason.BAD_HEADER),
        (good[:22] + bytes([good[22] ^ 1]) + good[23:], Reason.BAD_CHECKSUM),
        (bytes(vxlan / VXLAN(vni=1, flags=0) / Ether() / IP() / udp), Reason.BAD_VXLAN),
        (bytes(vxlan / VXLAN(vni=1, flags=8) / b"short"), Reason.BAD_VXLAN),
        (bytes(Ether(**ETHER) / IP(src="1.1.1.1", dst="2.2.2.2")
               / UDP(sport=1, dport=4789, len=90, chksum=0) / VXLAN(vni=1, flags=8)
               / Ether() / IP() / udp / bytes(60)), Reason.BAD_VXLAN),
        (bytes(vxlan / VXLAN(vni=1, flags=8) / good[:-1]), Reason.TRUNCATED),
        (bytes(vxlan / VXLAN(vni=1, flags=8) / (good[:22] + b"\x07" + good[23:])),
         Reason.BAD_CHECKSUM),
    ]
    exceptions = [
        (bytes(Ether(**ETHER) / IP(**V4, flags="MF") / udp / bytes(16)), Reason.FRAGMENT),
        (bytes(Ether(**ETHER) / IP(**V4, frag=2) / bytes(16)), Reason.FRAGMENT),
        (bytes(Ether(**ETHER) / IPv6() / IPv6ExtHdrFragment() / udp), Reason.FRAGMENT),
        (bytes(Ether(**ETHER) / IPv6() / IPv6ExtHdrHopByHop() / udp), Reason.EXTENSION),
        (bytes(Ether(**ETHER) / ARP()), Reason.MISS),
        (bytes(Ether(**ETHER) / IP(**V4) / ICMP()), Reason.MISS),
        (bytes(long_headers), Reason.MISS),
        (bytes(vxlan / VXLAN(vni=1, flags=8) / Ether(**ETHER)
               / IP(**V4, options=[IPOption_NOP()] * 40) / TCP()), Reason.HEADERS_TOO_LONG),
    ]
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.write(ctx, "EXCEPTION_LIMIT", 1000)
        for octets, _ in drops + exceptions:
            await bench.send(ctx, "from_wire", octets)
        await bench.send(ctx, "from_wire", good, error=1)
        await bench.wait(ctx, "exceptions", len(exceptions))
        for number, (octets, reason) in enumerate(exceptions):
            found, got = bench.exception(number)
            assert got == octets and found.reason == reason, number
        expected = [reason for _, reason in drops] + [Reason.DAMAGED]
        for reason in set(expected):
            assert await bench.reason(ctx, reason, wire=True) == expected.count(reason), reason

    bench.run(run)
