"""Flows by their entries: generations, TCP flags, meters, counters, commands."""

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from offloadcard.gft.spec import (
    DestinationKind,
    EventKind,
    Opcode,
    Reason,
    Status,
    TcpFlag,
)
from tests.gft.harness import WIDE, Bench, key_of
from tests.gft.test_pipeline_paths import ETHER, KEY, TO_3, TO_WIRE, V4, frame, give_back


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


def test_a_soft_change_lifts_a_drop():
    """A flow that drops tells of its soft generation, once; the update lets it go on."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        drop = {"destination": DestinationKind.DROP, "owner": 2}
        await bench.insert(ctx, 4, KEY, **drop)
        await bench.send(ctx, "from_guests", frame(0), function_id=2)
        await bench.write(ctx, "GENERATION", {"function_id": 2, "current": 1, "hard": 0})
        # A flow at full speed is told of once, and keeps nobody else's events out.
        for _ in range(40):
            await bench.send(ctx, "from_guests", frame(1), function_id=2)
        await bench.insert(ctx, 5, key_of("10.0.0.1", "10.0.0.2", ports=(8, 9), function_id=2),
                           **drop)
        await bench.send(ctx, "from_guests", frame(1, ports=(8, 9)), function_id=2)
        await ctx.tick().repeat(50)
        for handle in (4, 5):
            event = await bench.read(ctx, "EVENT")
            assert event.valid and event.kind == EventKind.GENERATION and event.handle == handle
            await bench.write(ctx, "EVENT_POP", 1)
        assert not (await bench.read(ctx, "EVENT")).valid
        assert await bench.read(ctx, "EVENTS_LOST") == 0
        await bench.command(ctx, Opcode.UPDATE, 4, entry={**TO_3, "owner": 2, "generation": 1})
        await bench.send(ctx, "from_guests", frame(2), function_id=2)
        await bench.wait(ctx, "to_guests", 1)
        assert bench.out["to_guests"] == [(3, frame(2))]
        assert await bench.reason(ctx, Reason.FLOW_DROP) == 42
        # Written again, it tells again.
        await bench.write(ctx, "GENERATION", {"function_id": 2, "current": 2, "hard": 0})
        await bench.send(ctx, "from_guests", frame(3), function_id=2)
        await bench.wait(ctx, "to_guests", 2)
        await ctx.tick().repeat(50)
        event = await bench.read(ctx, "EVENT")
        assert event.valid and event.handle == 4

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
        assert await bench.read(ctx, "STATUS") >> 24 == 1
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
        # EXPIRE takes it out as well; the others stay.
        done = await bench.command(ctx, Opcode.EXPIRE, 0, epoch=8)
        assert done.status == Status.OK and done.handle == 11
        done = await bench.command(ctx, Opcode.EXPIRE, 0, epoch=8)
        assert done.status == Status.NOT_FOUND
        await bench.send(ctx, "from_guests", frame(1, ports=(1, 9)), function_id=2)
        await bench.send(ctx, "from_guests", frame(1, ports=(2, 9)), function_id=2)
        await bench.wait(ctx, "exceptions", 1)
        await bench.wait(ctx, "to_wire", 6)
        key = key_of("10.0.0.1", "10.0.0.2", ports=(1, 9), function_id=2)
        await bench.insert(ctx, 11, key, **TO_WIRE)

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

    bench.run(run)


def test_status_says_what_waits():
    """Many commands at once: the ring's free places, completions and events, by ``STATUS``."""
    bench = Bench(WIDE)

    async def levels(ctx):
        status = await bench.read(ctx, "STATUS")
        return tuple(status >> shift & 0xFF for shift in (8, 16, 24))

    async def run(ctx):
        await bench.start(ctx)
        assert await levels(ctx) == (8, 0, 0)
        for tag in range(11):
            await bench.write(ctx, "COMMAND", {"opcode": Opcode.NOP, "handle": 1, "tag": tag})
        await ctx.tick().repeat(100)
        assert await levels(ctx) == (5, 8, 0), "the engine waits for room"
        for tag in range(11):
            done = await bench.read(ctx, "COMPLETION")
            assert done.valid and done.tag == tag
            await bench.write(ctx, "COMPLETION_POP", 1)
            await ctx.tick().repeat(30)
        assert await levels(ctx) == (8, 0, 0)

    bench.run(run)
