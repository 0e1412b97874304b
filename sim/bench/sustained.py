"""Sustained runs: the host refills its rings while the card works, with doorbells and interrupts.

The host looks at each busy queue every ``POLL_NS`` (a stated choice, as NAPI's rounds are) and at
an idle one when its interrupt comes. Rates are slopes over the middle of the run, as in a burst.
"""

import numpy

from ..host.prp import Transfer
from ..link.world import Event
from .frames import udp_frame
from .net import start_flows
from .rings import Drive, Ring
from .service import DriveService, NetReceive, NetTransmit, serve
from .slope import percentiles, slope_ns, slopes_together, spread
from .tenants import BLOCK, VOLUME_OCTETS, Tenants

__all__ = ["net_sustained", "zero_loss", "nvme_sustained", "net_tenants", "command_maker",
           "used_times", "QUIET_NS"]

POLL_NS, QUIET_NS = 1_000, 20_000
NVME_DEPTH = 64
LINE_SLACK = 1.02  # what is offered to a line that is to be full


async def net_tenants(env, scenario, seed):
    """``(tenants, transmit rings, receive rings)`` of a network scenario."""
    config = env.config
    count = config.virtio_net_vfs if scenario.everyone else min(scenario.queues,
                                                                config.virtio_net_vfs)
    entries = min(scenario.ring, config.virtio_queue_size)
    table = await start_flows(env, seed)
    tenants = Tenants(env, table)
    receive = scenario.way in ("rx", "bidir")
    nvme = config.nvme_vfs if scenario.drives else 0
    await tenants.start(net=count, nvme=nvme, entries=entries, receive=receive,
                        frame_octets=scenario.octets, depth=2 * scenario.drives or 4)
    transmit, into = [], []
    for n, (driver, (out, _)) in enumerate(zip(tenants.net, tenants.flows)):
        if scenario.way in ("tx", "bidir"):
            for _ in range(entries):
                driver.queue(udp_frame(out, scenario.octets))
            driver.tx.avail_idx = 0  # the descriptors are ready, nothing is offered yet
            transmit.append(Ring(driver.tx, order=scenario.order, seed=seed + n))
        if receive:
            into.append(Ring(driver.rx, order=scenario.order, seed=seed + 512 + n, posted=True))
    return tenants, transmit, into


