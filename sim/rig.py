"""A card in a machine with guests and its own processor: what system tests and the demo stand on.

    async with Rig(dut, config) as rig:
        await rig.control()
        await rig.start(net_vfs=2, nvme_vfs=1)
        await rig.provision_drive(0, 1 << 20)
        drive = await rig.tenant_drive(0)

Every guest has its own memory; the monitor refuses each access to another's.
"""

from ipaddress import IPv4Address, ip_address

import cocotb

from offloadcard.control.controller import Controller, Limit, NetworkFunction
from offloadcard.control.network import Fabric, Port, Remote, VirtualNetwork
from offloadcard.control.volumes import Volume

from .card_port import SimulatedPort
from .env import Env
from .host.machine import Machine
from .host.nvme_driver import NvmeDriver
from .host.pci_regs import PCI_CAP_ID_EXP
from .host.virtio_net_driver import VirtioNetDriver

__all__ = ["FABRIC", "Rig", "virtual_network"]

HOST = 0  # the provider's own guest number: physical functions

FABRIC = Fabric(IPv4Address("192.0.2.1"), bytes.fromhex("020000000aa1"),
                bytes.fromhex("020000000aa2"))


def virtual_network(vni, prefixes, remotes=(), *, gateway_mac="020000000a01"):
    """A tenant's network; ``remotes`` are (address, MAC in hex, VTEP)."""
    return VirtualNetwork(vni, tuple(prefixes), bytes.fromhex(gateway_mac), remotes={
        ip_address(address): Remote(bytes.fromhex(mac), IPv4Address(vtep))
        for address, mac, vtep in remotes})


class Rig:
    """Env, machine, guests, controller.

    Parameters
    ----------
    dut, config, link
        As for ``Env``; ``options`` reach it.
    ari : bool
        The port above the card forwards ARI.

    Attributes
    ----------
    env : Env
    machine : Machine
        Whose ``net`` and ``nvme`` are the virtual functions.
    controller : Controller
        After :meth:`control`.
    """

    def __init__(self, dut, config, link=None, *, ari=True, **options):
        self.config = config
        self.env = Env(dut, config, link, **options)
        self.ari = ari
        self.checksums = False  # what provision_net offers: checksums completed by the card
        self.machine = self.controller = self._slowpath = None

    async def __aenter__(self):
        await self.env.__aenter__()
        self.machine = Machine(self.env.bus, ari=self.ari)
        self.machine.on_bars = self._own_bars
        return self

    async def __aexit__(self, *error):
        if self._slowpath is not None:
            self.controller.slowpath.stop()
            if error[0] is None:
                await self._slowpath
        return await self.env.__aexit__(*error)

    @property
    def bus(self):
        """The provider's bus."""
        return self.env.bus

    # --- the provider ---

    async def control(self, *, fabric=FABRIC, seed=0x0FF1_0ADC_A4D0_5EED, **options):
        """Attach the controller and start its slow path."""
        self.controller = await Controller.attach(
            SimulatedPort(self.env), fabric=fabric, seed=seed,
            dram_octets=self.env.dram_octets, **options)
        self._slowpath = cocotb.start_soon(self.controller.slowpath.run())
        return self.controller

    async def provision_drive(self, n, octets, *, nsid=1, **options):
        """A volume of 512-octet blocks for storage VF ``n``."""
        await self.controller.provision(Volume(self.config.first_nvme_vf + n, nsid,
                                               octets // 512, **options))

    def volume(self, drive, nsid):
        """The octets of a volume, in the card's DRAM."""
        place = self.controller.store.taken[self.function_id(drive.function), nsid]
        return self.env.dram[place.start:place.stop]

    async def provision_net(self, n, network, mac, addresses, *, limit=None, **options):
        """The network side of network VF ``n``; a ``network`` is added at its first port."""
        port = Port(self.config.first_net_vf + n, network, bytes.fromhex(mac),
                    tuple(ip_address(a) for a in addresses), **options)
        known = network.vni in self.controller.topology.networks
        await self.controller.provision(
            NetworkFunction(port, limit or Limit(), checksums=self.checksums),
            networks=() if known else (network,))

    # --- the machine ---

    def _own_bars(self, function):
        for address, size in function.bars.values():
            self.env.world.range(address, size, "mmio", requester=function.rid)

    async def start(self, *, net_vfs=2, nvme_vfs=2, identify=True):
        """Enumerate the card, enable VFs."""
        await self.machine.start(net_vfs=net_vfs, nvme_vfs=nvme_vfs, identify=identify)
        for function in (self.machine.net_pf, self.machine.nvme_pf):
            self.env.guest(HOST).assign(function.rid)
            self.env.world.capability(function.capability(PCI_CAP_ID_EXP))

    def function_id(self, function):
        """Dense id of a function, as decision 0001 counts them."""
        machine, config = self.machine, self.config
        if function is machine.net_pf:
            return 0
        if function is machine.nvme_pf:
            return 1
        physical, first = ((machine.net_sriov, config.first_net_vf)
                           if function.physical is machine.net_pf
                           else (machine.nvme_sriov, config.first_nvme_vf))
        return first + physical.vfs.index(function)

    async def give(self, function):
        """Hand a function to its guest, whose number is its function_id; bus master is on."""
        guest = self.env.guest(self.function_id(function))
        guest.assign(function.rid)
        function.bus = self.env.bus_of(guest.number)
        return await self.machine.give(function, guest.memory)

    async def tenant_net(self, n, driver=VirtioNetDriver, **options):
        """The driver of network VF ``n``, started."""
        driver = driver(await self.give(self.machine.net[n]), **options)
        await driver.start()
        return driver

    async def tenant_drive(self, n, **options):
        """The driver of storage VF ``n``, started."""
        driver = NvmeDriver(await self.give(self.machine.nvme[n]), **options)
        await driver.start()
        return driver
