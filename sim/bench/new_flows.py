"""Guests that open flows: hostile ones without end, and a victim its own, over a served slow path.

Each frame is a SYN from a port that was not used before, to a member behind a tunnel; the slow path
decides it, gives it a row, and sends it on.
"""

from ipaddress import IPv4Address, ip_network

import numpy

from offloadcard.control.controller import Controller, Limit, NetworkFunction
from offloadcard.control.network import Port, Remote, VirtualNetwork

from ..card_port import SimulatedPort
from ..rig import FABRIC
from .connections import (
    HOST_PORT,
    PORT,
    SERVER,
    SERVER_MAC,
    SYN,
    TUNNEL,
    VNI,
    VTEP,
    segment,
    with_port,
)
from .rings import Ring
from .service import NetTransmit
from .slope import tail

__all__ = ["CORES", "SERVICE_NS", "FreshRing", "Opener", "opening", "provision"]

CORES, SERVICE_NS = 20, 20_000  # of the slow path, as stated for `connections-20-cores`
OPEN_SHARE = 0.7                # of its even part of the slow path the victim opens
VIRTIO_HEADER = 12
FIRST_PORT, PORTS = 1024, 60_000


def members_of(count):
    """``(MAC, address)`` of so many guests of one network."""
    return [(bytes([2, 0, 0, 1, n >> 8, n & 0xFF]), IPv4Address((10 << 24) + (1 << 16) + n))
            for n in range(16, 16 + count)]


def even_part(count):
    """New flows a second that each of ``count`` functions may have of the slow path."""
    return int(CORES * 1e9 / SERVICE_NS / count)


async def provision(env, seed, count, *, limited):
    """Controller with ``count`` members of one network; with ``limited`` each may open its even
    part of what the slow path serves."""
    controller = await Controller.attach(
        SimulatedPort(env), fabric=FABRIC, seed=seed, dram_octets=env.dram_octets, cores=CORES,
        service_ns=SERVICE_NS, quota=max(1, env.config.gft_flows // (2 + count)))
    network = VirtualNetwork(VNI, (ip_network("10.0.0.0/15"),), bytes.fromhex("020000000a01"),
                             remotes={SERVER: Remote(SERVER_MAC, IPv4Address(VTEP))})
    limit = Limit(new_flows_per_second=even_part(count) if limited else 0)
    await controller.provision(
        *(NetworkFunction(Port(env.config.first_net_vf + n, network, mac, (address,)), limit)
          for n, (mac, address) in enumerate(members_of(count))), networks=(network,))
    return controller


class FreshRing(Ring):
    """A transmit ring each of whose frames opens another flow."""

    def __init__(self, queue, frame):
        super().__init__(queue)
        self.frame, self.opened = frame, 0
        self.places = {}  # head -> where its frame lies
        for head, (_, region) in queue.chains.items():
            self.places[head] = (region.memory.view,
                                 region.address - region.memory.base + VIRTIO_HEADER)

    def offer(self, most=None):
        count = len(self.free) if most is None else min(most, len(self.free))
        for head in self.free[::-1][:count].tolist():
            view, at = self.places[head]
            view[at:at + len(self.frame)] = with_port(
                self.frame, FIRST_PORT + self.opened % PORTS)
            self.opened += 1
        return super().offer(most)


def opening(driver, member, *, rate=None, kind=NetTransmit):
    """A transmit queue whose frames open flows, as many as go or ``rate`` a microsecond."""
    frame = segment(member, (SERVER_MAC, SERVER), (0, PORT), SYN)
    for _ in range(driver.tx.size):
        driver.queue(frame)
    driver.tx.avail_idx = 0
    return kind(driver, FreshRing(driver.tx, frame), None, rate=rate)


class _Timed(NetTransmit):
    def ring_bell(self):
        now = self.bus.now_ns()
        self.times += [now] * (self.ring.offered - len(self.times))
        super().ring_bell()


class Opener:
    """The victim's function that opens flows at a pace, each measured to the wire."""

    def __init__(self, env, driver, number, count):
        self.env, self.member = env, members_of(count)[number]
        self.mflows = OPEN_SHARE * even_part(count) / 1e6
        self.service = opening(driver, self.member, rate=self.mflows, kind=_Timed)
        self.service.times = []

    def begin(self):
        """A window opens: its rate counts from here."""
        self.first = self.service.ring.offered
        self.service.quota = None
        self.service.began = self.env.now_ns - 1000 * self.first / self.mflows

    def end(self):
        """Nothing new."""
        self.service.quota = self.service.ring.offered

    def result(self, first_frame):
        """Share and latency of the flows that were opened since :meth:`begin`."""
        offered = self.service.times[self.first:]
        first_port, address = FIRST_PORT + self.first, self.member[1].packed
        world, latencies = self.env.world, {}
        for n in range(first_frame, world.wire_count()):
            time_ps, octets, _ = world.wire_frame(n)
            inner = octets[TUNNEL:]
            if inner[26:30] == address:
                number = int.from_bytes(inner[HOST_PORT:HOST_PORT + 2], "big") - first_port
                if 0 <= number < len(offered):
                    latencies[number] = time_ps / 1000 - offered[number]
        return {"share": len(latencies) / max(1, len(offered)), "samples": len(latencies),
                **tail(numpy.array([latencies[n] for n in sorted(latencies)]))}
