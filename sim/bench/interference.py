"""A victim alone, then beside attackers: what is left of its rate, and what its latency becomes.

The victim sends minimum frames at a paced rate below its fair share, receives as many, and reads
(or writes) 4 KiB blocks, at a paced rate below its fair share, too: what it would do one after the
other is what the latency says. All is measured twice in one run, without and with the attack.
"""

from collections import Counter
from types import SimpleNamespace

import cocotb
import numpy

from ..link.world import Event
from . import new_flows
from .attacks import ATTACKS, DRIVES, SERVED, Attackers
from .frames import udp_frame
from .net import start_flows
from .rings import Drive, Ring
from .service import DriveService, NetReceive, NetTransmit, serve
from .slope import tail
from .sustained import command_maker
from .tenants import Tenants

__all__ = ["interference"]

POLL_NS = 250
VICTIM_MPPS = 2.0     # below a sixteenth of what the card sends; less beside more attackers:
SHARED_MPPS = 100.0   # of this it sends no more than its part
VICTIM_MIOPS = 0.3    # below a tenth of what the card reads or writes; less beside more:
SHARED_MIOPS = 3.0
BLOCKS = 4            # in flight at most
SETTLE_NS = 10_000    # of an attack, before the window opens
DRAIN_NS = 30_000     # after it: what is later than this is lost
OPEN_DRAIN_NS = 300_000  # the same for flows that the slow path decides
OCTETS = 60


class Wire:
    """The far end: sources take turns on one line, each at its own rate, as their frames are due.

    A source is ``(frames, mpps)``: its frames go round for ever, until it is taken away.
    """

    ROUND_NS = 500

    def __init__(self, env):
        self.env, self.sources, self.counts, self.stopping = env, {}, {}, False

    def add(self, name, frames, mpps, *, most=None):
        """Send ``frames`` at ``mpps`` from now on, ``most`` of them at most."""
        self.sources[name] = (frames, 1e6 / mpps, self.env.world.now_ps, most)
        self.counts[name] = 0

    def remove(self, name):
        """Send no more of them."""
        del self.sources[name]

    async def run(self):
        """Serve until ``stopping``."""
        while not self.stopping:
            until, due = self.env.world.now_ps + 1000 * self.ROUND_NS, []
            for name, (frames, gap_ps, start_ps, most) in self.sources.items():
                n = self.counts[name]
                while (time := start_ps + n * gap_ps) < until and n != most:
                    due.append((time, frames[n % len(frames)]))
                    n += 1
                self.counts[name] = n
            for time, frame in sorted(due):
                self.env.world.wire_send(frame, not_before_ps=round(time))
            await self.env.bus.sleep(self.ROUND_NS)


class _Timed(NetTransmit):
    """A transmit queue that keeps when each frame was offered."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.times = []

    def ring_bell(self):
        self.times += [self.bus.now_ns()] * (self.ring.offered - len(self.times))
        super().ring_bell()


class _TimedDrive(DriveService):
    """A paced drive that keeps when each command was submitted."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.times = []

    def ring_bell(self):
        self.times += [self.bus.now_ns()] * (self.ring.offered - len(self.times))
        super().ring_bell()

    def of_completions(self, first):
        """When the commands of completions from number ``first`` on were submitted."""
        given = {}
        for number, cid in enumerate(self.ring.given):
            given.setdefault(cid, []).append(number)
        turn, times = Counter(), []
        for cid in self.ring.cids:
            times.append(self.times[given[cid][turn[cid]]])
            turn[cid] += 1
        return times[first:]


