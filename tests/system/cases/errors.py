"""Faults in mid-flight, malformed TLPs, broken frames: answered, felt by nobody else."""

import random

import cocotb

from offloadcard.pcie.spec import CplStatus, Fmt, MemoryRequest, MessageCode, Type
from sim.host.nvme_driver import NvmeError
from sim.host.pci_regs import (
    PCI_CAP_ID_EXP,
    PCI_COMMAND,
    PCI_COMMAND_SERR,
    PCI_ERR_COR_ADV_NFAT,
    PCI_ERR_COR_MASK,
    PCI_ERR_UNC_POISON_TLP,
    PCI_ERR_UNC_UNSUP,
    PCI_ERR_UNCOR_MASK,
    PCI_ERR_UNCOR_SEVER,
    PCI_EXP_DEVCTL,
    PCI_EXT_CAP_ID_ERR,
    PCI_STATUS_SIG_SYSTEM_ERROR,
)
from sim.link.world import Event
from sim.traffic import from_wire, only, to_wire, udp

from .common import RED_FAR, VNI_RED, VTEP, card, member, net_rig
from .network import received

PAGE = 4096


def tlp(**fields):
    """A header as four double words; a memory request of one DW unless said otherwise."""
    bits = MemoryRequest.const({"fmt": Fmt.FOUR_DW, "type": Type.MEMORY, "length": 1,
                                "first_be": 15, **fields}).as_bits()
    return [bits >> 32 * n & 0xFFFF_FFFF for n in range(4)]


async def bystander(rig, driver, n, count):
    """Traffic of the tenant that nobody may disturb, each frame checked."""
    vni, own, far = member(n)
    for number in range(count):
        since = len(rig.env.wire_received())
        frames = [udp(own, far, bytes([number & 255, k]) * 40) for k in range(3)]
        await driver.send(frames)
        only(await received(rig, 3, since), [to_wire(frame, vni, VTEP) for frame in frames])
        rig.env.wire_send(from_wire(udp(far, own, bytes(50)), vni, VTEP))
        only(await driver.receive_frames(1), [udp(far, own, bytes(50))])


def _fault(rig, region, kind, **options):
    rig.env.world.fault(region.address, region.size, kind, **options)


@cocotb.test()
async def net_dma_faults(dut):
    """Each ring and the payload meets each fault; that guest resets its device and goes on."""
    async with net_rig(dut, 2) as (rig, drivers):
        victim, other = drivers
        rig.env.world.tolerate(victim.function.rid)
        frame = udp(member(0)[1], RED_FAR, bytes(300))
        for kind in card().kinds:
            for where in ("avail", "desc", "payload"):
                dut._log.warning(f"{kind} in {where}")
                if where == "payload":
                    victim.queue(frame)
                    region = list(victim.tx.chains.values())[-1][1]
                else:
                    victim.queue(frame)
                    region = getattr(victim.tx, where)
                _fault(rig, region, kind, count=-1)
                victim.tx.publish()
                await victim.device.notify(1)
                await bystander(rig, other, 1, 2)
                assert await victim.needs_reset(), (kind, where)
                await victim.device.reset()
                _fault(rig, region, kind, count=0)
                victim.forget()
                await victim.start()
                since = len(rig.env.wire_received())
                await victim.send([frame])
                only(await received(rig, 1, since), [to_wire(frame, VNI_RED, VTEP)])


@cocotb.test()
async def drive_dma_faults(dut):
    """Data that cannot be fetched end their command; queues that cannot end the controller."""
    async with net_rig(dut, 1, nvme=2) as (rig, drivers):
        tenant, = drivers
        victim, other = rig.drives
        rig.env.world.tolerate(victim.function.rid)
        for kind in card().kinds:
            dut._log.warning(f"{kind}")
            octets = random.Random(1).randbytes(4 * PAGE)
            span = victim.memory.base, len(victim.memory.view)
            pair = victim.queues[1]
            # Everything but the queues: payload and PRP list.
            holes = sorted((q.address, q.address + q.size) for queue in victim.queues
                           for q in (queue.sq, queue.cq))
            start = max(stop for _, stop in holes)
            rig.env.world.fault(start, span[0] + span[1] - start, kind, count=1)
            try:
                await victim.write(1, 0, octets, depth=1)
            except NvmeError as error:
                assert error.status == 0x004, (kind, hex(error.status))
            else:
                raise AssertionError(f"{kind}: the write must fail")
            await victim.write(1, 0, octets)
            assert await victim.read(1, 0, len(octets)) == octets
            await bystander(rig, tenant, 0, 1)
            await other.write(1, 8, octets[:PAGE])
            _fault(rig, pair.sq, kind, count=-1)
            pair.put("lost", opcode=0, nsid=1)
            await pair.ring()
            for _ in range(200):
                if await victim.get("CSTS") & 2:
                    break
                await rig.bus.sleep(1_000)
            assert await victim.get("CSTS") & 2, f"{kind}: CFS must be set"
            await bystander(rig, tenant, 0, 1)
            assert await other.read(1, 8, PAGE) == octets[:PAGE]
            await victim.disable()
            _fault(rig, pair.sq, kind, count=0)
            victim.forget()
            await victim.start()
            assert await victim.read(1, 0, len(octets)) == octets


