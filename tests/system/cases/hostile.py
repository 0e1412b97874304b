"""Guests that do whatever they like, by Hypothesis; a second tenant is checked meanwhile."""

import cocotb
from cocotb.task import bridge, resume
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sim.host.bus import Timeout

from .common import card, net_rig
from .errors import bystander

ADDRESSES = st.one_of(
    st.integers(0, 0x3FFF).map(lambda n: ("own", n)),         # in the guest's own page
    st.integers(0, 2 ** 64 - 1).map(lambda n: ("any", n)),
    st.sampled_from([("any", 0), ("any", 2 ** 64 - 1), ("any", 2 ** 32 - 2),
                     ("other", 0), ("message", 0)]))
LENGTHS = st.one_of(st.integers(0, 4096), st.sampled_from([2 ** 32 - 1, 2 ** 31, 65_536]))

DESCRIPTOR = st.tuples(st.integers(0, 7), ADDRESSES, LENGTHS, st.integers(0, 15),
                       st.integers(0, 65_535))
VIRTIO_STEP = st.one_of(
    st.tuples(st.just("descriptor"), DESCRIPTOR),
    st.tuples(st.just("avail"), st.integers(0, 7), st.integers(0, 65_535)),
    st.tuples(st.just("idx"), st.sampled_from([0, 1]), st.integers(0, 65_535)),
    st.tuples(st.just("notify"), st.integers(0, 5)),
    st.tuples(st.just("register"), st.integers(0, 0x3F), st.sampled_from([1, 2, 4, 8]),
              st.integers(0, 2 ** 64 - 1)),
    st.tuples(st.just("doorbell"), st.integers(0, 0xEFFF), st.integers(0, 2 ** 32 - 1)),
    st.tuples(st.just("wait"), st.sampled_from([10, 500, 3000])))

NVME_STEP = st.one_of(
    st.tuples(st.just("sqe"), st.sampled_from([0, 1]), st.binary(min_size=64, max_size=64)),
    st.tuples(st.just("io"), st.sampled_from([0, 1, 2, 8, 9]), ADDRESSES, ADDRESSES,
              st.integers(0, 2 ** 34), st.integers(0, 0xFFFF)),
    st.tuples(st.just("ring"), st.integers(0, 40), st.integers(0, 2 ** 17)),
    st.tuples(st.just("register"), st.sampled_from([0x0C, 0x10, 0x14, 0x24, 0x28, 0x2C, 0x30, 0]),
              st.sampled_from([1, 2, 4, 8]), st.integers(0, 2 ** 64 - 1)),
    st.tuples(st.just("wait"), st.sampled_from([10, 500, 3000])))


def _address(driver, region, what):
    kind, value = what
    if kind == "own":
        return region.address + value % region.size
    if kind == "other":
        return driver.memory.base + (1 << 36)   # another guest's memory
    if kind == "message":
        return 0xFEE0_0000
    return value


async def virtio_program(driver, region, program):
    """Run one program against a started device."""
    queues = driver.device.queues
    for step, *what in program:
        if step == "descriptor":
            number, address, length, flags, following = what[0]
            for queue in queues.values():
                queue.write_descriptor(number % queue.size, _address(driver, region, address),
                                       length, flags, following)
        elif step == "avail":
            for queue in queues.values():
                queue.avail.write_int(4 + 2 * (what[0] % queue.size), 2, what[1])
        elif step == "idx":
            queues[what[0]].avail.write_int(2, 2, what[1])
        elif step == "notify":
            await driver.bus.write(driver.device.notify_at[0] + 4 * what[0], 2, what[0])
        elif step == "register":
            offset, size, value = what
            await driver.bus.write(driver.function.bars[0][0] + offset // size * size, size,
                                   value & (1 << 8 * size) - 1)
        elif step == "doorbell":
            await driver.bus.write(driver.function.bars[0][0] + 0x1000 + what[0] // 4 * 4, 4,
                                   what[1])
        else:
            await driver.bus.sleep(what[0])


async def nvme_program(driver, region, program):
    """Run one program against a started controller."""
    for step, *what in program:
        if step == "sqe":
            driver.queues[what[0]].put_raw(what[1])
            await driver.queues[what[0]].ring()
        elif step == "io":
            opcode, prp1, prp2, block, count = what
            pair = driver.queues[1]
            pair.cids = pair.cids or [0]
            pair.pending.clear()
            pair.put(None, opcode=opcode, nsid=1, prp1=_address(driver, region, prp1),
                     prp2=_address(driver, region, prp2), cdw10=block & 0xFFFF_FFFF,
                     cdw11=block >> 32, cdw12=count)
            await pair.ring()
        elif step == "ring":
            await driver.doorbell(what[0], what[1])
        elif step == "register":
            offset, size, value = what
            await driver.bus.write(driver.base + offset, min(size, 4),
                                   value & (1 << 8 * min(size, 4)) - 1)
        else:
            await driver.bus.sleep(what[0])


async def _attack(rig, victim, other, program, run, attempt):
    """One program, then: the other tenant's traffic is whole, and a reset gives a good device."""
    region = victim.memory.alloc(0x4000, align=4096, owner=victim.function.rid)
    await run(victim, region, program)
    await bystander(rig, other, 1, 1)
    await victim.function.flr()
    # Until it was drained the device did as its own guest had told it, with stale commands too.
    own = f"poisoned memory: requester {victim.function.rid:04x} "
    found = [line for line in rig.env.world.violations() if own not in line]
    assert not found, found[:3]
    rig.env.world.violations_clear()
    await victim.function.enable()
    victim.forget()
    region.free()
    try:
        await victim.start()
    except Timeout as error:
        raise AssertionError(f"program {attempt} left a bad device: {error}") from error
    await bystander(rig, other, 1, 1)
    found = rig.env.world.violations()
    assert not found, found[:3]


def hunt(rig, victim, other, steps, run, examples):
    """Hypothesis in a thread of its own, the simulation in this one."""
    attack, count = resume(_attack), []

    @bridge
    def search():
        @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                  phases=(Phase.explicit, Phase.generate),
                  suppress_health_check=list(HealthCheck))
        @given(st.lists(steps, min_size=1, max_size=25))
        def one(program):
            count.append(program)
            attack(rig, victim, other, program, run, len(count))
        one()

    return search()


@cocotb.test()
async def hostile_net(dut):
    """A network tenant writes what it likes into its rings, registers and doorbells."""
    async with net_rig(dut, 2, queue_size=8, interrupts=False) as (rig, drivers):
        victim, other = drivers
        rig.env.world.tolerate(victim.function.rid)
        await hunt(rig, victim, other, VIRTIO_STEP, virtio_program, card().rounds)


@cocotb.test()
async def hostile_drive(dut):
    """A storage tenant writes what it likes into its queues, properties and doorbells."""
    async with net_rig(dut, 2, nvme=1, interrupts=False) as (rig, drivers):
        victim, = rig.drives
        rig.env.world.tolerate(victim.function.rid)
        await hunt(rig, victim, drivers[1], NVME_STEP, nvme_program, card().rounds)
