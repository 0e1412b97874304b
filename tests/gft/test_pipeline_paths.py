"""The slow path, order around it, drops and their reasons, generations, meters, counters."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

from offloadcard.gft.spec import (
    ORDER_BUDGET,
    DestinationKind,
    Direction,
    EventKind,
    Opcode,
    Reason,
    Status,
    TcpFlag,
    Verdict,
)
from tests.gft.harness import NARROW, WIDE, Bench, key_of

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


def test_budget_and_limit():
    """A slot takes its budget, a function its limit; what comes then is dropped and counted."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.write(ctx, "EXCEPTION_LIMIT", ORDER_BUDGET + 3)
        for number in range(ORDER_BUDGET + 2):
            await bench.send(ctx, "from_guests", frame(number), function_id=2)
        await bench.wait(ctx, "exceptions", ORDER_BUDGET)
        assert await bench.reason(ctx, Reason.EXCEPTION_LIMIT) == 2
        # Another flow of this function: three more. Another function has its own limit.
        for number in range(5):
            await bench.send(ctx, "from_guests", frame(number, ports=(8, 9)), function_id=2)
        await bench.send(ctx, "from_guests", frame(8, ports=(9, 9)), function_id=1)
        await bench.wait(ctx, "exceptions", ORDER_BUDGET + 4)
        assert await bench.reason(ctx, Reason.EXCEPTION_LIMIT) == 4
        # One back is not enough: the slot must be empty before it takes more.
        await give_back(bench, ctx, 0, Verdict.DROP)
        await bench.send(ctx, "from_guests", frame(40), function_id=2)
        for number in range(1, ORDER_BUDGET):
            await give_back(bench, ctx, number, Verdict.DROP)
        await bench.send(ctx, "from_guests", frame(41), function_id=2)
        await bench.wait(ctx, "exceptions", ORDER_BUDGET + 5)
        assert bench.exception(ORDER_BUDGET + 4)[1] == frame(41)

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
        for number in range(5):
            await bench.send(ctx, "from_guests", frame(number, size=1000), function_id=2)
        await bench.send(ctx, "from_guests", frame(0, ports=(1, 1)), function_id=2)
        await bench.wait(ctx, "to_wire", 1)
        assert await bench.reason(ctx, Reason.EXCEPTION_FULL) == 2
        bench.open = True
        await bench.wait(ctx, "exceptions", 3)
        await bench.send(ctx, "from_guests", frame(6, size=1000), function_id=2)
        await bench.wait(ctx, "exceptions", 4)

    bench.run(run)


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


def test_generations():
    """Soft: forwarded and told. Hard: never forwarded by the old action."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.insert(ctx, 4, KEY, **TO_3, owner=2, layer_set=1, generation=0xFFFF)

        async def bump(current, hard):
            await bench.write(ctx, "GENERATION", {"function_id": 2, "layer_set": 1,
                                                  "current": current, "hard": hard})

        await bump(0xFFFF, 0xFFFF)
        await bench.send(ctx, "from_guests", frame(0), function_id=2)
        await bench.wait(ctx, "to_guests", 1)
        assert not (await bench.read(ctx, "EVENT")).valid
        await bump(0, 0xFFFF)  # one newer, modulo 2**16
        await bench.send(ctx, "from_guests", frame(1), function_id=2)
        await bench.wait(ctx, "to_guests", 2)
        event = await bench.read(ctx, "EVENT")
        assert event.valid and event.kind == EventKind.GENERATION and event.handle == 4
        await bench.write(ctx, "EVENT_POP", 1)
        assert not (await bench.read(ctx, "EVENT")).valid
        await bump(0, 0)
        await bench.send(ctx, "from_guests", frame(2), function_id=2)
        await bench.wait(ctx, "exceptions", 1)
        assert bench.exception(0)[0].reason == Reason.GENERATION
        # The policy says the same again: the flow is renewed.
        await bench.command(ctx, Opcode.UPDATE, 4,
                            entry={**TO_3, "owner": 2, "layer_set": 1, "generation": 0})
        await give_back(bench, ctx, 0)
        await bench.wait(ctx, "to_guests", 3)
        assert bench.out["to_guests"][2] == (3, frame(2))

    bench.run(run)


def test_tcp_flags():
    """SYN, FIN and RST: by exception or by an event, as the entry asks."""
    bench = Bench(WIDE)

    def segment(flags, sport):
        return bytes(Ether(**ETHER) / IP(**V4) / TCP(sport=sport, dport=80, flags=flags))

    async def run(ctx):
        await bench.start(ctx)
        for number in range(2):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(number, 80), protocol=6, function_id=2)
            await bench.insert(ctx, number, key, **TO_WIRE,
                               **({"tcp_exception": TcpFlag.FIN | TcpFlag.RST} if number else
                                  {"tcp_notify": TcpFlag.FIN}))
        for flags in ("A", "FA"):
            await bench.send(ctx, "from_guests", segment(flags, 0), function_id=2)
        await bench.wait(ctx, "to_wire", 2)
        event = await bench.read(ctx, "EVENT")
        assert event.valid and event.kind == EventKind.TCP_FLAGS and event.handle == 0
        assert event.tcp_flags == TcpFlag.FIN
        for flags in ("A", "FA", "A"):
            await bench.send(ctx, "from_guests", segment(flags, 1), function_id=2)
        await bench.wait(ctx, "exceptions", 2)  # the last A stays behind the FIN
        for number in range(2):
            await give_back(bench, ctx, number)
        await bench.wait(ctx, "to_wire", 5)
        assert [octets for _, octets in bench.out["to_wire"][2:]] == [
            segment(flags, 1) for flags in ("A", "FA", "A")]

    bench.run(run)


def test_entry_reasons():
    """Flows that drop, whose TTL ends, that cannot be edited so, that ask for the slow path."""
    bench = Bench(WIDE)
    flows = [({"destination": DestinationKind.DROP}, None),
             ({**TO_WIRE, "decrement_ttl": 1}, Reason.TTL),
             ({**TO_WIRE, "set_source_port": 1}, Reason.NOT_EDITABLE),
             ({"destination": DestinationKind.EXCEPTION}, Reason.ENTRY)]

    async def run(ctx):
        await bench.start(ctx)
        for number, (entry, _) in enumerate(flows):
            key = key_of("10.0.0.1", "10.0.0.2", protocol=50, function_id=number)
            await bench.insert(ctx, number, key, **entry)
        for number in range(len(flows)):
            await bench.send(ctx, "from_guests", Ether(**ETHER) / IP(**V4, ttl=1, proto=50)
                             / bytes(30), function_id=number)
        await bench.wait(ctx, "exceptions", 3)
        for number in range(3):
            assert bench.exception(number)[0].reason == flows[number + 1][1]
        assert await bench.reason(ctx, Reason.FLOW_DROP) == 1

    bench.run(run)


def test_meter_bites():
    """A function's bucket holds three packets; its neighbour's is its own."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        for function in (1, 2):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(7, 9), function_id=function)
            await bench.insert(ctx, function, key, **TO_WIRE, metered=1, meter=function)
        # 1000 cycles a packet, and 3000 in hand.
        await bench.write(ctx, "METER_PACKETS", {"cycles": 1000 << 16, "burst": 3000})
        await bench.write(ctx, "METER", 2)
        for number in range(5):
            for function in (1, 2):
                await bench.send(ctx, "from_guests", frame(number), function_id=function)
        await bench.wait(ctx, "to_wire", 8)
        assert [octets for function, octets in bench.out["to_wire"] if function == 2] == [
            frame(n) for n in range(3)]
        assert await bench.reason(ctx, Reason.METER) == 2

    bench.run(run)


