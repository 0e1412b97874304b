"""Measuring the drive: bursts of reads and writes, and one read alone."""

from offloadcard.control.volumes import Volume, VolumeTable
from offloadcard.nvme_emul import spec

from ..card_port import SimulatedPort
from ..host.nvme_driver import NvmeDriver
from ..host.prp import Transfer
from ..link.world import Event
from .net import PATIENCE_NS
from .slope import percentiles, slope_ns, spread
from .stations import stations

__all__ = ["nvme", "latency_nvme"]

BLOCK = 512
VOLUME_OCTETS = 16 << 20


async def _start(env, count, entries, *, interrupts):
    machine = env.machine()
    await machine.start(nvme_vfs=count)
    volumes, drivers = VolumeTable(SimulatedPort(env)), []
    for n, function in enumerate(machine.nvme):
        guest = env.guest(1 + n)
        guest.assign(function.rid)
        await volumes.store(Volume(function_id=env.config.first_nvme_vf + n, nsid=1,
                                   blocks=VOLUME_OCTETS // BLOCK), n * VOLUME_OCTETS)
        await env.bus.sleep(1_000)
        await machine.give(function, guest.memory)
        driver = NvmeDriver(function, io_queues=1, entries=entries, interrupts=interrupts)
        await driver.start()
        drivers.append(driver)
    return drivers


def _put(driver, number, octets, write):
    """One command of ``octets`` at a block of its own; the buffer is page aligned."""
    transfer = Transfer(driver.memory, octets, owner=driver.function.rid)
    block = number * (octets // BLOCK) % (VOLUME_OCTETS // BLOCK)
    driver.queues[1].put(transfer, opcode=int(spec.Opcode.WRITE if write else spec.Opcode.READ),
                         nsid=1, prp1=transfer.prp1, prp2=transfer.prp2, cdw10=block,
                         cdw12=octets // BLOCK - 1)


async def nvme(env, scenario, packets, seed):
    """Commands of all queues until their completion entries are written."""
    # A small card has fewer functions and shorter queues.
    queues = min(scenario.queues, env.config.nvme_vfs)
    each = min(packets // queues, env.config.nvme_queue_size // 2)
    drivers = await _start(env, queues, 2 * each, interrupts=False)
    for driver in drivers:
        for n in range(each):
            _put(driver, n, scenario.octets, scenario.write or scenario.mixed and n % 2)
    env.begin()
    for driver in drivers:
        await driver.queues[1].ring()
    done = each * len(drivers)

    def ended():
        return all(driver.queues[1].cq.read_int(16 * (each - 1) + 14, 2) & 1 for driver in drivers)
    for _ in range(PATIENCE_NS // 1_000):
        if ended():
            break
        await env.bus.sleep(1_000)
    else:
        raise TimeoutError(f"{done} commands must end within {PATIENCE_NS} ns")
    start = env.world.log(Event.DOORBELL)["time_ps"][0] / 1000
    log = env.world.log(Event.TLP_UP)
    log = log[log["c"] >> 8 & 0xFF == 0x60]
    times, counts = [], []
    for driver in drivers:
        ring = driver.queues[1].cq
        mine = log[(log["b"] >= ring.address) & (log["b"] < ring.address + ring.size)]
        times.extend(mine["time_ps"] / 1000)
        counts.extend((mine["c"] >> 16) // 16)
        for completion in await driver.queues[1].take():
            assert completion.status == 0, f"a command ended with status {completion.status:#x}"
    times = spread(times, counts)
    return {"operations": done, "slope_ns": slope_ns(times),
            "latency_ns": percentiles(times - start)}


async def latency_nvme(env, scenario, packets, seed):
    """One read at a time, the card idle, media off: doorbell to the interrupt's write."""
    driver, = await _start(env, 1, 64, interrupts=True)
    queue, message = driver.queues[1], driver.messages[driver.queues[1].vector]
    env.begin()
    for n in range(packets):
        _put(driver, n, scenario.octets, False)
        seen = env.bus.messages_seen(message)
        await queue.ring()
        if not await env.bus.wait_message(message, seen, PATIENCE_NS):
            raise TimeoutError("a read must end with an interrupt")
        for completion in await queue.take():
            completion.token.free()
        await env.bus.sleep(5_000)
    bells = env.world.log(Event.DOORBELL)
    # Every second doorbell is the completion queue's head.
    tail = driver.base + spec.DOORBELL_BASE + 8
    bells = bells[bells["b"] == tail]["time_ps"] / 1000
    log = env.world.log(Event.TLP_UP)
    written = log[(log["b"] == message.address)]["time_ps"] / 1000
    places = {"command": (queue.sq.address, queue.sq.size),
              "completion entry": (queue.cq.address, queue.cq.size),
              "interrupt": (message.address, 4)}
    return {"operations": packets, "slope_ns": None, "latency_ns": percentiles(written - bells),
            "extra": {"stations": stations(env.world.log(), bells, places=places,
                                           last="interrupt written")}}
