"""Measuring the network: bursts from guests, bursts to guests, both, and one frame alone."""

import random
from types import SimpleNamespace

from offloadcard.control.flow_table import FlowTable
from offloadcard.gft import spec as gft
from offloadcard.rtl.octets import pack

from ..card_port import SimulatedPort
from ..host.virtio_net_driver import VirtioNetDriver
from ..link.world import Event
from .frames import udp_frame
from .slope import percentiles, slope_ns, slopes_together, spread
from .stations import stations

__all__ = ["net_tx", "net_rx", "net_bidir", "latency_net", "start_flows"]

PATIENCE_NS = 2_000_000


async def start_flows(env, seed):
    """The flow table, keyed and open both ways; an exception would spoil the burst."""
    table = FlowTable(SimulatedPort(env), clock_mhz=env.config.clock_mhz)
    await table.start(seed=random.Random(seed).getrandbits(64))
    return table


async def put_flow(table, handle, flow, **entry):
    """One flow: ``flow`` is what :mod:`.frames` made its headers from."""
    key = {"source_address": flow.source, "destination_address": flow.destination,
           "source_port": flow.source_port, "destination_port": flow.destination_port,
           "protocol": gft.PROTOCOL_UDP, "l3_type": gft.L3Type.IPV4, **flow.key}
    status, _ = await table.insert(pack(gft.Key, key), entry, handle=handle)
    if status != gft.Status.OK:
        raise RuntimeError(f"flow {handle} must be inserted, not {status.name}")


def flow_of(number, **key):
    """Addresses and ports of flow ``number``."""
    return SimpleNamespace(source=0x0A00_0002 + (number << 8), destination=0x0A80_0002,
                           source_port=0x4000 + number, destination_port=4000, key=key)


async def start_tenants(env, count, entries, *, frame_octets, receive):
    """``count`` virtual functions, a guest and a driver each; ready to send and receive."""
    machine = env.machine()
    await machine.start(net_vfs=count)
    drivers = []
    for n, function in enumerate(machine.net):
        guest = env.guest(1 + n)  # above 4 GiB: headers of four double words
        guest.assign(function.rid)
        await machine.give(function, guest.memory)
        driver = VirtioNetDriver(function, queue_size=entries, split="one",
                                 receive_buffers=entries if receive else 1,
                                 frame_octets=frame_octets)
        await driver.start()
        driver.rx.no_interrupt(True)  # as a busy host: the burst is measured without interrupts
        drivers.append(driver)
    await env.bus.sleep(5_000)  # receive buffers are fetched ahead, or not
    return drivers


