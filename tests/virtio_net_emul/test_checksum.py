"""Checksums completed in hardware, against a sum in plain Python."""

import random

import pytest
from amaranth.sim import Simulator

from offloadcard.virtio_net_emul.checksum import Checksum
from offloadcard.virtio_net_emul.octet_sum import OctetSum

IDS = 4


def ones_sum(octets):
    """[RFC 1071: 1] the 16-bit ones' complement sum."""
    octets = octets + bytes(len(octets) % 2)
    total = sum(int.from_bytes(octets[n:n + 2], "big") for n in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def completed(frame, start, offset):
    """What Linux's ``skb_checksum_help`` makes of a frame."""
    value = ~ones_sum(frame[start:]) & 0xFFFF or 0xFFFF
    spot = start + offset
    return frame[:spot] + value.to_bytes(2, "big") + frame[spot + 2:]


class Run:
    """Frames through a block; ``(meta, octets, error)`` of each that came out, and the cycles."""

    def __init__(self, dut, frames, *, width, stall=lambda cycle: False, gap=lambda number: 0):
        self.dut, self.frames, self.lanes = dut, frames, width // 8
        self.stall, self.gap = stall, gap
        self.out, self.cycles = [], {"in": [], "out": []}
        self.padding = set()
        self.cycle = 0
        simulator = Simulator(dut)
        simulator.add_clock(1e-9)
        simulator.add_testbench(self._send, background=True)
        simulator.add_testbench(self._take)
        simulator.run()

    async def _send(self, ctx):
        port = self.dut.i
        for number, (meta, octets) in enumerate(self.frames):
            if self.gap(number):
                ctx.set(port.valid, 0)
                await ctx.tick().repeat(self.gap(number))
            for low in range(0, len(octets), self.lanes):
                part = octets[low:low + self.lanes].ljust(self.lanes, b"\xEE")
                ctx.set(port.payload, {
                    "data": list(part), "meta": {**meta, "length": len(octets)},
                    "first": low == 0, "last": low + self.lanes >= len(octets)})
                ctx.set(port.valid, 1)
                while True:
                    *_, ready = await ctx.tick().sample(port.ready)
                    if ready:
                        break
                if low == 0:
                    self.cycles["in"].append(self.cycle)
        ctx.set(port.valid, 0)

    async def _take(self, ctx):
        port, octets = self.dut.o, b""
        shape = port.payload.shape()
        while len(self.out) < len(self.frames):
            ctx.set(port.ready, not self.stall(self.cycle))
            *_, moves, raw = await ctx.tick().sample(port.valid & port.ready,
                                                     port.payload.as_value())
            self.cycle += 1
            assert self.cycle < 40_000
            if not moves:
                continue
            beat = shape.from_bits(raw)
            assert bool(beat.first) == (not octets)
            if beat.first:
                self.cycles["out"].append(self.cycle - 1)
            octets += bytes(beat.data)
            if beat.last:
                length = beat.meta.length
                assert len(octets) - self.lanes < length <= len(octets)
                self.padding |= set(octets[length:])
                self.out.append((beat.meta, octets[:length], bool(beat.error)))
                octets = b""


def block(width, max_octets=2048):
    return Checksum(data_width=width, function_id_width=IDS, max_octets=max_octets)


def asks(start, offset, function_id=1):
    return {"function_id": function_id, "csum_status": 1, "csum_start": start,
            "csum_offset": offset}


@pytest.mark.parametrize("width", (64, 128, 512))
def test_checksums_are_those_of_plain_python(width):
    rng = random.Random(width)
    frames, expected = [], []
    for number in range(60):
        length = rng.choice((15, 60, 61, 64, 65, 129, 600, 1514, 2048))
        octets = rng.randbytes(length)
        if number % 3 == 0:
            frames.append(({"function_id": number % 8}, octets))
            expected.append(octets)
            continue
        start = rng.choice((0, 1, 14, 34, 35, 54, length - 3, length - 2))
        start = min(start, length - 2)
        offset = rng.randrange(0, length - start - 1)
        if number % 7 == 1:  # a sum of zero is written FFFF
            octets = octets[:start] + bytes(length - start)
            octets = octets[:start] + b"\xFF\xFF" + octets[start + 2:]
        frames.append((asks(start, offset, number % 8), octets))
        expected.append(completed(octets, start, offset))
    run = Run(block(width), frames, width=width, stall=lambda cycle: cycle % 5 == 3,
              gap=lambda number: number % 4)
    assert [octets for _, octets, _ in run.out] == expected
    assert not any(error for _, _, error in run.out)
    assert [meta.function_id for meta, _, _ in run.out] == [n % 8 for n in range(60)]
    assert not any(meta.csum_status | meta.csum_start | meta.csum_offset
                   for meta, _, _ in run.out)
    assert run.padding <= {0}, "nothing of another packet may stand behind a frame"


def hostile_frames():
    """Fields that are nowhere in the frame, and good frames between them."""
    rng = random.Random(5)
    frames, good = [], []
    for start, offset in ((60, 0), (58, 1), (59, 0), (0, 59), (0x3FFF, 0), (0, 0x3FFF),
                          (0x3FFF, 0x3FFF), (0x2000, 0x2000), (16383, 1)):
        frames.append((asks(start, offset), rng.randbytes(60)))
        good.append(False)
        frames.append((asks(58, 0, 2), rng.randbytes(60)))
        good.append(True)
    return frames, good


def test_fields_out_of_bounds_drop_the_frame_and_no_other():
    frames, good = hostile_frames()
    run = Run(block(64), frames, width=64)
    assert [not error for _, _, error in run.out] == good
    for (meta, before), (_, after, error) in zip(frames, run.out):
        if not error:
            assert after == completed(before, meta["csum_start"], meta["csum_offset"])


def test_a_block_that_forgets_the_bounds_is_seen():
    dut = block(64)
    dut._bounded = False
    frames, good = hostile_frames()
    run = Run(dut, frames, width=64)
    assert [not error for _, _, error in run.out] != good


def test_one_beat_a_cycle_and_the_latency_that_is_promised():
    width, count = 512, 300
    frames = [(asks(34, 16), bytes([n & 255]) * 60) for n in range(count)]
    run = Run(block(width), frames, width=width)
    assert run.cycles["out"][-1] - run.cycles["out"][0] == count - 1
    assert run.cycles["out"][0] - run.cycles["in"][0] == OctetSum(octets=64).latency + 4

    frames = [({"function_id": 1}, bytes([n & 255]) * 60) for n in range(8)]
    run = Run(block(width), frames, width=width)
    assert run.cycles["out"][0] - run.cycles["in"][0] == 2

    # The longest frames, back to back: one goes while the next comes.
    frames = [(asks(34, 16), bytes([n]) * 9216) for n in range(6)]
    run = Run(block(width, max_octets=9216), frames, width=width)
    assert run.cycles["out"][-1] - run.cycles["out"][0] == 5 * 144
