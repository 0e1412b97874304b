"""The control plane over the card's RTL: steer, MAC and flow table, in Amaranth's simulator.

One story, told once because the simulator is slow: a first packet, its flow, a tunnel, an answer
from the slow path, a hard change. Every frame that leaves is what the oracle says.
"""

from ipaddress import IPv4Address as A4

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from scapy.all import ARP, Ether

from offloadcard.config import TINY
from offloadcard.control.controller import Limit, NetworkFunction
from offloadcard.control.network import AclRule
from offloadcard.control.policy import Match
from offloadcard.control.ports import CardPort, ManagementError
from offloadcard.gft.pipeline import Pipeline
from offloadcard.nvme_emul import spec as nvme
from offloadcard.pcie import spec_config as pcie
from offloadcard.rtl.mac import Mac
from offloadcard.rtl.management import ManagementSteer
from offloadcard.rtl.ports import ManagementPort, PacketStream
from offloadcard.rtl.regbank import RegisterBank
from offloadcard.rtl.spec_card import mac_beat
from offloadcard.virtio_net_emul import spec as virtio
from sim.models.flow import Outer, Rewrite, equal_but_source_port, transpose
from tests.control.support import FABRIC, attach, mac, network, port
from tests.control.test_slowpath import frame
from tests.support.frames import collect, packet_beats, wire_beats
from tests.support.management import management_access
from tests.support.streams import stream_put_all
from tests.support.tasks import SharedContext, run_tasks

NS_PER_CYCLE = 4
LANES = TINY.data_width // 8


