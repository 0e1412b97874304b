"""The MAC: line rate, padding, and frames that must not come in."""

import random

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.sim import Simulator

from offloadcard.config import MODEL, TINY
from offloadcard.rtl.mac import Mac
from offloadcard.rtl.mac_receive import MacReceive
from offloadcard.rtl.mac_transmit import MacTransmit
from offloadcard.rtl.ports import PORT_WIRE
from offloadcard.rtl.spec_card import MANAGEMENT, wire_octets
from tests.support.formal import ProofFailed, prove
from tests.support.frames import collect, packet_beats, wire_beats
from tests.support.management import management_access
from tests.support.streams import Stalls, stream_get, stream_put_all


def octets_of(rng, count):
    return bytes(rng.randrange(256) for _ in range(count))


def transmit(frames, *, width, mbps, mhz=250, chance=0.0, errors=()):
    """Send ``frames``; return what the wire saw and the cycles from first to last beat."""
    dut = MacTransmit(data_width=width, function_id_width=4, port_mbps=mbps, clock_mhz=mhz)
    beats, cycles = [], []

    async def put(ctx):
        for number, frame in enumerate(frames):
            await stream_put_all(ctx, dut.packets,
                                 packet_beats(frame, lanes=width // 8, error=number in errors),
                                 Stalls(number, chance / 2))

    async def take(ctx):
        stalls, cycle = Stalls(5, chance), 0
        while sum(beat.last for beat in beats) < len(frames):
            ready = not stalls()
            ctx.set(dut.wire.ready, ready)
            *_, valid, payload = await ctx.tick().sample(dut.wire.valid, dut.wire.payload)
            cycle += 1
            if valid and ready:
                beats.append(payload)
                cycles.append(cycle)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put, background=True)
    simulator.add_testbench(take)
    simulator.run()
    return collect(beats), cycles[-1] - cycles[0] + 1


@pytest.mark.parametrize("width", [64, 512])
def test_frames_are_padded_and_nothing_leaks(width):
    """Lanes after the packet's end are zero, whatever the producer left in them."""
    rng = random.Random(3)
    frames = [octets_of(rng, n) for n in (1, 14, 59, 60, 61, 64, 65, 128, 300)]
    seen, _ = transmit(frames, width=width, mbps=100_000, chance=0.3, errors={3})
    assert seen == [(frame.ljust(60, b"\0"), number == 3) for number, frame in enumerate(frames)]


@pytest.mark.parametrize("length", [60, 64, 101, 1514])
def test_line_rate(length):
    """At 512 bits and 100 Gb/s the frames leave at the line's rate: 148.8 Mpps of 60 octets."""
    count = 200 if length < 200 else 12
    _, cycles = transmit([bytes(length)] * count, width=512, mbps=100_000)
    line = (count - 1) * wire_octets(length) / 50
    assert line - 1 <= cycles - (length + 63) // 64 <= line + 2


