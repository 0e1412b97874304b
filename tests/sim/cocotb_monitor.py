"""cocotb: the monitors see what a card must not do, and let pass what it may."""

import cocotb

from offloadcard.config import TINY
from offloadcard.pcie import spec_config
from sim.env import MESSAGES, Env
from sim.link.config import LinkConfig
from sim.link.world import Event

from .cocotb_link import BAR, master, mrd, mwr, order

RID = 0x0100


class Stage:
    """A puppet that is bus master, a guest with a page, and what the monitors say."""

    def __init__(self, env):
        self.env = env
        self.guest = env.guest(0)
        self.guest.assign(RID)
        self.page = self.guest.memory.alloc(8192, align=4096, owner=RID, purpose="payload").address

    def send(self, header, octets=b""):
        """The puppet sends this."""
        self.env.mmio_write(BAR, order(header, octets))

    async def found(self):
        """Violations since the last asking."""
        await self.env.bus.sleep(2_000)
        lines = self.env.world.violations()
        self.env.world.violations_clear()
        return lines

    async def expect(self, word):
        """Exactly one violation, and it speaks of ``word``."""
        lines = await self.found()
        assert len(lines) == 1 and word in lines[0], f"expected {word!r}, found {lines}"

    async def clean(self):
        """No violation."""
        lines = await self.found()
        assert not lines, lines


async def stage(env):
    await master(env)
    return Stage(env)