def used_times(env, queues):
    """Times in nanoseconds at which elements were written to used rings, in order."""
    log = env.world.log(Event.TLP_UP)
    log = log[log["c"] >> 8 & 0xFF == 0x60]  # MWr, four double words
    starts = numpy.array([queue.used.address + 4 for queue in queues], dtype=numpy.uint64)
    order = numpy.argsort(starts)
    stops = starts + numpy.array([queue.used.size - 6 for queue in queues], dtype=numpy.uint64)
    at = numpy.searchsorted(starts[order], log["b"], side="right").astype(int) - 1
    mine = (at >= 0) & (log["b"] < stops[order][at])
    return numpy.sort(spread(log["time_ps"][mine] / 1000, (log["c"][mine] >> 16) // 8))


def _offer_wire(env, flows, count, octets, mpps):
    """``count`` frames at ``mpps`` from now on, tenants in turn."""
    frames = [udp_frame(into, octets) for _, into in flows]
    start_ps, gap_ps = env.world.now_ps, 1e6 / mpps
    for n in range(count):
        env.world.wire_send(frames[n % len(frames)], not_before_ps=round(start_ps + n * gap_ps))


def _interrupts(env):
    return sum(env.messages.values())


class _Arrival:
    """Whether all frames of the wire have arrived, or nothing comes any more."""

    def __init__(self, env, rings, expected):
        self.env, self.rings, self.expected = env, rings, expected
        self.before, self.count, self.since = self.taken(), 0, env.now_ns

    def taken(self):
        return sum(ring.taken + ring.waiting for ring in self.rings)

    def ended(self):
        count = self.taken() - self.before
        if count != self.count or self.env.world.wire_waiting():
            self.count, self.since = count, self.env.now_ns
        return count >= self.expected or self.env.now_ns - self.since > QUIET_NS


async def net_sustained(env, scenario, packets, seed):
    """Frames out, in or both; every queue refilled as it empties."""
    tenants, transmit, into = await net_tenants(env, scenario, seed)
    quota = -(-packets // max(1, len(transmit)))
    services = [NetTransmit(driver, ring, quota)
                for driver, ring in zip(tenants.net, transmit)]
    services += [NetReceive(driver, ring) for driver, ring in zip(tenants.net, into)]
    messages = _interrupts(env)
    drives = [DriveService(driver, Drive(driver.queues[1], scenario.drives,
                                         command_maker(driver, 512, "read", scenario.drives)),
                           None) for driver in tenants.drives]
    env.begin()
    line = env.config.port_gbps * 125 / (scenario.octets + 24)
    if into:
        _offer_wire(env, tenants.flows, packets, scenario.octets, line * LINE_SLACK)
    arrival = _Arrival(env, into, packets if into else 0)

    def ended():
        sent = all(ring.taken >= quota for ring in transmit)
        return sent and (not into or arrival.ended())
    await serve(env, services + drives, ended, poll_ns=POLL_NS)
    ways, extra = {}, {}
    if transmit:
        ways["tx"] = env.world.log(Event.FRAME_OUT)["time_ps"] / 1000
        assert len(ways["tx"]) == quota * len(transmit), f"{len(ways['tx'])} frames sent"
    if into:
        ways["rx"] = used_times(env, [driver.rx for driver in tenants.net])
        extra["lost"] = packets - arrival.count
    slopes = slopes_together(*ways.values())
    operations = max(map(len, ways.values()))
    extra |= {f"{way}_mpps": 1000 / slope for way, slope in zip(ways, slopes)}
    if drives:
        count = sum(service.ring.taken for service in drives)
        extra["drive_operations"] = count
    bells = sum(service.doorbells for service in services)
    extra |= {"functions": len(tenants.net) + len(tenants.drives),
              "doorbells_per_op": bells / operations,
              "interrupts_per_op": (_interrupts(env) - messages) / operations}
    return {"operations": operations, "slope_ns": max(slopes), "latency_ns": percentiles([]),
            "extra": extra}


async def zero_loss(env, scenario, packets, seed):
    """RFC 2544's throughput: the highest rate of the wire at which no frame is lost."""
    tenants, _, into = await net_tenants(env, scenario, seed)
    services = [NetReceive(driver, ring) for driver, ring in zip(tenants.net, into)]
    line = env.config.port_gbps * 125 / (scenario.octets + 24)
    trials = []

    async def trial(mpps):
        await env.bus.sleep(QUIET_NS)
        env.begin()
        messages = _interrupts(env)
        _offer_wire(env, tenants.flows, packets, scenario.octets, mpps)
        arrival = _Arrival(env, into, packets)
        await serve(env, services, arrival.ended, poll_ns=POLL_NS)
        lost = packets - arrival.count
        trials.append({"mpps": mpps, "lost": lost,
                       "interrupts_per_op": (_interrupts(env) - messages) / packets})
        return not lost

    low, high = 0.0, line
    rate = line
    while True:
        if await trial(rate):
            low = rate
        else:
            high = rate
        if high - low <= line / 100 or low == line:
            break
        rate = (low + high) / 2
    # The account and the latencies are those of a last run at the rate that was found.
    good = bool(low) and await trial(low)
    while low and not good:
        low -= line / 100
        good = low > 0 and await trial(low)
    sent = env.world.log(Event.FRAME_IN)["time_ps"] / 1000
    times = used_times(env, [driver.rx for driver in tenants.net])
    return {"operations": packets, "slope_ns": 1000 / low if low > 0 else None,
            "latency_ns": percentiles(times - sent) if good else percentiles([]),
            "extra": {"lost": 0, "trials": trials, "functions": len(tenants.net),
                      "resolution_mpps": line / 100}}


def command_maker(driver, octets, mix, depth):
    """``make(cid)`` of a drive's commands: reads, writes or, with ``mixed``, both in turn."""
    from offloadcard.nvme_emul import spec

    from ..host.nvme_queue import SQE
    transfers = [Transfer(driver.memory, octets, owner=driver.function.rid) for _ in range(depth)]

    def make(cid):
        write = mix == "write" or mix == "mixed" and cid % 2
        transfer = transfers[cid]
        return SQE.pack(
            cid=cid, opcode=int(spec.Opcode.WRITE if write else spec.Opcode.READ), nsid=1,
            prp1=transfer.prp1, prp2=transfer.prp2,
            cdw10=cid * (octets // BLOCK) % (VOLUME_OCTETS // BLOCK), cdw12=octets // BLOCK - 1)
    return make


async def nvme_sustained(env, scenario, packets, seed):
    """Commands of all drives, each submitted again as it ends."""
    config = env.config
    count = config.nvme_vfs if scenario.everyone else min(scenario.queues, config.nvme_vfs)
    depth = min(scenario.depth or NVME_DEPTH, config.nvme_queue_size // 2)
    tenants = Tenants(env, None)
    await tenants.start(nvme=count, depth=2 * depth)
    quota = max(-(-packets // count), depth)
    mix = "mixed" if scenario.mixed else "write" if scenario.write else "read"
    drives = [DriveService(driver, Drive(driver.queues[1], depth, command_maker(
        driver, scenario.octets, mix, depth)), quota) for driver in tenants.drives]
    env.begin()
    messages = _interrupts(env)
    await serve(env, drives, lambda: all(drive.ring.taken >= quota for drive in drives),
                poll_ns=POLL_NS)
    log = env.world.log(Event.TLP_UP)
    log = log[log["c"] >> 8 & 0xFF == 0x60]
    times, counts = [], []
    for driver in tenants.drives:
        ring = driver.queues[1].cq
        mine = log[(log["b"] >= ring.address) & (log["b"] < ring.address + ring.size)]
        times.extend(mine["time_ps"] / 1000)
        counts.extend((mine["c"] >> 16) // 16)
    done = quota * count
    slope = slope_ns(spread(times, counts))
    # Little's law: what is in flight over what ends.
    return {"operations": done, "slope_ns": slope, "latency_ns": percentiles([]), "extra": {
        "functions": count, "depth": depth, "mean_latency_ns": depth * count * slope,
        "doorbells_per_op": sum(drive.doorbells for drive in drives) / done,
        "interrupts_per_op": (_interrupts(env) - messages) / done}}