class NetworkSide(wiring.Component):
    """Card without PCIe: steer, MAC, flow table; banks stand for the houses that are absent."""

    def __init__(self):
        packet = PacketStream(data_width=TINY.data_width,
                              function_id_width=TINY.function_id_width)
        beat = mac_beat(data_width=TINY.data_width)
        super().__init__({
            "management": In(ManagementPort()),
            "transmitted": In(packet), "received": Out(packet),
            "exceptions": Out(packet), "inject": In(packet),
            "wire_tx": Out(stream.Signature(beat)),
            "wire_rx": In(stream.Signature(beat, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.steer = steer = ManagementSteer(TINY)
        m.submodules.mac = port = Mac(TINY)
        m.submodules.gft = gft = Pipeline(TINY)
        houses = [port, *(RegisterBank(r.MANAGEMENT) for r in (pcie, virtio, nvme)), gft]
        for number, house in enumerate(houses):
            if 0 < number < 4:
                m.submodules[f"bank{number}"] = house
            wiring.connect(m, steer.houses[number], house.management)
        flipped = wiring.flipped
        wiring.connect(m, flipped(self.management), steer.management)
        wiring.connect(m, flipped(self.transmitted), gft.from_guests)
        wiring.connect(m, gft.to_guests, flipped(self.received))
        wiring.connect(m, gft.exceptions, flipped(self.exceptions))
        wiring.connect(m, flipped(self.inject), gft.inject)
        wiring.connect(m, gft.to_wire, port.from_card)
        wiring.connect(m, port.to_card, gft.from_wire)
        wiring.connect(m, port.wire_tx, flipped(self.wire_tx))
        wiring.connect(m, flipped(self.wire_rx), port.wire_rx)
        return m


class SimulatorPort(CardPort):
    """The control plane's port in Amaranth's simulator; ``packets`` are collected exceptions."""

    def __init__(self, dut):
        self.dut, self.ctx, self.cycles = dut, SharedContext(), 0
        self.packets, self._busy = [], False

    def now_ns(self):
        return self.cycles * NS_PER_CYCLE

    async def _access(self, address, data=None):
        while self._busy:
            await self.ctx.tick()
        self._busy = True
        value, error, _ = await management_access(self.ctx, self.dut.management, address, data)
        self._busy = False
        if error:
            raise ManagementError(address, data is not None)
        return value

    async def read(self, address):
        return await self._access(address)

    async def write(self, address, data):
        await self._access(address, data)

    async def receive(self, timeout_ns=None):
        end = None if timeout_ns is None else self.now_ns() + timeout_ns
        while not self.packets and (end is None or self.now_ns() < end):
            await self.ctx.tick()
        return self.packets.pop(0) if self.packets else None

    async def inject(self, octets):
        await stream_put_all(self.ctx, self.dut.inject, packet_beats(octets, lanes=LANES))

    async def sleep(self, ns):
        await self.ctx.tick().repeat(max(1, round(ns) // NS_PER_CYCLE))


def watcher(stream, frames, on_frame=lambda octets: None):
    """A process that takes every frame of ``stream``."""
    async def watch(ctx):
        beats = []
        ctx.set(stream.ready, 1)
        async for *_, valid, beat in ctx.tick().sample(stream.valid, stream.payload):
            if valid:
                beats.append(beat)
                if beat.last:
                    (octets, error), = collect(beats)
                    assert not error
                    frames.append((beat, octets))
                    on_frame(octets)
                    beats = []
    return watch


def test_the_control_plane_drives_the_rtl():
    dut = NetworkSide()
    card = SimulatorPort(dut)
    received, wire, seen = [], [], []
    held = {}

    async def until(condition, limit=6000):
        for _ in range(limit):
            if condition():
                return
            await card.ctx.tick()
        counts = held["controller"].slowpath.counters
        raise AssertionError(f"nothing came within {limit} cycles: {counts}")

    async def send(octets, function_id):
        await stream_put_all(card.ctx, dut.transmitted,
                             packet_beats(octets, lanes=LANES, function_id=function_id))

    async def story():
        ctx = card.ctx
        controller = held["controller"] = await attach(card, service_ns=400, quota=8)
        net = network()
        await controller.provision(NetworkFunction(port(2, net)),
                                   NetworkFunction(port(3, net), Limit(bits_per_second=10**9)),
                                   networks=[net])
        # The first packet goes by the slow path, the next two do not.
        first = frame(2, 3)
        for count in (1, 2, 3):
            await send(first, 2)
            await until(lambda count=count: len(received) == count)
        assert [octets for _, octets in received] == [first] * 3
        assert {beat.meta.function_id for beat, _ in received} == {3}
        assert controller.slowpath.counters.served == 1
        # To a member elsewhere: in a tunnel, by the MAC.
        away = frame(2, 9)
        await send(away, 2)
        await until(lambda: wire)
        outer = Outer(vni=100, source_mac=FABRIC.mac, destination_mac=FABRIC.next_hop_mac,
                      source=FABRIC.address.packed, destination=A4("192.0.2.2").packed)
        assert equal_but_source_port(wire[0][1], transpose(away, Rewrite(push=outer)))
        # A ping comes back in a tunnel of the peer's; the access list lets it in.
        ping = bytes(Ether(src=mac(9).hex(":"), dst=mac(2).hex(":")) / frame_of_ping())
        back = Outer(vni=100, source_mac=FABRIC.next_hop_mac, destination_mac=FABRIC.mac,
                     source=A4("192.0.2.2").packed, destination=FABRIC.address.packed)
        for beat in wire_beats(transpose(ping, Rewrite(push=back)), lanes=LANES):
            ctx.set(dut.wire_rx.payload, beat)
            ctx.set(dut.wire_rx.valid, 1)
            await ctx.tick()
        ctx.set(dut.wire_rx.valid, 0)
        await until(lambda: len(received) == 4)
        assert received[3][0].meta.function_id == 2 and received[3][1] == ping
        # A question for an address is answered by the card.
        await send(bytes(Ether(src=mac(2).hex(":"), dst="ff:ff:ff:ff:ff:ff")
                         / ARP(hwsrc=mac(2).hex(":"), psrc="10.1.0.2", pdst="10.1.0.3")), 2)
        await until(lambda: len(received) == 5)
        answer = Ether(received[4][1])
        assert answer[ARP].hwsrc == mac(3).hex(":") and received[4][0].meta.function_id == 2
        # A hard change: not one packet of the flow passes any more.
        await controller.set_acl(3, (AclRule("shut", 1, Match(), False),), hard=True)
        before = controller.slowpath.counters.served
        for _ in range(2):
            await send(first, 2)
        await until(lambda: controller.slowpath.counters.served > before)
        await ctx.tick().repeat(400)
        assert len(received) == 5
        # The card's own counters tell the same.
        record = controller.slowpath.book.by_key[controller.slowpath.book.by_handle[0].key]
        assert (await controller.table.counters(record.handle))[0] >= 3
        assert (await controller.port_counters())["tx_frames"] == 1
        reasons = await controller.table.reasons()
        assert reasons["guest", "MISS"] >= 2 and reasons["guest", "GENERATION"] >= 1
        controller.slowpath.stop()

    async def slowpath():
        while "controller" not in held:
            await card.ctx.tick()
        await held["controller"].slowpath.run()

    def count():
        card.cycles += 1

    async def processor(ctx):
        await run_tasks(ctx, card.ctx, story(), slowpath(), on_edge=count)

    simulator = Simulator(dut)
    simulator.add_clock(NS_PER_CYCLE * 1e-9)
    simulator.add_testbench(processor)
    simulator.add_testbench(watcher(dut.received, received), background=True)
    simulator.add_testbench(watcher(dut.wire_tx, wire), background=True)
    simulator.add_testbench(watcher(dut.exceptions, seen, card.packets.append), background=True)
    simulator.run()


def frame_of_ping():
    """An echo request of member 9 to member 2."""
    from scapy.all import ICMP, IP, Raw
    return IP(src="10.1.0.9", dst="10.1.0.2") / ICMP(id=7, seq=1) / Raw(b"ping")
