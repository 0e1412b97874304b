"""Allowances of functions: each way, of the slow path, and the counters of what they cost."""

from offloadcard.gft.allowances import Allowances
from offloadcard.gft.spec import Allowance, MeterKind, Reason
from tests.gft.harness import WIDE, Bench, exceeded, key_of
from tests.gft.test_pipeline_paths import TO_3, TO_WIRE, frame, give_back

# 1000 cycles a packet, and 3000 in hand.
THREE = {"cycles": 1000 << 16, "burst": 3000}
NONE  = {"cycles": 0, "burst": 0}


async def limit(bench, ctx, function_id, kind, *, octets=NONE, packets=NONE, wire=False):
    """Set both limits of a row."""
    await bench.write(ctx, "METER_OCTETS", octets)
    await bench.write(ctx, "METER_PACKETS", packets)
    await bench.write(ctx, "METER", {"function_id": function_id, "kind": kind, "wire": wire})


def test_senders():
    """Each sender has its own bucket, whatever the entry says; octets and packets apart."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        for function in (1, 2, 4):
            key = key_of("10.0.0.1", "10.0.0.2", ports=(7, 9), function_id=function)
            await bench.insert(ctx, function, key, **TO_WIRE)
        await limit(bench, ctx, 2, MeterKind.OUT, packets=THREE)
        await limit(bench, ctx, 4, MeterKind.OUT, octets={"cycles": 100 << 16, "burst": 15_000})
        for number in range(5):
            for function in (1, 2, 4):
                await bench.send(ctx, "from_guests", frame(number), function_id=function)
        await bench.wait(ctx, "to_wire", 10)
        for function, passed in ((1, 5), (2, 3), (4, 2)):
            assert [octets for f, octets in bench.out["to_wire"] if f == function] == [
                frame(n) for n in range(passed)]
        assert await exceeded(bench, ctx, 2, Allowance.OUT_PACKETS) == 2
        assert await exceeded(bench, ctx, 4, Allowance.OUT_OCTETS) == 3
        for function, allowance in ((1, Allowance.OUT_PACKETS), (2, Allowance.OUT_OCTETS),
                                    (2, Allowance.IN_PACKETS), (4, Allowance.OUT_PACKETS)):
            assert await exceeded(bench, ctx, function, allowance) == 0
        assert await bench.reason(ctx, Reason.METER) == 5

    bench.run(run)


def attack(bench):
    """Function 2, over its own rate, sends to function 3; then the wire does. (passed, refused)"""
    told = []

    async def run(ctx):
        await bench.start(ctx)
        await bench.insert(ctx, 0, key_of("10.0.0.1", "10.0.0.2", ports=(7, 9), function_id=2),
                           **TO_3)
        await bench.insert(ctx, 1, key_of("10.0.0.1", "10.0.0.2", ports=(7, 9),
                                          function_id=None), **TO_3)
        await limit(bench, ctx, 2, MeterKind.OUT, packets={"cycles": 1000 << 16, "burst": 1000})
        await limit(bench, ctx, 3, MeterKind.IN, packets={"cycles": 2000 << 16, "burst": 6000})
        for number in range(20):
            await bench.send(ctx, "from_guests", frame(number), function_id=2)
        for number in range(4):
            await bench.send(ctx, "from_wire", frame(100 + number))
        await ctx.tick().repeat(100)
        told.extend([len(bench.out["to_guests"]),
                     await exceeded(bench, ctx, 2, Allowance.OUT_PACKETS),
                     await exceeded(bench, ctx, 3, Allowance.IN_PACKETS),
                     await exceeded(bench, ctx, 2, Allowance.IN_PACKETS)])
        # What the slow path itself forwards is charged to nobody.
        await bench.inject(ctx, frame(9), verdict=2, direction=1, destination=2,
                           destination_function=3)
        await bench.wait(ctx, "to_guests", told[0] + 1)

    bench.run(run)
    return told


def test_receivers(monkeypatch):
    """A receiver's bucket is for guests and wire together, and pays for nothing that its sender
    may not send."""
    assert attack(Bench(WIDE)) == [3, 19, 2, 0]
    monkeypatch.setattr(Allowances, "_spares_receiver", False)
    from tests.gft.harness import Compiled
    Compiled.made.pop(WIDE)
    try:
        assert attack(Bench(WIDE))[0] == 1, "the mutant must be seen"
    finally:
        Compiled.made.pop(WIDE)


def test_new_flows():
    """Exceptions a second: those over it are dropped, those that come back are not counted, and
    neither is another function nor the wire, which has a row of its own."""
    bench = Bench(WIDE)

    async def run(ctx):
        await bench.start(ctx)
        await limit(bench, ctx, 2, MeterKind.NEW_FLOWS, packets=THREE)
        await limit(bench, ctx, 0, MeterKind.NEW_FLOWS, wire=True,
                    packets={"cycles": 1000 << 16, "burst": 1000})
        for number in range(8):
            for function in (0, 2):
                await bench.send(ctx, "from_guests", frame(number, ports=(number, 1)),
                                 function_id=function)
        for number in range(3):
            await bench.send(ctx, "from_wire", frame(number, ports=(number, 2)))
        await bench.wait(ctx, "exceptions", 12)
        await ctx.tick().repeat(50)
        assert len(bench.out["exceptions"]) == 12
        assert await exceeded(bench, ctx, 2, Allowance.NEW_FLOWS) == 5
        assert await exceeded(bench, ctx, 0, Allowance.NEW_FLOWS, wire=True) == 2
        assert await exceeded(bench, ctx, 0, Allowance.NEW_FLOWS) == 0
        assert await bench.reason(ctx, Reason.NEW_FLOWS) == 5
        # Back and missing again: that is no new flow.
        for number in range(12):
            await give_back(bench, ctx, number)
        await bench.wait(ctx, "exceptions", 24)
        assert await exceeded(bench, ctx, 2, Allowance.NEW_FLOWS) == 5

    bench.run(run)
