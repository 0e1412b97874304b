"""RegisterBank and ManagementSteer: every request answered once, by whom it should."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.sim import Simulator

from offloadcard.config import MODEL
from offloadcard.rtl.management import ManagementSteer
from offloadcard.rtl.regbank import RegisterBank
from offloadcard.rtl.regmap import Register, RegisterMap
from offloadcard.rtl.spec_card import house_address, identity
from tests.support.formal import ProofFailed, prove
from tests.support.management import management_access

REGISTERS = RegisterMap("test", (
    Register("VALUE",  0x00, 64, "ro", "ours"),
    Register("LOW",    0x08, 16, "rw", "ours", reset=0x55),
    Register("HIGH",   0x0C, 32, "rw", "ours"),
    Register("GO",     0x10, 8, "wo", "ours"),
    Register("FLAGS",  0x48, 4, "rw1c", "ours", reset=0b1000),
), size=0x80)


def simulate(dut, *processes):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    first, *rest = processes
    simulator.add_testbench(first)
    for process in rest:
        simulator.add_testbench(process, background=True)
    simulator.run()


def test_each_access_mode():
    dut = RegisterBank(REGISTERS)

    async def story(ctx):
        async def access(address, data=None):
            value, error, cycles = await management_access(ctx, dut.management, address, data)
            assert cycles == 2
            return "error" if error else value

        # Constants and counters are what the house shows; writing them is refused.
        ctx.set(dut.value, 0x0123_4567_89AB_CDEF)
        assert await access(0x00) == 0x0123_4567_89AB_CDEF
        assert await access(0x00, 1) == "error"
        # Two registers share 8 octets; both are written at once.
        assert await access(0x08) == 0x55
        assert await access(0x08, 0xDEAD_BEEF_0000_1234) == 0
        assert ctx.get(dut.low) == 0x1234 and ctx.get(dut.high) == 0xDEAD_BEEF
        assert await access(0x08) == 0xDEAD_BEEF_0000_1234
        # A command register is written only.
        assert await access(0x10, 0x7F) == 0
        assert ctx.get(dut.go) == 0x7F
        assert await access(0x10) == "error"
        # Bits are set by the house and cleared by writing ones; setting wins.
        assert await access(0x48) == 0b1000
        ctx.set(dut.flags_set, 0b0011)
        await ctx.tick()
        ctx.set(dut.flags_set, 0)
        assert await access(0x48, 0b1001) == 0
        assert await access(0x48) == 0b0010
        # Nothing stands at 0x18; bits above the map are the steer's business.
        assert await access(0x18) == "error"
        assert await access(0x7_0008) == 0xDEAD_BEEF_0000_1234

    simulate(dut, story)


def test_a_strobe_comes_with_its_value():
    dut = RegisterBank(REGISTERS)
    strobes = []

    async def story(ctx):
        await management_access(ctx, dut.management, 0x10, 0xA5)
        await management_access(ctx, dut.management, 0x10)

    async def watch(ctx):
        async for *_, strobe, value in ctx.tick().sample(dut.go_write, dut.go):
            if strobe:
                strobes.append(value)

    simulate(dut, story, watch)
    assert strobes == [0xA5]


def test_a_register_lies_within_eight_octets():
    with pytest.raises(ValueError, match=r"crossing.WIDE must lie within 8 aligned octets"):
        RegisterBank(RegisterMap("crossing", [Register("WIDE", 4, 64, "ro", "ours")]))


def test_identity_is_of_the_configuration():
    path = identity(MODEL)["PATH"]
    assert path & 0xFFFF == MODEL.data_width and path >> 48 == MODEL.max_frame_octets
    assert identity(MODEL)["FUNCTIONS"] & 0xFFFF == 254
    assert identity(MODEL)["ID"].to_bytes(8, "little") == b"OFFLOADC"


def test_the_steer_finds_each_house():
    """Houses 0 to 3 answer, 4 is silent and 5 to 15 are not there."""
    dut = ManagementSteer()

    def house(number):
        async def answer(ctx):
            port = dut.houses[number]
            while True:
                *_, valid, request = await ctx.tick().sample(port.requests.valid,
                                                             port.requests.payload)
                if valid:
                    await ctx.tick().repeat(number * 10 + 1)
                    ctx.set(port.replies.payload, {"data": number << 32 | request.address,
                                                   "error": number == 3})
                    ctx.set(port.replies.valid, 1)
                    await ctx.tick()
                    ctx.set(port.replies.valid, 0)
        return answer

    async def story(ctx):
        for number in range(4):
            address = house_address(number, 0x1230)
            assert await management_access(ctx, dut.management, address, number or None) == (
                number << 32 | address, number == 3, number * 10 + 4)
        assert (await management_access(ctx, dut.management, house_address(4, 0)))[:2] == (0, 1)
        for number in range(5, 16):
            value, error, cycles = await management_access(ctx, dut.management, number << 16)
            assert (value, error) == (0, 1) and cycles < 4

    simulate(dut, story, *(house(number) for number in range(4)))


def test_house_address():
    with pytest.raises(ValueError, match="`offset` must be a multiple of 8 below 65536, not 4"):
        house_address(0, 4)
    with pytest.raises(ValueError, match="`house` must be 0 to 15, not 16"):
        house_address(16, 0)


def test_a_burst_is_answered_in_order_one_a_cycle():
    """A bank behind the steer takes a request a cycle; another house's is refused meanwhile."""
    dut = Module()
    dut.submodules.steer = steer = ManagementSteer()
    dut.submodules.bank = bank = RegisterBank(REGISTERS)
    wiring.connect(dut, steer.houses[2], bank.management)
    accesses = [(2, 0x08, 0x11), (2, 0x10, 0x22), (3, 0x08, 0x33), (2, 0x20, 0x44), (2, 0x08, None)]
    replies = []

    async def story(ctx):
        port = steer.management
        for number in range(100):
            if number < len(accesses):
                house, offset, value = accesses[number]
                ctx.set(port.requests.payload, {
                    "address": house_address(house, offset), "write": value is not None,
                    "data": value or 0})
            ctx.set(port.requests.valid, number < len(accesses))
            *_, valid, reply = await ctx.tick().sample(port.replies.valid, port.replies.payload)
            if valid:
                replies.append((number, reply.data, reply.error))

    simulate(dut, story)
    # In order: done, done, no such register, what was written; the last is the refused one's.
    assert [reply[1:] for reply in replies] == [
        (0, 0), (0, 0), (0, 1), (0x11, 0), (0, 1)]
    times = [reply[0] for reply in replies]
    assert times[1] - times[0] == times[3] - times[2] == 1 and times[2] - times[1] == 2


