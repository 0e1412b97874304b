"""Connections per second, by DASH's method: six packets each, both ways, closed and aged out.

Guests open TCP connections to a member of their network behind a tunnel and close them at once:
SYN, SYN-ACK, ACK, FIN, FIN-ACK, ACK. The first packet is decided at the slow path, whose service
time is stated; FIN raises an event, and the flows of both ways go.
"""

# Ref: rfc-9293, 3.5 and 3.6 (opening and closing); sonic-dash, hero test (connections per second)

from ipaddress import IPv4Address, ip_address, ip_network

import cocotb

from offloadcard.control.controller import Controller, NetworkFunction
from offloadcard.control.network import Port, Remote, VirtualNetwork

from ..card_port import SimulatedPort
from ..models.packet import Ethernet, Frame, Ipv4, Tcp, assemble
from ..rig import FABRIC
from ..traffic import from_wire
from .slope import percentiles, slope_ns
from .tenants import Tenants

__all__ = ["connections", "CountedPort", "PACKETS", "segment", "with_port"]

PACKETS = 6             # of a connection
FIN, SYN, ACK = 1, 2, 16
POLL_NS, STALL_NS = 500, 3_000_000
EVENTS_NS = 5_000       # how often the slow path looks for events
LINGER_NS, EPOCH_NS = 200_000, 500_000  # longer than the last ACK waits at full load
KNOWN_NS = 1_000        # of a packet whose flow is known: a look at the book, as a guess, but
                        # for processors that decide in no time
TENANTS = 8             # functions whose guests open connections
VNI, VTEP, FIRST_PORT = 100, "192.0.2.2", 1024
SERVER, SERVER_MAC, PORT = IPv4Address("10.0.9.9"), bytes.fromhex("020000000909"), 80
TUNNEL, FLAGS = 50, 47  # octets before the inner frame; place of the flags in one
HOST_PORT = 34


class CountedPort(SimulatedPort):
    """A port that knows how many accesses there were, and how long they took together."""

    def __init__(self, env):
        super().__init__(env)
        self.clear()

    def clear(self):
        """Count from here."""
        self.accesses, self.busy_ns = 0, 0.0

    async def _timed(self, work):
        began = self.env.now_ns
        value = await work
        self.accesses, self.busy_ns = self.accesses + 1, self.busy_ns + self.env.now_ns - began
        return value

    async def read(self, address):
        return await self._timed(super().read(address))

    async def write(self, address, data):
        return await self._timed(super().write(address, data))

    async def burst(self, accesses):
        self.accesses += len(accesses) - 1
        return await self._timed(super().burst(accesses))


def segment(source, destination, ports, flags):
    """A TCP segment without data, between two ``(MAC, address)``."""
    rest = bytes(8) + bytes([5 << 4, flags]) + b"\x20\0"
    return assemble(Frame([Ethernet(destination[0], source[0], 0x0800),
                           Ipv4(0, 0, 0x4000, 64, 6, source[1].packed, destination[1].packed),
                           Tcp(*ports, rest, 0)], b"", [bytes(6)]))


def with_port(frame, port):
    """A segment from port 0 as one from ``port``; that and the checksum are all that differs."""
    frame = bytearray(frame)
    frame[HOST_PORT:HOST_PORT + 2] = port.to_bytes(2, "big")
    total = (int.from_bytes(frame[50:52], "big") ^ 0xFFFF) + port
    frame[50:52] = ((total & 0xFFFF) + (total >> 16) ^ 0xFFFF).to_bytes(2, "big")
    return bytes(frame)


class _Guest:
    """One guest that keeps ``window`` connections open until it has opened its share."""

    def __init__(self, driver, member, share, window):
        self.driver, self.member = driver, member
        self.share, self.window = share, window
        self.opened = self.closed = 0
        self.began = {}  # port -> when its SYN was queued, in ns
        self.frames = {flags: bytearray(segment(member, (SERVER_MAC, SERVER), (0, PORT), flags))
                       for flags in (SYN, ACK, FIN | ACK)}

    def _segment(self, port, flags):
        return with_port(self.frames[flags], port)

    async def step(self):
        """Answer what came, open what the window allows."""
        driver, sent = self.driver, []
        driver.clean()
        if driver.rx.waiting:
            for frame in await driver.receive():
                port = int.from_bytes(frame[36:38], "big")
                if frame[FLAGS] & SYN:
                    sent += [self._segment(port, ACK), self._segment(port, FIN | ACK)]
                elif frame[FLAGS] & FIN:
                    sent.append(self._segment(port, ACK))
                    self.closed += 1
        while self.opened < self.share and self.opened - self.closed < self.window:
            port = FIRST_PORT + self.opened
            self.began[port] = driver.bus.now_ns()
            sent.append(self._segment(port, SYN))
            self.opened += 1
        for frame in sent:
            driver.queue(frame)
        if sent:
            driver.tx.publish()
            await driver.device.notify(1)