@cocotb.test()
async def legal_tlps_pass(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        s.send(mwr(RID, s.page, 32), bytes(32))
        s.send(mrd(RID, 1, s.page + 0xE00, 512))
        s.send(mrd(RID, 2, s.page, 4))
        await s.clean()


@cocotb.test()
async def illegal_requests_are_seen(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        s.send(mrd(RID, 1, s.page + 0xF00, 512))
        await s.expect("crosses 4 KiB")
        env.world.set(mrrs=256)
        s.send(mrd(RID, 1, s.page, 512))
        await s.expect("exceed MRRS")
        env.world.set(mrrs=512, extended_tags=0)
        s.send(mrd(RID, 40, s.page, 64))
        await s.expect("Extended Tag")
        env.world.set(extended_tags=1)
        env.world.set(mps=16)
        s.send(mwr(RID, s.page, 32), bytes(32))
        await s.expect("exceed MPS")
        env.world.set(mps=256)
        header = mrd(RID, 1, s.page, 64)
        s.send([header[0], header[1] & ~0xF0 | 0x50, *header[2:]])
        await s.expect("byte enables f 5")
        header = mrd(RID, 1, s.page, 64)
        s.send([header[0] | 0x20 << 24, header[1], 0, header[2]])
        await s.expect("4 DW header")
        s.send([header[0] | 1 << 14, *header[1:]])
        await s.expect("poisoned")
        s.send([0x02 << 24 | 1, RID << 16 | 15, 0, 0])  # an I/O read
        await s.expect("unknown kind")


@cocotb.test()
async def a_tag_in_flight_is_not_used_again(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        s.send(mrd(RID, 9, s.page, 64))
        s.send(mrd(RID, 9, s.page + 64, 64))
        await s.expect("tag 9 is in flight")
        s.send(mrd(RID, 9, s.page, 64))
        await s.clean()


@cocotb.test()
async def bus_mastering_is_asked_for(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        await env.bus.config_write(RID, 4, 2, 2)
        s.send(mwr(RID, s.page, 4), bytes(4))
        await s.expect("not bus master")
        await env.bus.config_write(RID, 4, 2, 6)
        s.send(mwr(RID, s.page, 4), bytes(4))
        await s.clean()


@cocotb.test()
async def a_family_has_its_own_sizes(dut):
    """MRRS and Extended Tag as the function's own physical one has them."""
    async with Env(dut, TINY) as env:
        s = await stage(env)
        vf = RID + TINY.first_nvme_vf
        for rid in (RID, RID + 1):
            await env.bus.config_write(rid, spec_config.PCIE + 8, 2, 0x2100 if rid == RID else 0)
        await env.bus.config_write(vf, 4, 2, 4)
        env.guest(0).assign(vf)
        page = s.guest.memory.alloc(4096, align=4096, owner=vf, purpose="payload").address
        s.send(mrd(RID, 40, s.page, 512))
        s.send(mrd(vf, 1, page, 128))
        await s.clean()
        s.send(mrd(vf, 40, page, 64))
        await s.expect("Extended Tag")
        s.send(mrd(vf, 1, page, 512))
        await s.expect("exceed MRRS")


@cocotb.test()
async def virtual_functions_begin_anew(dut):
    """VF Enable off and on again: its functions are not bus masters, those of the other are."""
    async with Env(dut, TINY) as env:
        s = await stage(env)
        net, nvme = RID + TINY.first_net_vf, RID + TINY.first_nvme_vf
        pages = {}
        for pf, rid in ((RID, net), (RID + 1, nvme)):
            await env.bus.config_write(pf, spec_config.SRIOV + 8, 2, 9)
            await env.bus.config_write(rid, 4, 2, 4)
            env.guest(0).assign(rid)
            pages[rid] = s.guest.memory.alloc(4096, align=4096, owner=rid).address
            s.send(mwr(rid, pages[rid], 4), bytes(4))
        await s.clean()
        for control in (0, 9):
            await env.bus.config_write(RID, spec_config.SRIOV + 8, 2, control)
        s.send(mwr(nvme, pages[nvme], 4), bytes(4))
        await s.clean()
        s.send(mwr(net, pages[net], 4), bytes(4))
        await s.expect("not bus master")


@cocotb.test()
async def functions_keep_to_their_guest(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        other = env.guest(1).memory.alloc(4096, owner=0x0102)
        other.write(0, b"secret!!")
        s.send(mrd(RID, 1, other.address, 8))
        await s.expect("memory of another guest")
        s.send(mwr(RID, 0x7000_0000_0000, 8), bytes(8))
        await s.expect("no memory there")
        await env.bus.config_write(0x0102, 4, 2, 6)
        s.send(mrd(0x0102, 1, other.address, 8))
        await s.expect("belongs to no guest")
        env.guest(0).assign(0x0102)
        s.send(mrd(0x0102, 1, s.page, 8))
        await s.expect("memory of another function")
        freed = s.guest.memory.alloc(64, owner=RID)
        freed.free()
        s.send(mwr(RID, freed.address, 8), bytes(8))
        await s.expect("poisoned memory")
        env.world.tolerate(RID)  # a guest that lies about addresses is not the card's fault
        s.send(mrd(RID, 1, other.address, 8))
        await s.clean()
        assert env.world.count(Event.FAULT) == 5
        assert other.read(0, 8) == b"secret!!"


@cocotb.test()
async def interrupts_are_counted(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        first, second = env.new_message(), env.new_message()
        for message in (first, second, first):
            s.send(mwr(RID, message.address, 4), message.data.to_bytes(4, "little"))
        assert await env.bus.wait_message(first, 1, 10_000)
        assert not await env.bus.wait_message(second, 1, 1_000)
        assert (env.bus.messages_seen(first), env.bus.messages_seen(second)) == (2, 1)
        assert env.octets(0, RID, "msix") == 3 * 24
        assert first.address >= MESSAGES


@cocotb.test()
async def reads_meet_the_faults_ordered(dut):
    async with Env(dut, TINY, log=(Event.TLP_DOWN,)) as env:
        s = await stage(env)
        for kind in ("ur", "ca", "poison", "drop"):
            env.world.fault(s.page, 64, kind)
        for tag in range(5):
            s.send(mrd(RID, tag, s.page, 64))
        await s.clean()
        log = env.world.log(Event.TLP_DOWN)
        down = [(int(c) >> 8 & 0xFF, int(c) & 0xFF, int(c) >> 16) for c in log["c"]]
        completions = [entry for entry in down if entry[0] & 0x1F == 0x0A and entry[2]]
        # UR and CA are completions without data; the dropped one never comes.
        assert [(f, t) for f, t, _ in completions if f == 0x4A] == [(0x4A, 2), (0x4A, 4)]
        assert [(f, t) for f, t, _ in completions if f == 0x0A] == [(0x0A, 0), (0x0A, 1)]


async def pieces(dut, policy, address, length, **link):
    """Sizes of the completions of one read."""
    async with Env(dut, TINY, LinkConfig(completions=policy, **link), log=(Event.TLP_DOWN,)) as env:
        s = await stage(env)
        s.send(mrd(RID, 1, s.page + address, length))
        await s.clean()
        log = env.world.log(Event.TLP_DOWN)["c"]
        return [int(c) >> 16 for c in log if int(c) >> 8 & 0xFF == 0x4A]


@cocotb.test()
async def completions_are_cut_by_policy(dut):
    assert await pieces(dut, "maximal", 0, 512) == [256, 256]
    assert await pieces(dut, "maximal", 4, 512 - 4) == [252, 256]
    assert await pieces(dut, "maximal", 0x3C, 260) == [4 + 192, 64]
    assert await pieces(dut, "128", 0x20, 256) == [96, 128, 32]
    assert await pieces(dut, "64", 0x20, 128) == [32, 64, 32]
    for seed in range(1, 4):
        cut = await pieces(dut, "mixed", 0x10, 496, seed=seed)
        ends = [0x10 + sum(cut[:n + 1]) for n in range(len(cut))]
        assert ends[-1] == 512 and all(end % 64 == 0 for end in ends), cut
        assert all(size <= 256 for size in cut)


@cocotb.test()
async def reads_may_overtake(dut):
    async with Env(dut, TINY, LinkConfig(latency_spread_ns=300, completions="64", interleave=True),
                   log=(Event.TLP_DOWN,)) as env:
        s = await stage(env)
        for tag in range(16):
            s.send(mrd(RID, tag, s.page + 64 * tag, 256))
        await s.clean()
        log = env.world.log(Event.TLP_DOWN)["c"]
        tags = [int(c) & 0xFF for c in log if int(c) >> 8 & 0xFF == 0x4A]
        assert sorted(tags) == sorted(list(range(16)) * 4) and tags != sorted(tags)


@cocotb.test()
async def time_is_kept(dut):
    async with Env(dut, TINY, log=(Event.TLP_UP, Event.TLP_DOWN)) as env:
        s = await stage(env)
        env.world.log_clear()
        s.send(mrd(RID, 1, s.page, 256))
        await s.clean()
        up = env.world.log(Event.TLP_UP)["time_ps"]
        down = env.world.log(Event.TLP_DOWN)
        answered = down[down["c"] >> 8 & 0xFF == 0x4A]["time_ps"]
        # 20 octets at 15.75 a ns, 10 ns of wire, 500 ns of memory; clocks of 4 ns.
        assert 511_000 <= int(answered[0]) - int(up[0]) <= 520_000


@cocotb.test()
async def credits_bound_both_ways(dut):
    async with Env(dut, TINY, LinkConfig(credits=(64, 1024, 4, 64), dequeue_ns=400)) as env:
        s = await stage(env)
        for tag in range(8):  # the puppet does not look at credits
            s.send(mrd(RID, tag, s.page, 64))
        lines = await s.found()
        assert lines and all("without credit" in line for line in lines)
        # The puppet's 8 non-posted credits: 64 reads of the host arrive all the same.
        tickets = [env.world.config(False, RID, 4 * n, 4) for n in range(64)]
        for ticket in tickets:
            status, _ = await env.answer(ticket)
            assert status == 0


@cocotb.test()
async def no_octet_is_lost(dut):
    async with Env(dut, TINY, LinkConfig(dllp="dense")) as env:
        s = await stage(env)
        for n in range(100):
            s.send(mwr(RID, s.page + 32 * n, 32), bytes(32))
            s.send(mrd(RID, n, s.page, 256))
            await env.bus.sleep(100)
        await s.clean()
        assert env.residue() == (0, 0)
        account = env.account()
        # Dense: one ACK for each TLP of the other direction, which here can be counted.
        assert account["payload"] == (100 * (8 + 12 + 32) + 100 * 20, 100 * (20 + 256))
        ups = 200 + 1
        assert account["ack"][1] == 8 * ups
        env.world.ledger_clear()
        assert env.account() == {}


@cocotb.test()
async def a_hot_reset_forgets(dut):
    async with Env(dut, TINY) as env:
        s = await stage(env)
        for tag in range(4):
            s.send(mrd(RID, tag, s.page, 512))
        await env.bus.sleep(200)
        ticket = env.world.config(False, RID, 0, 4)
        await env.hot_reset()
        status, _ = await env.answer(ticket)
        assert status == 1  # a root port without a link answers for the card
        s.send(mwr(RID, s.page, 4), bytes(4))
        await s.expect("not bus master")
        await master(env)
        s.send(mrd(RID, 0, s.page, 4))
        await s.clean()


@cocotb.test()
async def frames_keep_to_the_line(dut):
    async with Env(dut, TINY) as env:
        for _ in range(32):
            env.wire_send(bytes(60))
        await env.wire_wait(4, 10_000)
        env.world.set(port_gbps=1)  # as if the card outran it
        await env.bus.sleep(1_000)
        lines = env.world.violations()
        assert lines and all("faster than the line" in line for line in lines)
        env.world.violations_clear()


@cocotb.test()
async def dram_has_an_end(dut):
    async with Env(dut, TINY, dram_octets=1 << 20) as env:
        await env.management_write(0, (1 << 20) - 4)
        value, error = await env.management(8, True, 1)
        assert error
        lines = env.world.violations()
        assert len(lines) == 1 and "is outside" in lines[0], lines
        env.world.violations_clear()