def _used_of(env, drivers, queue):
    """``(times, counts)`` of used elements written to the drivers' rings."""
    log = env.world.log(Event.TLP_UP)
    log = log[log["c"] >> 8 & 0xFF == 0x60]  # MWr, four double words
    times, counts = [], []
    for driver in drivers:
        ring = getattr(driver, queue)
        first, last = ring.used.address + 4, ring.used.address + ring.used.size - 2
        mine = log[(log["b"] >= first) & (log["b"] < last)]
        times.extend(mine["time_ps"] / 1000)
        counts.extend((mine["c"] >> 16) // 8)
    return spread(times, counts)


async def _prepare(env, scenario, packets, seed, *, receive):
    # A small card has fewer functions and shorter rings.
    queues = min(scenario.queues, env.config.virtio_net_vfs)
    each = min(packets // queues, env.config.virtio_queue_size)
    entries = 1 << max(2, (each - 1).bit_length())
    drivers = await start_tenants(env, queues, entries, receive=receive,
                                  frame_octets=scenario.octets)
    table = await start_flows(env, seed)
    first = env.config.first_net_vf
    flows = []
    for n in range(queues):
        out = flow_of(n, source=first + n, direction=gft.Direction.GUEST)
        into = flow_of(64 + n, direction=gft.Direction.WIRE)
        await put_flow(table, 2 * n, out, destination=gft.DestinationKind.WIRE, owner=first + n)
        await put_flow(table, 2 * n + 1, into, destination=gft.DestinationKind.FUNCTION,
                       destination_function=first + n, owner=first + n)
        flows.append((out, into))
    return drivers, flows, each


def _fill(drivers, flows, each, octets):
    for driver, (out, _) in zip(drivers, flows):
        for _ in range(each):
            driver.queue(udp_frame(out, octets))
        driver.tx.publish()


async def _ring(drivers):
    for driver in drivers:
        await driver.device.notify(1)


async def net_tx(env, scenario, packets, seed):
    """Frames of all queues until they are at the MAC."""
    drivers, flows, each = await _prepare(env, scenario, packets, seed, receive=False)
    _fill(drivers, flows, each, scenario.octets)
    env.begin()
    await _ring(drivers)
    done = each * len(drivers)
    await env.wait_count(Event.FRAME_OUT, done, PATIENCE_NS)
    await env.bus.sleep(10_000)
    times = env.world.log(Event.FRAME_OUT)["time_ps"] / 1000
    start = env.world.log(Event.DOORBELL)["time_ps"][0] / 1000
    return {"operations": done, "slope_ns": slope_ns(times),
            "latency_ns": percentiles(times - start)}


async def _received(env, drivers, expected):
    """Wait until all has arrived, or nothing has come for 20 us: ``(times, lost)``."""
    count, quiet = 0, 0
    while count < expected and quiet < 20:
        await env.bus.sleep(1_000)
        now = sum(driver.rx.waiting for driver in drivers)
        count, quiet = now, 0 if now > count or env.world.wire_waiting() else quiet + 1
    if count < expected // 2:
        raise TimeoutError(f"{expected} frames must be received, not {count}")
    times = _used_of(env, drivers, "rx")
    times.sort()
    return times, expected - count


async def net_rx(env, scenario, packets, seed):
    """Frames of the wire, back to back, until they are in the used rings; ``lost`` are counted."""
    drivers, flows, each = await _prepare(env, scenario, packets, seed, receive=True)
    env.begin()
    done = each * len(drivers)
    for n in range(done):
        env.wire_send(udp_frame(flows[n % len(drivers)][1], scenario.octets))
    times, lost = await _received(env, drivers, done)
    sent = env.world.log(Event.FRAME_IN)["time_ps"] / 1000
    latencies = times - sent if not lost else []
    return {"operations": done - lost, "slope_ns": slope_ns(times),
            "latency_ns": percentiles(latencies), "extra": {"lost": lost}}


async def net_bidir(env, scenario, packets, seed):
    """Both at once; the rate is that of the slower direction."""
    drivers, flows, each = await _prepare(env, scenario, packets, seed, receive=True)
    _fill(drivers, flows, each, scenario.octets)
    env.begin()
    done = each * len(drivers)
    for n in range(done):
        env.wire_send(udp_frame(flows[n % len(drivers)][1], scenario.octets))
    await _ring(drivers)
    await env.wait_count(Event.FRAME_OUT, done, PATIENCE_NS)
    times, lost = await _received(env, drivers, done)
    out, into = slopes_together(env.world.log(Event.FRAME_OUT)["time_ps"] / 1000, times)
    return {"operations": done, "slope_ns": max(out, into), "latency_ns": percentiles([]),
            "extra": {"tx_mpps": 1000 / out, "rx_mpps": 1000 / into, "lost": lost}}


async def latency_net(env, scenario, packets, seed):
    """One frame at a time, the card idle: doorbell to the first beat at the MAC."""
    drivers, flows, _ = await _prepare(env, scenario, 4, seed, receive=False)
    driver, latencies = drivers[0], []
    env.begin()
    for n in range(packets):
        driver.clean()
        driver.queue(udp_frame(flows[0][0], scenario.octets))
        driver.tx.publish()
        await driver.device.notify(1)
        await env.wait_count(Event.FRAME_OUT, env.first_frame + n + 1, PATIENCE_NS)
        await env.bus.sleep(5_000)
    bells = env.world.log(Event.DOORBELL)["time_ps"] / 1000
    latencies = env.world.log(Event.FRAME_OUT)["time_ps"] / 1000 - bells
    ring = driver.tx
    places = {"flags": (ring.avail.address, 1, 4), "index": (ring.avail.address, 3),
              "available ring": (ring.avail.address, ring.avail.size),
              "descriptor": (ring.desc.address, ring.desc.size),
              "used ring": (ring.used.address, ring.used.size)}
    return {"operations": packets, "slope_ns": None, "latency_ns": percentiles(latencies),
            "extra": {"stations": stations(env.world.log(), bells, places=places,
                                           last="first beat at the MAC",
                                           aside=("flags", "used ring"))}}