class SteerSpec(Elaboratable):
    """Exactly one reply to each request, in bounded time, whatever the houses do; and only the
    house that was asked hears of it."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        requests, replies = dut.management.requests, dut.management.replies
        owed, age = Signal(3), Signal(8)
        with m.If(owed == 3):
            m.d.comb += Assume(~requests.valid)  # as many as this proof has time for
        with m.If(owed == 0):
            m.d.comb += Assert(~replies.valid)
        m.d.sync += [owed.eq(owed + requests.valid - replies.valid), age.eq(age + 1)]
        with m.If(replies.valid | (owed == 0)):
            m.d.sync += age.eq(0)
        m.d.comb += Assert(age <= dut.patience + 3)
        asked = Signal(4)
        m.d.sync += asked.eq(requests.p.address[16:])
        for number, port in enumerate(dut.houses):
            with m.If(port.requests.valid):
                m.d.comb += Assert(asked == number)
        return m


class _Quick(ManagementSteer):
    patience = 4


@pytest.mark.formal
def test_spec_steer_has_one_last_word():
    prove(SteerSpec(_Quick()), depth=16)


@pytest.mark.formal
def test_spec_steer_sees_a_mutant():
    class Broken(_Quick):
        """Asks its neighbour too."""
        def elaborate(self, platform):
            m = Module()
            inner = _Quick()
            m.submodules.inner = inner
            wiring.connect(m, wiring.flipped(self.management), inner.management)
            for ours, theirs in zip(self.houses, inner.houses):
                m.d.comb += [ours.requests.payload.eq(theirs.requests.payload),
                             theirs.replies.payload.eq(ours.replies.payload),
                             theirs.replies.valid.eq(ours.replies.valid),
                             ours.requests.valid.eq(inner.houses[0].requests.valid)]
            return m

    with pytest.raises(ProofFailed):
        prove(SteerSpec(Broken()), depth=16)