def receive(frames, *, width=64, limit=1518, depth=512, ready=1.0):
    """Let in ``frames`` of ``(octets, error)``; return packets and a count of each reason."""
    dut = MacReceive(data_width=width, function_id_width=4, max_frame_octets=limit, depth=depth)
    beats, events = [], {"kept": 0, "octets": 0}

    async def put(ctx):
        for octets, error in frames:
            for beat in wire_beats(octets, lanes=width // 8, error=error):
                ctx.set(dut.wire.payload, beat)
                ctx.set(dut.wire.valid, 1)
                await ctx.tick()
        ctx.set(dut.wire.valid, 0)
        await ctx.tick().repeat(800 if ready else 8)

    async def take(ctx):
        if not ready:
            return
        stalls = Stalls(2, 1 - ready)
        while True:
            while stalls():
                await ctx.tick()
            beats.append(await stream_get(ctx, dut.packets))

    async def watch(ctx):
        async for *_, kept, octets, why in ctx.tick().sample(dut.kept, dut.kept_octets,
                                                             dut.dropped):
            events["kept"] += kept
            events["octets"] += kept * octets
            for name in ("error", "runt", "oversize", "overrun", "disabled"):
                events[name] = events.get(name, 0) + why[name]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(take, background=True)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return beats, events


@pytest.mark.parametrize("width", [64, 512])
def test_only_sound_frames_come_in(width):
    rng = random.Random(9)
    lengths = [60, 59, 1518, 1519, 1, 100, 61, 9000, 64]
    frames = [(octets_of(rng, n), n == 100) for n in lengths]
    beats, events = receive(frames, width=width, ready=0.8)
    sound = [f for f, error in frames if 60 <= len(f) <= 1518 and not error]
    assert collect(beats) == [(frame, False) for frame in sound]
    assert {beat.meta.port for beat in beats} == {PORT_WIRE}
    assert events == {"kept": 4, "octets": sum(map(len, sound)), "error": 1, "runt": 2,
                      "oversize": 2, "overrun": 0, "disabled": 0}


def test_the_wire_is_never_stalled():
    """Nobody takes the packets: what has no room is lost whole, and counted."""
    frames = [(bytes(64), False)] * 60
    beats, events = receive(frames, limit=512, depth=64, ready=0)
    # 8 beats a frame: the memory holds 8 frames, the two buffers behind it a little more.
    assert beats == [] and events["kept"] + events["overrun"] == 60
    assert 8 <= events["kept"] <= 9


def test_cut_and_holed_frames_are_errors():
    """A frame without an end, one with a hole inside, a tail without a head."""
    dut = MacReceive(data_width=64, function_id_width=4, max_frame_octets=1518, depth=256)
    good = wire_beats(bytes(range(80)), lanes=8)
    holed = wire_beats(bytes(80), lanes=8)
    holed[3]["valid_bytes"] = 7
    counts, packets = {"error": 0, "kept": 0}, []

    async def put(ctx):
        for beat in [*good[4:], *good[:5], *holed, *good]:
            ctx.set(dut.wire.payload, beat)
            ctx.set(dut.wire.valid, 1)
            await ctx.tick()
        ctx.set(dut.wire.valid, 0)
        ctx.set(dut.packets.ready, 1)
        for _ in range(40):
            *_, valid, beat = await ctx.tick().sample(dut.packets.valid, dut.packets.payload)
            if valid:
                packets.append(beat)

    async def watch(ctx):
        async for *_, kept, why in ctx.tick().sample(dut.kept, dut.dropped):
            counts["kept"] += kept
            counts["error"] += why.error

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert collect(packets) == [(bytes(range(80)), False)]
    assert counts == {"error": 2, "kept": 1}


def test_mac_back_to_back_at_model_width():
    """148.8 Mpps of 60 octets from the wire: 25 frames in 42 cycles, none lost or late."""
    frames = [(bytes([n]) * 60, False) for n in range(100)]
    beats, events = receive(frames, width=512, depth=64, limit=1518)
    assert [frame[0] for frame, _ in collect(beats)] == list(range(100))
    assert events["kept"] == 100


def test_registers_of_the_mac():
    dut = Mac(TINY)
    frame = bytes(range(100))

    async def story(ctx):
        async def read(name):
            return (await management_access(ctx, dut.management, MANAGEMENT[name].offset))[0]

        async def put(frame, error=False):
            for beat in wire_beats(frame, lanes=8, error=error):
                ctx.set(dut.wire_rx.payload, beat)
                ctx.set(dut.wire_rx.valid, 1)
                await ctx.tick()
            ctx.set(dut.wire_rx.valid, 0)
            await ctx.tick().repeat(8)

        ctx.set(dut.to_card.ready, 1)
        ctx.set(dut.wire_tx.ready, 1)
        assert await read("ID") == int.from_bytes(b"OFFLOADC", "little")
        await put(frame)
        await put(frame, error=True)
        await stream_put_all(ctx, dut.from_card, packet_beats(frame[:30], lanes=8))
        await ctx.tick().repeat(20)
        assert [await read(name) for name in ("RX_FRAMES", "RX_OCTETS", "RX_ERRORS", "TX_FRAMES",
                                              "TX_OCTETS")] == [1, 100, 1, 1, 60]
        # The provider closes the port: nothing comes in, what the card sends is swallowed.
        await management_access(ctx, dut.management, MANAGEMENT["MAC_CONTROL"].offset, 0)
        await put(frame)
        await stream_put_all(ctx, dut.from_card, packet_beats(frame, lanes=8))
        await ctx.tick().repeat(20)
        assert [await read(name) for name in ("RX_FRAMES", "RX_DISABLED", "TX_FRAMES")] == [1, 1, 1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(story)
    simulator.run()


def test_bad_parameters():
    with pytest.raises(ValueError, match="`depth` must hold a frame of 1518 octets, not 16"):
        MacReceive(data_width=64, function_id_width=4, max_frame_octets=1518, depth=16)
    with pytest.raises(ValueError, match="`port_mbps` must be at least"):
        MacTransmit(data_width=64, function_id_width=4, port_mbps=1, clock_mhz=250)


def test_model_elaborates():
    Mac(MODEL).elaborate(None)


class TransmitSpec(Elaboratable):
    """Two frames never start closer than the line allows, less the cycle's own octets."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        packets = dut.packets
        m.d.comb += [Assume(packets.p.first), Assume(packets.p.last), dut.wire.ready.eq(1),
                     Assume((packets.p.meta.length >= 1) & (packets.p.meta.length <= 8))]
        # Frames of 60 octets at 8 octets a cycle: 84 octets of time are 10.5 cycles.
        since, seen = Signal(8), Signal()
        with m.If(dut.wire.valid & dut.wire.p.first):
            m.d.sync += [since.eq(1), seen.eq(1)]
            with m.If(seen):
                m.d.comb += Assert(since >= 10)
        with m.Else():
            m.d.sync += since.eq(since + 1)
        return m


def _slow(kind):
    return kind(data_width=64, function_id_width=1, port_mbps=6400, clock_mhz=100)


@pytest.mark.formal
def test_spec_the_line_is_never_outrun():
    prove(TransmitSpec(_slow(MacTransmit)), depth=26)


@pytest.mark.formal
def test_spec_sees_a_mutant_of_transmit():
    class Broken(MacTransmit):
        _overhead = 0

    with pytest.raises(ProofFailed):
        prove(TransmitSpec(_slow(Broken)), depth=26)


class ReceiveSpec(Elaboratable):
    """No beat of a frame with an error reaches the card; output keeps the stream rules."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        beat = dut.wire.p
        # The first octet of each beat says whether its frame is going to end with an error.
        inside, mark = Signal(), Signal()
        with m.If(dut.wire.valid):
            m.d.comb += Assume(beat.first == ~inside)
            m.d.sync += [inside.eq(~beat.last), mark.eq(beat.data[0][0])]
            with m.If(inside):
                m.d.comb += Assume(beat.data[0][0] == mark)
            with m.If(beat.last):
                m.d.comb += Assume(beat.error == beat.data[0][0])
        with m.If(dut.packets.valid):
            m.d.comb += Assert(~dut.packets.p.data[0][0])
        return m


def _short(kind):
    return kind(data_width=512, function_id_width=1, max_frame_octets=128, depth=2)


@pytest.mark.formal
def test_spec_no_broken_frame_comes_in():
    prove(ReceiveSpec(_short(MacReceive)), depth=8)


@pytest.mark.formal
def test_spec_sees_a_mutant_of_receive():
    class Broken(MacReceive):
        _heeds_error = False

    with pytest.raises(ProofFailed):
        prove(ReceiveSpec(_short(Broken)), depth=8)
