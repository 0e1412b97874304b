"""Errors are told as the standard says: by whom, to whom, and by nobody else."""

import pytest

from offloadcard.config import TINY
from offloadcard.pcie import spec
from offloadcard.pcie import spec_config as config
from offloadcard.pcie.spec import CplStatus, MessageCode
from tests.pcie.test_endpoint import NET_VF, Card
from tests.pcie.world import World, bar

STATUS, CONTROL = 4, config.PCIE + 8
RECEIVED_TARGET_ABORT, RECEIVED_MASTER_ABORT = 1 << 28, 1 << 29
SIGNALED_TARGET_ABORT, SIGNALED_SYSTEM_ERROR, DETECTED_PARITY_ERROR = 1 << 27, 1 << 30, 1 << 31
SERR = 0x100
NET, NVME = 3, TINY.first_nvme_vf


async def asked(ctx, card):
    """One read of a virtual function, as the link saw it; all errors are enabled."""
    await card.start(ctx)
    for bdf in (0x100, 0x101):
        await card.guest.config_write(ctx, bdf, CONTROL, 0x281F, 2)
    await card.read(ctx, "net", NET_VF, 0x3000, 16, 5)
    await card.wait(ctx, 30)
    (_, _, request), = card.seen("reads")
    return request


@pytest.mark.parametrize("status, bit", [(CplStatus.UR, RECEIVED_MASTER_ABORT),
                                         (CplStatus.CA, RECEIVED_TARGET_ABORT)])
def test_a_refused_read_is_the_completer_s_error(status, bit):
    """[pcie-5.0: 6.2.3.2.4, 7.5.1.1.4] its requester sets a bit of Status and tells nobody."""
    card = Card()

    async def story(ctx):
        request = await asked(ctx, card)
        await card.complete(ctx, request, bytes(16), status=status)
        await card.wait(ctx, 80)
        assert not card.seen("message")
        for bdf, expected in ((0x100 | NET_VF, bit), (0x100, 0)):
            read = card.guest.config_read
            assert await read(ctx, bdf, config.AER + 4) == 0
            assert await read(ctx, bdf, config.PCIE + 10, 2) & 0xF == 0
            assert await read(ctx, bdf, STATUS) & 0xFFE0_0000 == expected
        await card.guest.config_write(ctx, 0x100 | NET_VF, STATUS, bit | 4)
        assert await card.guest.config_read(ctx, 0x100 | NET_VF, STATUS) & 0xFFE0_0000 == 0
    card.run(story)


@pytest.mark.parametrize("status, lower", [(0, 0x3004), (CplStatus.CRS, None)])
def test_a_malformed_completion_is_the_device_s(status, lower):
    """[sriov-1.1: 4.2.1.3] no virtual function can clear it: it is function 0's."""
    card = Card()

    async def story(ctx):
        request = await asked(ctx, card)
        await card.complete(ctx, request, bytes(16), status=status, lower=lower)
        await card.wait(ctx, 80)
        bit = 1 << config.ERROR_MALFORMED
        for bdf, expected in ((0x100, bit), (0x100 | NET_VF, 0)):
            assert await card.guest.config_read(ctx, bdf, config.AER + 4) == expected
            await card.guest.config_write(ctx, bdf, config.AER + 4, 0xFFFF_FFFF)
            assert await card.guest.config_read(ctx, bdf, config.AER + 4) == 0
        assert [told for _, _, told in card.seen("message")] == [(0x100, MessageCode.ERR_FATAL)]
    card.run(story)


def test_no_message_after_the_completion_that_forbade_it():
    """Messages that wait for credits: the completion of the write comes behind them, and not
    behind those of later errors."""
    card = Card()

    async def story(ctx):
        await asked(ctx, card)
        ctx.set(card.dut.tx_credit_limit.ph.infinite, 0)
        await card.wait(ctx, 4)
        for _ in range(3):
            await card.guest.write(ctx, bar(NET), b"poison!!", ep=1)
            await card.wait(ctx, 20)
        card.log.clear()
        await card.guest.send(ctx, spec.ConfigRequest, {
            "fmt": spec.Fmt.THREE_DW_DATA, "type": spec.Type.CONFIG_0, "length": 1, "first_be": 3,
            "register": CONTROL >> 2, "completer_id": 0x100, "tag": 200}, bytes(4))
        await card.wait(ctx, 100)
        assert not card.log, "it was completed before its messages had left"
        ctx.set(card.dut.tx_credit_limit.ph.infinite, 1)
        await card.wait(ctx, 60)
        assert [what for _, what, _ in card.log] == ["message"] * 3 + ["completion"]
        await card.guest.write(ctx, bar(NET), b"poison!!", ep=1)
        await card.wait(ctx, 60)
        assert len(card.log) == 4
        card.guest.completions.clear()
    card.run(story)