def test_counters_and_scan():
    """Packets, octets and epoch of a flow; the scan finds who was idle."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.write(ctx, "EPOCH", 5)
        for number in range(3):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(number, 9), function_id=2)
            await bench.insert(ctx, 10 + number, key, **TO_WIRE)
        await bench.write(ctx, "EPOCH", 9)
        for _ in range(4):
            await bench.send(ctx, "from_guests", frame(1, ports=(0, 9)), function_id=2)
        await bench.send(ctx, "from_guests", frame(1, ports=(2, 9)), function_id=2)
        await bench.wait(ctx, "to_wire", 5)
        await bench.write(ctx, "FLOW", 10)
        await ctx.tick()
        assert await bench.read(ctx, "FLOW_PACKETS") == 4
        assert await bench.read(ctx, "FLOW_OCTETS") == 4 * len(frame(1))
        assert await bench.read(ctx, "FLOW_SEEN") == 9
        done = await bench.command(ctx, Opcode.SCAN, 0, epoch=8)
        assert done.status == Status.OK and done.handle == 11
        done = await bench.command(ctx, Opcode.SCAN, 12, epoch=8)
        assert done.status == Status.NOT_FOUND

    bench.run(run)


def test_disabled_and_oversized():
    """Before the processor enables a direction nothing passes; too long never."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.send(ctx, "from_wire", frame(1))
        await bench.start(ctx)
        await bench.send(ctx, "from_wire", frame(1, size=9300))
        await bench.insert(ctx, 0, KEY, **TO_WIRE, push=1)
        await bench.send(ctx, "from_guests", frame(1, size=9174), function_id=2)
        await bench.send(ctx, "from_guests", frame(1, size=9120), function_id=2)
        await bench.wait(ctx, "to_wire", 1)
        assert await bench.reason(ctx, Reason.DISABLED, wire=True) == 1
        assert await bench.reason(ctx, Reason.OVERSIZED, wire=True) == 1
        assert await bench.reason(ctx, Reason.OVERSIZED) == 1

    bench.run(run)


def test_commands():
    """Every status of the command ring."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await bench.insert(ctx, 3, KEY, **TO_WIRE)
        expected = [
            ((Opcode.INSERT, 4), Status.EXISTS, 3),
            ((Opcode.INSERT, 3), Status.BUSY_ROW, 3),
            ((Opcode.INSERT, 64), Status.OUT_OF_RANGE, None),
            ((Opcode.DELETE, 9), Status.NOT_FOUND, 9),
            ((Opcode.UPDATE, 9), Status.NOT_FOUND, 9),
            ((Opcode.NOP, 1), Status.OK, 1),
            ((99, 1), Status.BAD_OPCODE, 1),
            ((Opcode.DELETE, 3), Status.OK, 3),
            ((Opcode.DELETE, 3), Status.NOT_FOUND, 3),
            ((Opcode.INSERT, 4), Status.OK, 4),
        ]
        for (opcode, handle), status, row in expected:
            done = await bench.command(ctx, opcode, handle)
            assert done.status == status, (opcode, handle)
            assert row is None or done.handle == row
        await bench.send(ctx, "from_guests", frame(1), function_id=2)
        await bench.wait(ctx, "to_wire", 1)
        # Under another seed, with an empty table, the same key is found again.
        await bench.write(ctx, "SEED", 0x1234_5678_9ABC_DEF0)
        await bench.start(ctx)
        await bench.insert(ctx, 4, KEY, **TO_3)
        await bench.send(ctx, "from_guests", frame(1), function_id=2)
        await bench.wait(ctx, "to_guests", 1)

    bench.run(run)