class _Server:
    """The far end of the tunnel: answers at once, and knows when a connection has ended."""

    def __init__(self, env):
        self.env, self.packets, self.stage = env, 0, {}
        self.ended = {}  # (address, port) -> when its last segment came
        env.listen_to_wire(self.frame)

    def frame(self, time_ps, octets, error):
        """A frame of the card's."""
        if error or len(octets) < TUNNEL + FLAGS + 1:
            raise ValueError(f"a segment in a tunnel must come, not {octets.hex()}")
        inner = octets[TUNNEL:]
        flags, self.packets = inner[FLAGS], self.packets + 1
        who = inner[26:30], inner[HOST_PORT:HOST_PORT + 2]
        stage = self.stage[who] = self.stage.get(who, 0) + 1
        expected = {1: SYN, 2: ACK, 3: FIN | ACK, 4: ACK}.get(stage)
        if flags != expected:
            raise ValueError(f"segment {stage} of a connection must have flags {expected}, "
                             f"not {flags}")
        if stage == 4:
            self.ended[who] = time_ps / 1000
        elif flags != ACK:
            guest = inner[6:12], ip_address(inner[26:30])
            reply = segment((SERVER_MAC, SERVER), guest,
                             (PORT, int.from_bytes(who[1], "big")), flags | ACK)
            self.packets += 1
            self.env.wire_send(from_wire(reply, VNI, VTEP))


async def _provision(env, scenario, seed, count):
    """Controller with ``count`` members of one network; ``(controller, members)``."""
    controller = await Controller.attach(
        CountedPort(env), fabric=FABRIC, seed=seed, dram_octets=env.dram_octets,
        cores=scenario.cores, service_ns=scenario.service_ns,
        known_ns=min(KNOWN_NS, scenario.service_ns), pairs=True,
        epoch_ns=EPOCH_NS, linger_ns=LINGER_NS,
        quota=max(1, env.config.gft_flows // count))
    controller.slowpath.idle_ns = EVENTS_NS
    network = VirtualNetwork(VNI, (ip_network("10.0.9.0/24"),), bytes.fromhex("020000000a01"),
                             remotes={SERVER: Remote(SERVER_MAC, IPv4Address(VTEP))})
    members = [(bytes.fromhex(f"0200000000{n + 16:02x}"), IPv4Address(f"10.0.9.{n + 16}"))
               for n in range(count)]
    await controller.provision(
        *(NetworkFunction(Port(env.config.first_net_vf + n, network, mac, (address,)))
          for n, (mac, address) in enumerate(members)), networks=(network,))
    return controller, members


def _work(path):
    """Commands of the engine so far: what was inserted, and what was taken out again."""
    counters, aging = path.counters, path.aging
    return counters.inserted, counters.evicted + aging.closed, aging.expired


async def connections(env, scenario, packets, seed):
    """``packets`` connections of all guests together, each to its end; then all rows are free."""
    count = min(TENANTS, env.config.virtio_net_vfs)
    controller, members = await _provision(env, scenario, seed, count)
    path, port = controller.slowpath, controller.port
    entries = min(256, env.config.virtio_queue_size)
    tenants = Tenants(env, None)
    await tenants.start(net=count, entries=entries, frame_octets=60)
    limit = await controller.table.house.read("EXCEPTION_LIMIT")
    # Two segments of a guest may wait at once for each connection that it has open.
    window = max(1, min(scenario.depth, entries // 2, limit))
    guests = [_Guest(driver, member, -(-packets // count), window)
              for driver, member in zip(tenants.net, members)]
    server, total = _Server(env), -(-packets // count) * count
    serving = cocotb.start_soon(path.run())
    env.begin()
    port.clear()
    start, moved, seen = env.now_ns, env.now_ns, None
    while len(server.ended) < total:
        for guest in guests:
            await guest.step()
        if seen != (seen := server.packets):
            moved = env.now_ns
        if env.now_ns - moved > STALL_NS:
            raise TimeoutError(f"a segment must pass within {STALL_NS} ns, {len(server.ended)} of "
                               f"{total} connections ended; {await controller.table.reasons()}")
        await env.bus.sleep(POLL_NS)
    span, busy, accesses, served = (env.now_ns - start, port.busy_ns, port.accesses,
                                    path.counters.served)
    worked_ns = path.scheduler.busy_ns
    inserted, removed, expired = _work(path)
    began = {(guest.member[1].packed, port.to_bytes(2, "big")): ns for guest in guests
             for port, ns in guest.began.items()}
    result = {
        "operations": total, "slope_ns": slope_ns(list(server.ended.values())),
        "latency_ns": percentiles([ns - began[who] for who, ns in server.ended.items()]),
    }
    while path.book.by_handle:  # what lingers, and what raised no event
        if env.now_ns - moved > STALL_NS:
            raise TimeoutError(f"all flows must age out, {len(path.book)} are there")
        await env.bus.sleep(EVENTS_NS)
    path.stop()
    await serving
    cycles = span / env.config.ns_per_cycle
    shares = {
        "slow path's cores": worked_ns / (scenario.cores * span),
        "management port": busy / span,
        "insert engine": (13 * inserted + 12 * removed + 16 * expired) / cycles,
    }
    drained = _work(path)
    return result | {"extra": {
        "functions": count, "slow_path": path.parameters | {"events_ns": EVENTS_NS},
        "packets": server.packets, "window": window,
        "flow_operations_mps": 1000 * (inserted + removed + expired) / span,
        "management_per_connection": accesses / total, "management_ns": busy / accesses,
        "busy": shares, "limited_by": max(shares, key=shares.get),
        "flows": dict(zip(("inserted", "closed", "expired"), drained)),
        "exceptions": served, "lost": {f"{way} {name}": number for (way, name), number in (
            await controller.table.reasons()).items() if name not in ("NONE", "MISS", "ORDER")}}}