@cocotb.test()
async def malformed_tlps(dut):
    """Requests that no right host sends; the card answers each that must be, and works on."""
    async with net_rig(dut, 2) as (rig, drivers):
        bus, red = rig.bus, drivers[0]
        base = red.function.bars[0][0]
        here = {"address_high": base >> 32, "address_low": (base & 0xFFFF_FFFF) >> 2}
        nowhere = {"address_high": 0x7F, "address_low": 0x100}
        ur, ca, ok = CplStatus.UR, CplStatus.CA, CplStatus.SC
        answered = [
            (nowhere, ur), ({**nowhere, "length": 8, "last_be": 15}, ur),
            ({**here, "length": 3, "last_be": 15}, ca), ({**here, "length": 0, "last_be": 15}, ca),
            ({**here, "first_be": 0}, ok), ({**here, "first_be": 1}, ok),
            ({"fmt": Fmt.THREE_DW, "type": Type.IO}, ur),
        ]
        for fields, status in answered:
            dut._log.info(f"request {fields}")
            got, _ = await bus.send_tlp(tlp(**fields))
            assert got == status, (fields, got)
        for fields, status in (({**here, "type": Type.FETCH_ADD, "fmt": Fmt.FOUR_DW_DATA}, ur),
                               ({"type": Type.IO, "fmt": Fmt.THREE_DW_DATA}, ur)):
            got, _ = await bus.send_tlp(tlp(**fields), bytes(4))
            assert got == status, (fields, got)
        silent = [
            ({**here, "fmt": Fmt.FOUR_DW_DATA, "length": 16, "last_be": 15}, bytes(64)),
            ({**nowhere, "fmt": Fmt.FOUR_DW_DATA}, bytes(4)),
            ({**here, "fmt": Fmt.FOUR_DW_DATA, "ep": 1}, b"\xFF" * 4),
            ({"fmt": Fmt.FOUR_DW_DATA, "type": Type.MESSAGE | 4, "first_be": 0xE,
              "last_be": 7}, bytes(4)),
            ({"fmt": Fmt.FOUR_DW, "type": Type.MESSAGE | 4, "first_be": 0xE, "last_be": 7,
              "length": 0}, b""),
        ]
        for fields, octets in silent:
            await bus.send_tlp(tlp(**fields), octets, answered=False)
        await bystander(rig, drivers[1], 1, 2)
        await bystander(rig, red, 0, 2)


@cocotb.test()
async def error_messages(dut):
    """The root complex is told of the errors that each function may tell, and of no others."""
    async with net_rig(dut, 2) as (rig, drivers):
        env, bus, red = rig.env, rig.bus, drivers[0].function
        env.keep(Event.MESSAGE)
        base, pf0 = red.bars[0][0], rig.machine.net_pf
        here = {"address_high": base >> 32, "address_low": (base & 0xFFFF_FFFF) >> 2}
        nowhere = {"address_high": 0x7F, "address_low": 0x100}
        cor, nonfatal, fatal = (MessageCode[f"ERR_{name}"] for name in ("COR", "NONFATAL", "FATAL"))
        express = pf0.capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL
        own = red.capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL

        async def seen(*expected):
            before = len(env.world.log(Event.MESSAGE))
            for told in ((tlp(**{**here, "length": 3, "last_be": 15}), b"", True),  # aborted
                         (tlp(**{**here, "length": 16, "last_be": 15}, fmt=Fmt.FOUR_DW_DATA),
                          bytes(64), False),                                      # unsupported
                         (tlp(**here, fmt=Fmt.FOUR_DW_DATA, ep=1), b"\xFF" * 4, False),
                         (tlp(**nowhere, fmt=Fmt.FOUR_DW_DATA), bytes(4), False)):
                header, octets, answered = told
                await bus.send_tlp(header, octets, answered=answered)
                await bus.sleep(2_000)
            log = env.world.log(Event.MESSAGE)[before:]
            found = [(int(a), int(b)) for a, b in zip(log["a"], log["b"])]
            assert found == list(expected), (found, expected)

        await red.update(own, 2, set=0b1111)
        await seen()                             # nothing is enabled: a VF has no such bits
        await pf0.update(express, 2, set=0b0111)
        await seen((red.rid, nonfatal))          # poison; unsupported requests are not reported
        await pf0.update(express, 2, set=0b1000)
        told = [(red.rid, nonfatal)] * 2 + [(pf0.rid, nonfatal)]
        await seen(*told)                        # [pcie-5.0: 7.8.4.6] advisory ones are masked
        advisory = pf0.extended_capability(PCI_EXT_CAP_ID_ERR) + PCI_ERR_COR_MASK
        await pf0.update(advisory, 4, clear=PCI_ERR_COR_ADV_NFAT)
        await seen((red.rid, cor), *told)
        await pf0.update(express, 2, clear=0b1111)
        await pf0.update(PCI_COMMAND, 2, set=PCI_COMMAND_SERR)
        await seen(*told)                        # SERR# Enable alone
        for function in (red, pf0):
            assert await function.read(PCI_COMMAND + 2, 2) & PCI_STATUS_SIG_SYSTEM_ERROR
        severity = pf0.extended_capability(PCI_EXT_CAP_ID_ERR) + PCI_ERR_UNCOR_SEVER
        await pf0.update(severity, 4, set=PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_POISON_TLP)
        # Severity is the physical function's, for its virtual ones too.
        await seen((red.rid, fatal), (red.rid, fatal), (pf0.rid, fatal))
        mask = pf0.extended_capability(PCI_EXT_CAP_ID_ERR) + PCI_ERR_UNCOR_MASK
        await pf0.update(mask, 4, set=PCI_ERR_UNC_UNSUP)
        await seen((red.rid, fatal))
        # A storm: some messages, and everybody else's frames.
        await pf0.update(mask, 4, clear=PCI_ERR_UNC_UNSUP)
        before = len(env.world.log(Event.MESSAGE))
        for _ in range(40):
            await bus.send_tlp(tlp(**nowhere, fmt=Fmt.FOUR_DW_DATA), bytes(4), answered=False)
        await bystander(rig, drivers[1], 1, 2)
        assert 4 <= len(env.world.log(Event.MESSAGE)) - before <= 40


