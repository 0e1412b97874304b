"""What a hostile tenant does to its neighbours, one attack each; all within its own function.

An attack is a coroutine that runs until its ``Attackers.stop`` says so. What it may cost the others
by right, as a share of the link, is said in its line.
"""

import cocotb

from offloadcard.gft import spec as gft
from offloadcard.virtio_net_emul import spec

from ..link.world import Fault
from . import new_flows
from .frames import udp_frame
from .net import flow_of
from .rings import Drive, Ring
from .service import DriveService, NetTransmit, serve
from .sustained import command_maker
from .tenants import together

__all__ = ["ATTACKS", "DRIVES", "SERVED", "Attackers"]

SLOW_NS = 20_000
BLOCK_OCTETS, COMMANDS = 4096, 32  # of each attacking drive
DOORBELL_NS = 8          # between doorbells of all attackers together
ROUND_NS = 500
STARVE_SHARE = 0.9       # of the line


class Attackers:
    """The hostile tenants: their drivers and drives, started, with nothing queued."""

    def __init__(self, env, drivers, flows, octets, wire, drives=()):
        self.wire, self.drives = wire, drives
        self.env, self.drivers, self.flows, self.octets = env, drivers, flows, octets
        self.stopping, self.events, self.parts = False, 0, []
        for driver in (*drivers, *drives):
            env.world.tolerate(driver.function.rid)

    def stop(self):
        """Let the attack end at its next step."""
        self.stopping = True
        for part in self.parts:
            part.stop()

    def part(self, functions, drives=slice(0)):
        """Some of them, with an attack of their own, which ends with this one."""
        part = Attackers(self.env, self.drivers[functions], self.flows[functions], self.octets,
                         self.wire, self.drives[drives])
        self.parts.append(part)
        return part

    def services(self, *, frames=None):
        """Transmit queues that are kept full, for ever."""
        services = []
        for n, (driver, (out, _)) in enumerate(zip(self.drivers, self.flows)):
            for k in range(driver.tx.size):
                driver.queue(frames(n, k) if frames else udp_frame(out, self.octets))
            driver.tx.avail_idx = 0
            services.append(NetTransmit(driver, Ring(driver.tx), None))
        return services

    async def send(self, services):
        """Serve them until the attack ends."""
        await serve(self.env, services, lambda: self.stopping, poll_ns=ROUND_NS,
                    stall_ns=None)
        self.events = sum(service.ring.taken for service in services)


async def load(attackers):
    """Minimum frames, as many as go: nothing but a fair share is taken."""
    await attackers.send(attackers.services())


