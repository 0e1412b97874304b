"""Every way to end a function, under load, very often; memory is poisoned at once when it ended.

The poison is the test: the monitor records any access to memory that was given back, and the guest
sees whether an octet of it changed.
"""

import random

import cocotb

from sim.host.bus import poll
from sim.host.pci_regs import *
from sim.host.virtqueue import QueueFull
from sim.rig import Rig

from .common import card, config, drive_rig

FRAME = bytes.fromhex("0200000000010200000000020800") + bytes(range(46))


async def _quiet(bus, function):
    """Transactions Pending says that nothing is in flight."""
    async def idle():
        return not await function.pending()
    await poll(bus, idle, "end of transactions", timeout_ns=1_000_000, every_ns=100)


async def flr(rig, driver):
    await driver.function.flr()
    await driver.function.enable()


async def bus_master_off(rig, driver):
    """What is in flight ends, nothing new goes; then the device is reset by its own means."""
    await driver.function.set_master(False)
    await _quiet(rig.bus, driver.function)
    await driver.quit()
    await driver.function.set_master(True)


async def vf_enable_off(rig, driver):
    machine = rig.machine
    sriov = (machine.net_sriov if driver.function.physical is machine.net_pf
             else machine.nvme_sriov)
    function, vfs = driver.function, sriov.vfs
    await sriov.disable()
    await poll(rig.bus, lambda: _absent(rig.bus, function), "the VF gone", timeout_ns=1_000_000,
               every_ns=100)
    await sriov.enable(len(vfs), identify=False, settle_ns=100)
    sriov.vfs = vfs
    await function.enable()


async def _absent(bus, function):
    return await bus.config_read(function.rid, PCI_STATUS, 2) == 0xFFFF


async def own_reset(rig, driver):
    """virtio status 0, or CC.EN = 0."""
    await driver.quit()


ACTIONS = {"flr": flr, "bus_master_off": bus_master_off, "vf_enable_off": vf_enable_off,
           "own_reset": own_reset}


def _load_net(driver, source):
    """Frames in any split, as many as there is room for; some never made visible."""
    count = 0
    try:
        for _ in range(source.randrange(1, driver.tx.size)):
            driver.queue(FRAME * source.randrange(1, 20))
            count += 1
    except QueueFull:
        pass
    driver.tx.publish()
    return count


async def _storm(rig, driver, load):
    """``load(source)`` puts work in flight, the function ends: ``rounds`` times, each looked at."""
    test = card()
    source, action = random.Random(test.seed), ACTIONS[test.action]
    rig.env.world.set(host_latency_ps=100_000)
    memory = driver.memory
    for round_ in range(test.rounds):
        if round_:
            await driver.restart()
        await load(source)
        await rig.bus.sleep(source.choice([1, 50, 300, 700, 1500, 4000]))
        await action(rig, driver)
        spans = [(region.address, region.size) for region in memory.regions.values()]
        driver.forget()
        assert not memory.regions, f"round {round_} must give all memory back"
        await rig.bus.sleep(source.choice([1, 400, 1200]))
        for address, size in spans:
            assert memory.untouched(address, size), f"round {round_}: {address:#x} changed"
        found = rig.env.world.violations()
        assert not found, f"seed {test.seed}, round {round_}: {found[:3]}"


@cocotb.test()
async def net_storm(dut):
    """One network tenant ends by ``action`` ``rounds`` times under load."""
    async with Rig(dut, config()) as rig:
        await rig.start(net_vfs=1, nvme_vfs=0)
        driver = await rig.tenant_net(0, queue_size=8, split="random", interrupts=False,
                                      receive_buffers=4)
        driver.quit = driver.device.reset

        async def load(source):
            _load_net(driver, source)
            await driver.device.notify(1)
        await _storm(rig, driver, load)


@cocotb.test()
async def drive_storm(dut):
    """The same for a drive, reads and writes in flight."""
    async with drive_rig(dut, entries=8) as (rig, drives):
        driver, = drives
        driver.quit = driver.disable

        async def load(source):
            driver.load(source)
            await driver.queues[1].ring()
        await _storm(rig, driver, load)


@cocotb.test()
async def hot_reset(dut):
    """The link goes down under load: all functions are as after power-up."""
    async with Rig(dut, config()) as rig:
        await rig.start(net_vfs=1, nvme_vfs=0)
        driver = await rig.tenant_net(0, queue_size=8, interrupts=False)
        for _ in range(3):
            _load_net(driver, random.Random(1))
            await driver.device.notify(1)
            await rig.bus.sleep(700)
            await rig.env.hot_reset()
            driver.forget()
            assert await rig.bus.config_read(driver.function.rid, 0, 4) == PCI_ERROR_RESPONSE
            rig.machine.window.next = rig.machine.window.base
            await rig.start(net_vfs=1, nvme_vfs=0)
            driver = await rig.tenant_net(0, queue_size=8, interrupts=False)
