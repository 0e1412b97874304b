"""The cocotb test inside the simulator: card, controller, guests, calendar; see :mod:`.run`."""

import hashlib
import json
import struct
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import cocotb

from offloadcard.config import CardConfig
from offloadcard.control.controller import Controller, NetworkFunction
from offloadcard.control.flow import Direction
from offloadcard.control.network import AclRule, Port
from offloadcard.control.policy import Match
from offloadcard.control.volumes import Volume
from sim.bridge.calendar import FOREVER, Calendar
from sim.bridge.ethernet import PcapWriter
from sim.bridge.root_port import RootPort
from sim.bridge.user_mode_linux import UserModeLinux
from sim.env import Env, arguments, report
from sim.link.config import LinkConfig
from sim.link.world import Event
from sim.rig import virtual_network

from .cable import Cable, fabric
from .fabric import BEHIND, VTEP, Router
from .fiend import Fiend
from .orders import Orders
from .timeline import PatientCardPort, Timeline

_VNI = 5001
_PREFIX, _FABRIC_PREFIX = IPv4Network("10.0.0.0/24"), IPv4Network("192.0.2.0/24")
# Of the network device that the guest at the tunnel's far end makes by itself.
_FAR_MAC, _FAR_ADDRESS = bytes.fromhex("020000000f0b"), IPv4Address("10.0.0.111")
_DRIVE_OCTETS = 64 << 20
_SEED = 0x0FF1_0ADC_A4D0_5EED  # of the flow table's hashes