async def doorbells(attackers):
    """A doorbell every 8 ns, for queues that have nothing new."""
    world, turn = attackers.env.world, 0
    places = [driver.device.notify_at[1] for driver in attackers.drivers]
    while not attackers.stopping:
        for _ in range(ROUND_NS // DOORBELL_NS):
            world.memory_write(places[turn % len(places)], b"\1\0")
            turn += 1
        await attackers.env.bus.sleep(ROUND_NS)
    attackers.events = turn


async def mmio_reads(attackers):
    """A core of each attacker reads a register without a pause."""
    async def one(driver):
        while not attackers.stopping:
            await driver.device.get("device_status")
            attackers.events += 1
    await together((one(driver) for driver in attackers.drivers), most=len(attackers.drivers))


async def _faulty(attackers, kind, **options):
    services = attackers.services()
    for driver in attackers.drivers:
        for _, region in driver.tx.chains.values():
            attackers.env.world.fault(region.address, region.size, kind, count=-1, **options)
    await attackers.send(services)


async def slow_completions(attackers):
    """Each read of an attacker's payload takes 20 us longer."""
    await _faulty(attackers, Fault.DELAY, delay_ns=SLOW_NS)


async def timeouts(attackers):
    """No read of an attacker's payload is ever answered."""
    await _faulty(attackers, Fault.DROP)


async def _again(driver):
    """Reset the device and start it anew."""
    await driver.device.reset()
    driver.forget()
    await driver.restart()


async def _faulty_drives(attackers, kind, *, queues=False, **options):
    """Writes of 4 KiB whose payload, or whose submission queue, is in faulty memory."""
    services, world = [], attackers.env.world
    for driver in attackers.drives:
        depth = min(COMMANDS, driver.queues[1].entries // 2)
        make = command_maker(driver, BLOCK_OCTETS, "write", depth)
        drive = Drive(driver.queues[1], depth, make, failures=True)
        regions = [(drive.pair.sq.address, drive.pair.sq.size)] if queues else [
            (int.from_bytes(make(cid)[at:at + 8], "little") & ~0xFFF, 4096)
            for cid in range(depth) for at in (24, 32)]  # PRP1 and PRP2
        for address, size in regions:
            if address:
                world.fault(address, size, kind, count=-1, **options)
        services.append(DriveService(driver, drive, None))
    await attackers.send(services)


async def slow_drives(attackers):
    """Drives write; each read of their payload takes 20 us longer."""
    await _faulty_drives(attackers, Fault.DELAY, delay_ns=SLOW_NS)


async def silent_drives(attackers):
    """Drives write; no read of their payload is ever answered."""
    await _faulty_drives(attackers, Fault.DROP)


async def slow_queues(attackers):
    """Each read of a submission queue takes 20 us longer."""
    await _faulty_drives(attackers, Fault.DELAY, queues=True, delay_ns=SLOW_NS)


async def silent_queues(attackers):
    """No read of a submission queue is ever answered."""
    await _faulty_drives(attackers, Fault.DROP, queues=True)


async def bad_chains(attackers):
    """Descriptors that point at themselves; each time the device needs its reset."""
    async def one(driver):
        while not attackers.stopping:
            region = driver.memory.alloc(64, owner=driver.function.rid)
            driver.tx.write_descriptor(0, region.address, 64, spec.VIRTQ_DESC_F_NEXT, 0)
            driver.tx.offer(0)
            driver.tx.publish()
            await driver.device.notify(1)
            await driver.bus.sleep(3_000)
            await _again(driver)
            region.free()
            attackers.events += 1
    await together((one(driver) for driver in attackers.drivers), most=len(attackers.drivers))


async def flr_loop(attackers):
    """Function level resets under load, one after the other."""
    async def one(driver, out):
        while not attackers.stopping:
            for _ in range(driver.tx.size // 4):
                driver.queue(udp_frame(out, attackers.octets))
            driver.tx.publish()
            await driver.device.notify(1)
            await driver.bus.sleep(1_000)
            await driver.function.flr()
            await driver.function.enable()
            driver.forget()
            await driver.restart()
            attackers.events += 1
    await together((one(driver, out) for driver, (out, _) in zip(
        attackers.drivers, attackers.flows)), most=len(attackers.drivers))


async def flow_thrash(attackers):
    """Every frame is of a flow that is not in the table; nobody serves the exceptions."""
    first = attackers.env.config.first_net_vf

    def frames(n, k):
        flow = flow_of(n, source=first + n, direction=gft.Direction.GUEST)
        flow.source_port, flow.destination_port = 0x8000 + k, 9
        return udp_frame(flow, attackers.octets)
    await attackers.send(attackers.services(frames=frames))


async def flow_thrash_served(attackers):
    """Every frame opens a flow, and a slow path serves them; functions take turns there."""
    members = new_flows.members_of(2 + len(attackers.drivers))[2:]
    await attackers.send([new_flows.opening(driver, member)
                          for driver, member in zip(attackers.drivers, members)])


async def flow_thrash_limited(attackers):
    """The same, each function allowed its even part of the slow path."""
    await flow_thrash_served(attackers)


async def receive_starvation(attackers):
    """The wire sends to attackers that post no buffers, as much as the line takes."""
    frames = [udp_frame(into, attackers.octets) for _, into in attackers.flows]
    line = attackers.env.config.port_gbps * 125 / (attackers.octets + 24)
    attackers.wire.add("attack", frames, STARVE_SHARE * line)
    while not attackers.stopping:
        attackers.events = attackers.wire.counts["attack"]
        await attackers.env.bus.sleep(ROUND_NS)
    attackers.wire.remove("attack")


async def everyone(attackers):
    """All of these at once, each by an even part of the functions of its kind."""
    count, others = len(_ON_NETWORK), len(_ON_DRIVES)
    tasks = [cocotb.start_soon(attack(attackers.part(slice(n, None, count))))
             for n, attack in enumerate(_ON_NETWORK)]
    tasks += [cocotb.start_soon(attack(attackers.part(slice(0), slice(n, None, others))))
              for n, attack in enumerate(_ON_DRIVES)]
    for task in tasks:
        await task
    attackers.events = sum(part.events for part in attackers.parts)


_ON_NETWORK = (load, doorbells, mmio_reads, slow_completions, timeouts, bad_chains, flr_loop,
               flow_thrash)
_ON_DRIVES  = (slow_drives, silent_drives, slow_queues, silent_queues)
ATTACKS = {attack.__name__.replace("_", "-"): attack for attack in (
    load, doorbells, mmio_reads, slow_completions, timeouts, bad_chains, flr_loop, flow_thrash,
    flow_thrash_served, flow_thrash_limited, receive_starvation, slow_drives, silent_drives,
    slow_queues, silent_queues, everyone)}
SERVED = ("flow-thrash-served", "flow-thrash-limited")
DRIVES = ("slow-drives", "silent-drives", "slow-queues", "silent-queues")