class _Victim:
    def __init__(self, env, tenants, wire, mpps, miops, mix, opener=None):
        self.mpps, self.miops, self.mix, self.opener = mpps, miops, mix, opener
        self.env, self.flow, self.wire = env, tenants.flows[0], wire
        self.net, self.drive = tenants.net[0], tenants.drives[0]
        self.net_ring = None

    def prepare(self):
        """Frames in their descriptors, a command in its slot."""
        for _ in range(self.net.tx.size):
            self.net.queue(udp_frame(self.flow[0], OCTETS))
        self.net.tx.avail_idx = 0
        self.transmit = Ring(self.net.tx)
        self.receive = NetReceive(self.net, Ring(self.net.rx, posted=True))
        self.blocks = Drive(self.drive.queues[1], BLOCKS,
                            command_maker(self.drive, 4096, self.mix, BLOCKS))

    async def window(self, frames):
        """Send, receive and read for as long as ``frames`` take; what was seen."""
        env, world = self.env, self.env.world
        sent, received, read = self.transmit.offered, self.receive.ring.taken, self.blocks.taken
        out = _Timed(self.net, self.transmit, sent + frames, rate=self.mpps)
        out.times = [0] * sent
        # The rate counts from the first offer of this window.
        out.began = env.now_ns - 1000 * sent / self.mpps
        drive = _TimedDrive(self.drive, self.blocks, None, rate=self.miops)
        drive.began = env.now_ns - 1000 * self.blocks.offered / self.miops
        drive.times = [env.now_ns] * self.blocks.offered  # in flight from the window before
        env.begin()
        first_frame = env.first_frame
        start_ps = world.now_ps
        self.wire.add("victim", [udp_frame(self.flow[1], OCTETS)], self.mpps, most=frames)
        end = env.now_ns + 1000 * frames / self.mpps
        cq_before = self.blocks.taken
        services = [out, self.receive, drive]
        if self.opener is not None:
            self.opener.begin()
            services.append(self.opener.service)
        await serve(env, services, lambda: env.now_ns >= end, poll_ns=POLL_NS, stall_ns=None)
        reads = self.blocks.taken - read
        span = env.now_ns
        drive.quota = self.blocks.offered  # nothing new
        self.wire.remove("victim")
        drain_ns = DRAIN_NS
        if self.opener is not None:
            self.opener.end()
            drain_ns = OPEN_DRAIN_NS
        await serve(env, services, lambda: env.now_ns >= end + drain_ns, poll_ns=POLL_NS,
                    stall_ns=None)
        opened = {} if self.opener is None else {"open": self.opener.result(first_frame)}
        return SimpleNamespace(
            **opened,
            transmit=self._frames(first_frame, out.times[sent:], frames),
            receive={"share": (self.receive.ring.taken - received) / frames,
                     "samples": self.receive.ring.taken - received,
                     **self._received()},
            read=self._reads(drive, cq_before, reads, span - start_ps / 1000))

    def _frames(self, first, offered, frames):
        """The victim's frames at the MAC, by their source address; rate and latency."""
        world, mine = self.env.world, []
        source = self.flow[0].source.to_bytes(4, "big")
        for n in range(first, world.wire_count()):
            time_ps, octets, _ = world.wire_frame(n)
            if octets[26:30] == source:
                mine.append(time_ps / 1000)
        latencies = numpy.array(mine[:len(offered)]) - offered[:len(mine)]
        return {"share": len(mine) / frames, "samples": len(mine), **tail(latencies)}

    def _received(self):
        """Latency from the first octet at the MAC to the used ring, if none was lost."""
        log = self.env.world.log(Event.TLP_UP)
        ring = self.net.rx.used
        mine = log[(log["c"] >> 8 & 0xFF == 0x60) & (log["b"] >= ring.address + 4)
                   & (log["b"] < ring.address + ring.size - 2)]
        times = numpy.repeat(mine["time_ps"] / 1000, ((mine["c"] >> 16) // 8).astype(int))
        came = self.env.world.log(Event.FRAME_IN)["time_ps"] / 1000
        return tail(times - came if len(times) == len(came) else [])

    def _reads(self, drive, before, reads, span_ns):
        log = self.env.world.log(Event.TLP_UP)
        ring = drive.ring.pair.cq
        ended = log[(log["b"] >= ring.address) & (log["b"] < ring.address + ring.size)]
        # A write has as many entries as fit.
        ended = numpy.repeat(ended["time_ps"] / 1000, ((ended["c"] >> 16) // 16).astype(int))
        began = numpy.array(drive.of_completions(before))
        return {"kiops": 1e6 * reads / span_ns, "samples": len(ended),
                **tail(ended[:len(began)] - began[:len(ended)])}


async def interference(env, scenario, packets, seed):
    """The victim alone, then beside ``scenario.queues`` attackers."""
    config = env.config
    everyone = scenario.attack == "everyone"
    drives = everyone or scenario.attack in DRIVES
    served = scenario.attack in SERVED
    count = min(scenario.queues,
                (config.nvme_vfs if drives else config.virtio_net_vfs) - 1 - served)
    if everyone:  # half of them are drives
        count = min(scenario.queues // 2, config.virtio_net_vfs - 1, config.nvme_vfs - 1)
    if count < 1:
        raise ValueError(f"{scenario.name} needs a card of more functions")
    controller = await new_flows.provision(
        env, seed, 2 + count, limited=scenario.attack == "flow-thrash-limited"
    ) if served else None
    table = controller.table if served else await start_flows(env, seed)
    mine = 1 + served  # functions of the victim: one more opens its new flows
    # The slow path takes rows from the lowest on.
    first_row = config.gft_flows - 2 * (mine + count) if served else 0
    tenants = Tenants(env, table, first_row=first_row)
    starve = scenario.attack == "receive-starvation"
    await tenants.start(net=mine + count * (everyone or not drives), nvme=1 + count * drives,
                        depth=64, frame_octets=OCTETS,
                        entries=min(64, config.virtio_queue_size))
    if starve:  # only the victim posts buffers: the others' are behind an index never moved
        for driver in tenants.net[1:]:
            await driver.device.reset()
            driver.forget()
            driver.receive_buffers = 1
            await driver.restart()
    wire = Wire(env)
    line = cocotb.start_soon(wire.run())
    mpps = min(VICTIM_MPPS, SHARED_MPPS / (count + 1))
    miops = min(VICTIM_MIOPS, SHARED_MIOPS / (count + 1))
    opener = new_flows.Opener(env, tenants.net[1], 1, 2 + count) if served else None
    serving = cocotb.start_soon(controller.slowpath.run()) if served else None
    victim = _Victim(env, tenants, wire, mpps, miops, "write" if scenario.write else "read",
                     opener)
    victim.prepare()
    alone = await victim.window(packets)
    attackers = Attackers(env, tenants.net[mine:], tenants.flows[mine:], OCTETS, wire,
                          tenants.drives[1:])
    task = cocotb.start_soon(ATTACKS[scenario.attack](attackers))
    await env.bus.sleep(SETTLE_NS)
    before = attackers.events
    beside = await victim.window(packets)
    attackers.stop()
    await task
    wire.stopping = True
    await line
    path = {}
    if served:
        controller.slowpath.stop()
        await serving
        path = await _slow_path(controller, count)
    alone.read["share"] = 1.0
    beside.read["share"] = beside.read["kiops"] / alone.read["kiops"]
    return {"operations": 2 * packets, "slope_ns": None, "latency_ns": {
        name: beside.transmit[name] for name in ("p50", "p99", "p999")}, "extra": {
        "attack": scenario.name.removeprefix("interference-"), "attackers": count * (1 + everyone),
        "attack_events": attackers.events - before, "victim_mpps": mpps,
        "victim_miops": miops, **path,
        "alone": vars(alone), "beside": vars(beside)}}


async def _slow_path(controller, count):
    """What the slow path did, and what functions were refused for want of their allowances."""
    first = min(controller.networked)
    refused = [await controller.allowances(first + n) for n in range(2 + count)]
    names = ("new_flows_allowance_exceeded", "slow_path_allowance_exceeded",
             "slow_path_room_exceeded")
    return {"slow_path": controller.slowpath.parameters | {
        "served": controller.slowpath.counters.served,
        "victim_refused": {name: refused[1][name] for name in names},
        "attackers_refused": {name: sum(row[name] for row in refused[2:]) for name in names}}}