class Session:
    """One run.

    Parameters
    ----------
    env : Env
        Started.
    given : dict
        The arguments of :func:`sim.linux.run.boot`.
    """

    def __init__(self, env, given):
        self.env, self.given = env, given
        self.timeline = Timeline(env, self._busy)
        self.fabric = fabric(given["card"])
        if given["cable"]:
            self.router = Cable(env, self.timeline, given["card"], given["cable"])
        else:
            self.router = Router(env, self.timeline, given["joined"],
                                 behind=given["far"] and self._vni(given["far"]))
        self.folder = Path(given["folder"])
        self.digest = hashlib.blake2b(digest_size=16)
        self.counts, self.functions, self.machines = {}, {}, []
        self.fiend, self.attacking = None, False

    def _busy(self):
        """Is something under way that is neither a guest's nor the card's?"""
        return (self.controller.slowpath.waiting or self.router.under_way
                or self.attacking)

    def attack(self, deeds):
        """The hostile machine begins; the guests are told `abused` when it has done."""
        async def run():
            await self.fiend.attack(deeds)
            self.attacking = False
            told = Path(self.given["orders"]) / "told.abused"
            told.write_text(f"{self.fiend.deeds} accesses\n")
        self.attacking = True
        cocotb.start_soon(run())

    # --- the trace ---

    def note(self, *numbers):
        """A message of a calendar."""
        self.digest.update(struct.pack(f"<{len(numbers)}Q", *(n & (1 << 64) - 1 for n in numbers)))

    async def access(self, machine, op, bar, size, address, octets):
        """An access of a guest; it may cost its CPU something."""
        self.note(machine.number, op, bar, size, address, self.timeline.now_ns)
        self.digest.update(octets)
        if op >= 3:
            await self.timeline.sleep(self.given["mmio_ns"])

    # --- the provider ---

    async def provide(self):
        """Find the card, give every function of every guest what it needs."""
        config, given, env = self.env.config, self.given, self.env
        owners = [*(guest["functions"] for guest in given["guests"]), given["fiend"]]
        names = [name for functions in owners for name in functions]
        self.root = RootPort(env)

        def lonely(kind, physical):
            """VFs that must be enabled before their guest boots: up to the last without its PF."""
            return max((int(name.removeprefix(kind)) + 1 for functions in owners
                        if physical not in functions
                        for name in functions if name.startswith(kind)), default=0)

        await self.root.start(net_vfs=lonely("net", "pf0"), nvme_vfs=lonely("nvme", "pf1"))
        self.controller = controller = await Controller.attach(
            PatientCardPort(env), fabric=self.fabric, seed=_SEED, dram_octets=env.dram_octets)
        self.slowpath = cocotb.start_soon(controller.slowpath.run())
        self._networked = [name for name in names
                           if controller.is_network_function(self.root.ports[name].function_id)]
        for name in names:
            port = self.root.ports[name]
            if controller.is_network_function(port.function_id):
                await self._join(name, port.function_id)
            else:
                await self._store(name, port.function_id)
        if len(names) > config.functions:
            raise ValueError(f"the card must have {len(names)} functions")

    def _vni(self, name):
        return self.given["networks"].get(name, _VNI)

    def _names(self, name):
        """MAC and address of a network function: 10.0.0.2 is PF0's, 10.0.0.10 its first VF's."""
        if name == self.given["far"]:
            return self.fabric.next_hop_mac, VTEP
        number = 2 if name == "pf0" else 10 + int(name.removeprefix("net"))
        return bytes([2, 0, 0, 0, 0, number]), IPv4Address(f"10.0.0.{number}")

    def _behind_wire(self, vni):
        """MAC and address of the members that a network has behind the wire."""
        for other in self._networked:
            if other == self.given["far"]:
                yield _FAR_MAC, _FAR_ADDRESS
            elif self._vni(other) == self.router.routes.get(vni):
                yield self._names(other)

    async def _join(self, name, function_id):
        """One port of a virtual network; members reach one another."""
        vni = self._vni(name)
        networks = self.controller.topology.networks
        if name == self.given["far"]:
            prefix, remotes = _FABRIC_PREFIX, [
                (self.fabric.address, self.fabric.mac.hex(), str(BEHIND))]
        else:
            prefix, remotes = _PREFIX, [(address, mac.hex(), str(VTEP))
                                        for mac, address in self._behind_wire(vni)]
            remotes += self.elsewhere(vni)
        new = () if vni in networks else (virtual_network(vni, [prefix], remotes),)
        network = new[0] if new else networks[vni]
        mac, address = self._names(name)
        members = AclRule("members", 100, Match(Direction.INBOUND), True)
        await self.controller.provision(
            NetworkFunction(Port(function_id, network, mac, (address,), acl=(members,),
                                 mtu=self.given["mtu"], lease=self.lease()),
                            **dict.fromkeys(self.given["refused"], False)),
            networks=new)
        self.functions[name] = {"mac": mac.hex(":"), "address": str(address), "vni": vni}

    def elsewhere(self, vni):
        """``(address, MAC in hex, VTEP)`` of members of the network on the other card."""
        other = fabric(1 - self.given["card"])
        members = [self._names(name) for name in self.given["others"] if self._vni(name) == vni]
        return [(address, mac.hex(), str(other.address)) for mac, address in members]

    def lease(self):
        """What DHCP tells the guests; they are not told here."""
        return None

    async def _store(self, name, function_id):
        """One volume; a file's octets are put there."""
        wanted = self.given["drives"].get(name, _DRIVE_OCTETS)
        image = Path(wanted).read_bytes() if isinstance(wanted, str) else b""
        octets = len(image) or wanted
        await self.controller.provision(Volume(function_id, 1, octets // 512))
        place = self.controller.store.taken[function_id, 1]
        self.env.dram[place.start:place.start + len(image)] = image
        self.functions[name] = {"octets": octets, "place": place.start}

    def _keep_drives(self):
        for name, wanted in self.given["drives"].items():
            if isinstance(wanted, str) and name in self.functions:
                start, octets = (self.functions[name][k] for k in ("place", "octets"))
                Path(wanted).write_bytes(self.env.dram[start:start + octets])

    # --- the guests ---

    async def live(self):
        """Boot all guests, one behind the other; wait until the last has ended."""
        self.timeline.begin()
        self.orders = Orders(self.given["orders"], self.timeline, self.controller, {
            name: self.root.ports[name].function_id for name in self._networked},
            self.attack if self.given["fiend"] else None)
        calendar = Calendar(self.folder / "calendar", self.timeline, note=self.note,
                            chores=self._chores, horizon=self._horizon)
        for number, guest in enumerate(self.given["guests"], 1):
            machine = UserModeLinux(self.root, number, guest["functions"],
                                    self.folder / f"g{number}", self.access)
            self.machines.append(machine)
            await machine.attach()
            for name in guest["functions"]:
                self.env.world.tolerate(self.root.ports[name].rid, guest["hostile"])
        if self.given["fiend"]:
            self.fiend = Fiend(self.root, len(self.machines) + 1, self.given["fiend"],
                               self.given["seed"])
        arrived = self.env.on_interrupt

        def interrupted(requester, message):
            self.note(requester, message.data, self.timeline.now_ns)
            if self.given["interrupt_ns"]:
                cocotb.start_soon(self._later(arrived, requester, message))
            else:
                arrived(requester, message)
                self.timeline.wake()

        self.env.on_interrupt = interrupted
        try:
            for machine, guest in zip(self.machines, self.given["guests"]):
                machine.start(Path(self.given["kernel"]), guest["append"],
                              calendar=self.folder / "calendar", memory=guest["memory"],
                              console=guest["console"], environment=guest["environment"],
                              before=self.given["before"])
                calendar.connect(machine)
            if self.given["cable"]:
                self.router.begin(lambda: calendar.due_ns)
            await calendar.run()
            if self.given["cable"]:
                self.router.end()
        finally:
            for machine in self.machines:
                machine.stop()
            calendar.close()
            self.turns, self.spins = calendar.turns, calendar.spins

    async def _chores(self, earliest_ns):
        """While all guests stand still."""
        for machine in self.machines:
            if machine.keys is not None:
                machine.keys.show()
        await self.orders.carry_out(earliest_ns)

    def _horizon(self):
        return self.router.horizon_ns if self.given["cable"] else FOREVER

    async def _later(self, arrived, requester, message):
        await self.timeline.sleep(self.given["interrupt_ns"])
        arrived(requester, message)
        self.timeline.wake()

    # --- what came of it ---

    def write_files(self):
        """Frames and TLPs, where asked for."""
        world = self.env.world
        if self.given["pcap"]:
            with PcapWriter(self.given["pcap"]) as writer:
                for time_ns, octets in self.router.frames:
                    writer.write(time_ns, octets)
        if self.given["tlp_log"]:
            with open(self.given["tlp_log"], "w") as log:
                for record in world.log():
                    packed = int(record["c"])
                    log.write(json.dumps({
                        "ns": int(record["time_ps"]) / 1000, "kind": Event(record["kind"]).name,
                        "requester": int(record["a"]), "address": int(record["b"]),
                        "octets": packed >> 16, "fmt_type": packed >> 8 & 0xFF}) + "\n")

    def result(self):
        """The report."""
        world = self.env.world
        if self.env.rest is not None:
            self.env.rest.catch_up()
        self.digest.update(world.trace.to_bytes(8, "little"))
        return {
            "virtual_ns": self.timeline.now_ns, "clocks": world.cycle,
            "skipped_ns": world.skipped_ps / 1000,
            "rests": self.env.rest.count if self.env.rest else 0, "turns": self.turns,
            "deeds": self.fiend.deeds if self.fiend else 0,
            "spins": self.spins,
            "counts": self.root.counts, "trace": self.digest.hexdigest(),
            "frames_to_wire": world.wire_count(), "functions": self.functions,
            "guests": [{"code": m.process.returncode, "ended": m.ended} for m in self.machines],
        }


async def live_through(dut, kind):
    """One session of that kind, as the arguments say, from the first clock to the report."""
    given = arguments()
    config = CardConfig(**given["config"])
    octets = sum(_DRIVE_OCTETS if isinstance(d, str) else d for d in given["drives"].values())
    log = {Event.TLP_UP, Event.TLP_DOWN, Event.DOORBELL, Event.INTERRUPT} if given["tlp_log"] \
        else ()
    count = sum(len(guest["functions"]) for guest in given["guests"]) + len(given["fiend"])
    async with Env(dut, config, LinkConfig(seed=given["seed"]), log=log, guest_octets=1 << 24,
                   dram_octets=max(1 << 28, octets + count * _DRIVE_OCTETS),
                   quiet_clocks=config.quiet_clocks) as env:
        session = kind(env, given)
        await session.provide()
        await session.live()
        session.controller.slowpath.stop()
        session.write_files()
        session._keep_drives()
        report(**session.result())


@cocotb.test()
async def guests(dut):
    """Boot the guests that the arguments name, and report."""
    await live_through(dut, Session)