class Front:
    """A front whose messages are heard, and whose requester sees what errors it likes."""

    def __init__(self):
        self.world, self.heard = World(), []
        self.guest = self.world.guest
        self.world.background.append(self._listen)

    async def _listen(self, ctx):
        messages = self.world.dut.messages
        async for *_, valid, message in ctx.tick().sample(messages.valid, messages.payload):
            if valid:
                self.heard.append((message.function_id, message.code))

    async def tell(self, ctx, function, error=config.ERROR_TIMEOUT):
        """What was heard of an error of that function."""
        errors, before = self.world.dut.errors, len(self.heard)
        ctx.set(errors.payload, {"function_id": function, "error": error})
        ctx.set(errors.valid, 1)
        await ctx.tick()
        ctx.set(errors.valid, 0)
        await ctx.tick().repeat(40)
        return self.heard[before:]

    async def status(self, ctx, function):
        return await self.guest.config_read(ctx, 0x100 | function, STATUS) & 0xFFE0_0000

    def run(self, story):
        async def whole(ctx):
            await self.world.enumerate(ctx)
            await story(ctx)
        self.world.run(whole)


def test_a_virtual_function_tells_what_its_physical_one_lets_it():
    """[sriov-1.1: 4.2.1.1] the bits of Device Control and SERR# Enable stand in the physical
    function only; each function's Status is its own."""
    front = Front()
    nonfatal = MessageCode.ERR_NONFATAL

    async def story(ctx):
        write = front.guest.config_write
        for vf in (NET, NVME):
            await write(ctx, 0x100 | vf, CONTROL, 0xF, 2)
            await write(ctx, 0x100 | vf, STATUS, SERR | 4, 2)
            assert not await front.tell(ctx, vf)
        await write(ctx, 0x100, CONTROL, 0x2812, 2)
        assert await front.tell(ctx, NET) == [(NET, nonfatal)]
        assert await front.tell(ctx, NVME) == []
        assert await front.status(ctx, NET) == 0
        await write(ctx, 0x100, CONTROL, 0x2810, 2)
        await write(ctx, 0x101, STATUS, SERR | 6, 2)
        assert await front.tell(ctx, NET) == []
        assert await front.tell(ctx, NVME) == [(NVME, nonfatal)]
        assert await front.status(ctx, NVME) == SIGNALED_SYSTEM_ERROR
        assert await front.status(ctx, 1) == 0
    front.run(story)


def test_a_function_that_is_being_reset_is_silent():
    """Whoever ends it, and until it has begun anew."""
    front = Front()

    async def story(ctx):
        write = front.guest.config_write
        await write(ctx, 0x100, CONTROL, 0x281F, 2)
        assert await front.tell(ctx, NET)
        front.world.held = True
        await write(ctx, 0x100 | NET, CONTROL, 0x8000, 2)
        assert await front.tell(ctx, NET) == []
        assert await front.tell(ctx, NET - 1)
        await write(ctx, 0x100, config.SRIOV + 8, 0x10, 2)
        assert await front.tell(ctx, NET - 1) == []
        assert await front.tell(ctx, 0)
        front.world.held = False
        await ctx.tick().repeat(400)
        await write(ctx, 0x100, config.SRIOV + 8, 0x19, 2)
        await ctx.tick().repeat(400)
        assert await front.tell(ctx, NET)
    front.run(story)


def test_status_names_poison_and_aborts():
    """[pcie-5.0: 7.5.1.1.4] Detected Parity Error and Signaled Target Abort, whatever is told."""
    front = Front()

    async def story(ctx):
        for error, bit in ((config.ERROR_POISONED, DETECTED_PARITY_ERROR),
                           (config.ERROR_ABORT, SIGNALED_TARGET_ABORT),
                           (config.ERROR_TIMEOUT, 0)):
            assert await front.tell(ctx, NET, error) == []
            assert await front.status(ctx, NET) == bit
            assert await front.status(ctx, 0) == 0
            await front.guest.config_write(ctx, 0x100 | NET, STATUS, 0xFFFF_0004)
    front.run(story)