def broken_frames(source):
    """Frames that the card must not hand to anybody."""
    good = from_wire(udp(RED_FAR, member(0)[1], bytes(200)), VNI_RED, VTEP)

    def changed(place, octets):
        return good[:place] + octets + good[place + len(octets):]
    yield good[:13]
    yield good[:30]
    yield good[:60]
    yield good[:100]
    yield good + bytes(9300)
    yield changed(24, b"\0\0")              # IPv4 header checksum
    yield changed(14, b"\x65")              # version 6 in an IPv4 frame
    yield changed(14, b"\x42")              # IHL under 5
    yield changed(16, b"\xFF\xFF")          # total length beyond the frame
    yield changed(20, b"\x20\x00")          # first fragment
    yield changed(20, b"\x00\x10")          # a later fragment
    yield changed(38, b"\0\x04")            # UDP length under 8
    yield changed(42, b"\0")                # VXLAN without its I flag
    yield changed(46, b"\x01\x01\x01")      # nobody's VNI
    for _ in range(40):
        place = source.randrange(len(good))
        yield source.randbytes(source.randrange(1, 200))
        # Any bit of the outer IPv4 header fails its checksum; of UDP and VXLAN some may be free.
        if 14 <= place < 34:
            yield changed(place, bytes([good[place] ^ 1 << source.randrange(8)]))


@cocotb.test()
async def broken_wire(dut):
    """Truncated, oversized, contradictory frames and fragments; the good ones all arrive."""
    async with net_rig(dut, 1) as (rig, drivers):
        red, = drivers
        good = udp(RED_FAR, member(0)[1], b"good" * 30)
        for number, frame in enumerate(broken_frames(random.Random(card().seed))):
            rig.env.wire_send(frame, error=number % 7 == 6)
            rig.env.wire_send(from_wire(good, VNI_RED, VTEP))
            only(await red.receive_frames(1, timeout_ns=300_000), [good])
        # In error on the wire: dropped whatever it says.
        rig.env.wire_send(from_wire(good, VNI_RED, VTEP), error=True)
        await rig.bus.sleep(30_000)
        assert await red.receive() == []


@cocotb.test()
async def config_under_load(dut):
    """Configuration requests and registers are answered while a tenant sends all it can."""
    async with net_rig(dut, 2) as (rig, drivers):
        red, blue = drivers
        frame = udp(member(0)[1], RED_FAR, bytes(1000))

        async def times(count):
            found = []
            for _ in range(count):
                start = rig.bus.now_ns()
                assert await blue.function.read(0, 4) == 0xFFFF_FFFF
                assert await blue.device.get("device_status") & 4
                found.append(rig.bus.now_ns() - start)
            return found

        quiet = await times(10)
        stop = []

        async def flood():
            while not stop:
                await red.send([frame] * 8)
        task = cocotb.start_soon(flood())
        loaded = await times(60)
        stop.append(True)
        await task
        assert max(loaded) < 4 * max(quiet) + 3_000, (max(quiet), max(loaded))
