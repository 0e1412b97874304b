"""cocotb: the compiled world around a puppet. Started by test_link.py."""

import cocotb

from offloadcard.config import TINY
from offloadcard.pcie import spec_config
from sim.env import Env
from sim.link.world import Event


def order(header, octets=b""):
    """What the host writes to make the puppet send this TLP."""
    return b"".join(dw.to_bytes(4, "little") for dw in header) + octets


@cocotb.test()
async def config_space_answers(dut):
    async with Env(dut, TINY) as env:
        await env.bus.config_write(0x0100, 0x40, 4, 0x1234_5678)
        assert await env.bus.config_read(0x0100, 0x40, 4) == 0x1234_5678
        assert await env.bus.config_read(0x0100, 0x42, 2) == 0x1234


def mrd(rid, tag, address, length):
    """Header of a memory read of ``length`` octets, whole double words."""
    first, last = 15, 15 if length > 4 else 0
    high = address >> 32
    low = [high, address & 0xFFFF_FFFF] if high else [address, 0]
    return [(0x20 if high else 0) << 24 | length // 4, rid << 16 | tag << 8 | last << 4 | first,
            *low]


def mwr(rid, address, length):
    """Header of a memory write of ``length`` octets, whole double words."""
    header = mrd(rid, 0, address, length)
    return [header[0] | 0x40 << 24, *header[1:]]


async def master(env, rid=0x0100):
    """Enumerated, bus master, sizes as a driver sets them."""
    await env.bus.config_write(rid, 4, 2, 6)
    env.world.set(mps=256, mrrs=512, extended_tags=1)


BAR = 0xE000_0000


@cocotb.test()
async def messages_are_judged(dut):
    async with Env(dut, TINY, log=[Event.MESSAGE]) as env:
        await master(env)
        nonfatal, control = 0x0100 << 16 | 0x31, spec_config.PCIE + 8

        async def judged(*header):
            env.mmio_write(BAR, order(header))
            await env.bus.sleep(2_000)
            found = env.world.violations()
            env.world.violations_clear()
            return found

        assert "31 of 0100 is not enabled" in (await judged(0x3000_0000, nonfatal, 0, 0))[0]
        await env.bus.config_write(0x0100, control, 2, 1)
        assert "not enabled" in (await judged(0x3000_0000, nonfatal, 0, 0))[0]
        await env.bus.config_write(0x0100, control, 2, 2)
        assert not await judged(0x3000_0000, nonfatal, 0, 0)
        # A virtual function's own bits are nobody's; its physical one's are.
        vf = TINY.first_net_vf
        assert not await judged(0x3000_0000, nonfatal + (vf << 16), 0, 0)
        await env.bus.config_write(0x0100, control, 2, 0)
        await env.bus.config_write(0x0100 | vf, control, 2, 2)
        assert "not enabled" in (await judged(0x3000_0000, nonfatal + (vf << 16), 0, 0))[0]
        assert "not one to the root" in (await judged(0x3400_0000, nonfatal, 0, 0))[0]
        assert "code 32" in (await judged(0x3000_0000, nonfatal + 1, 0, 0))[0]
        log = env.world.log(Event.MESSAGE)
        assert list(zip(log["a"], log["b"]))[2] == (0x0100, 0x31) and len(log) == 7


@cocotb.test()
async def a_write_may_hold_before_its_completion(dut):
    """What it gives, from its arrival on; what it takes, from its completion on."""
    async with Env(dut, TINY) as env:
        control, message = spec_config.PCIE + 8, [0x3000_0000, 0x0100 << 16 | 0x31, 0, 0]

        async def judged(value, *headers):
            ticket = env.world.config(True, 0x0100, control, 2, value)
            for header in headers:
                env.mmio_write(BAR, order(header))
            assert (await env.answer(ticket))[0] == 0
            await env.bus.sleep(1_000)
            found = env.world.violations()
            env.world.violations_clear()
            return len(found)

        await master(env)
        assert await judged(2, message) == 0
        assert await judged(0, message) == 0
        assert await judged(0, message) == 1
        assert await judged(1, message) == 1


@cocotb.test()
async def memory_is_written_and_read(dut):
    async with Env(dut, TINY) as env:
        guest = env.guest(0)
        guest.assign(0x0100)
        await master(env)
        env.world.range(BAR, 4096, "mmio", requester=0x0100)
        page = guest.memory.alloc(4096, align=4096, owner=0x0100, purpose="payload")
        env.mmio_write(BAR, order(mwr(0x0100, page.address, 16), bytes(range(16))))
        page.write(64, b"\x5a" * 8)
        env.mmio_write(BAR, order(mrd(0x0100, 7, page.address + 64, 8)))
        await env.bus.sleep(2_000)
        assert page.read(0, 16) == bytes(range(16))
        assert await env.mmio_read(BAR, 8) == b"\x5a" * 8
        names = env.account()
        # [MWr 24 - 4 for three double words + 16] up; [CplD 20 + 8] down, [MRd 20] up
        assert names["payload"] == (36 + 20, 28)
        assert env.residue() == (0, 0)


@cocotb.test()
async def frames_turn_round(dut):
    async with Env(dut, TINY, log=(5,)) as env:
        env.world.set(port_gbps=10)  # the narrow card's path is slower than 100 Gb/s
        frames = [bytes([n]) * (60 + 50 * n) for n in range(20)]
        for frame in frames:
            env.wire_send(frame)
        assert await env.wire_wait(20, 100_000)
        assert [octets for _, octets in env.wire_received()] == frames
        times = [time for time, _ in env.wire_received()]
        gaps = [(b - a) for a, b in zip(times, times[1:])]
        # A frame of n octets takes (n + 24) * 8 bits at 10 Gb/s, seen to the clock.
        assert all(abs(gap - (len(f) + 24) * 0.8) <= 4 for gap, f in zip(gaps, frames))


@cocotb.test()
async def mailboxes_and_dram(dut):
    async with Env(dut, TINY) as env:
        env.inject(b"\x11" * 100, function_id=2, mark=0xABCD)
        meta, octets = await env.wait_exception()
        assert octets == b"\x11" * 100
        assert (meta["function_id"], meta["mark"], meta["length"]) == (2, 0xABCD, 100)
        await env.management_write(0, 0x1000)
        assert await env.management_read(0) == 0x1000
        await env.management_write(8, 0x0123_4567_89AB_CDEF)
        assert bytes(env.dram[0x1000:0x1008]) == bytes.fromhex("efcdab8967452301")
        env.dram[0x1000] = 0
        assert await env.management_read(8) == 0x0123_4567_89AB_CD00
        try:
            await env.management_read(0x10)
        except KeyError:
            pass
        else:
            raise AssertionError("an unknown register must be refused")
