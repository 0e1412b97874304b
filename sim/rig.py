"""A card in a machine with guests: what system tests and the demo stand on.

    async with Rig(dut, config) as rig:
        await rig.start(net_vfs=2, nvme_vfs=1)
        red = await rig.tenant_net(0)
        await red.send([frame])

Every guest has its own memory; the monitor refuses each access to another's.
"""

from .env import Env
from .host.machine import Machine
from .host.nvme_driver import NvmeDriver
from .host.pci_regs import PCI_CAP_ID_EXP
from .host.virtio_net_driver import VirtioNetDriver

__all__ = ["Rig"]

HOST = 0  # the provider's own guest number: physical functions


class Rig:
    """Env, machine and guests.

    Parameters
    ----------
    dut, config
        As for ``Env``; ``options`` reach it.

    Attributes
    ----------
    env : Env
    machine : Machine
        Whose ``net`` and ``nvme`` are the virtual functions.
    """

    def __init__(self, dut, config, link=None, *, ari=True, **options):
        self.config = config
        self.env = Env(dut, config, link, **options)
        self.ari = ari
        self.machine = None

    async def __aenter__(self):
        await self.env.__aenter__()
        self.machine = Machine(self.env.bus, ari=self.ari)
        self.machine.on_bars = self._own_bars
        return self

    async def __aexit__(self, *error):
        return await self.env.__aexit__(*error)

    @property
    def bus(self):
        """The provider's bus."""
        return self.env.bus

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
        if function in machine.net:
            return config.first_net_vf + machine.net.index(function)
        if function in machine.nvme:
            return config.first_nvme_vf + machine.nvme.index(function)
        return 0 if function is machine.net_pf else 1

    async def give(self, function):
        """Hand a function to its guest, whose number is its function_id; bus master is on."""
        guest = self.env.guest(self.function_id(function))
        guest.assign(function.rid)
        function.bus = self.env.bus_of(guest.number)
        return await self.machine.give(function, guest.memory)

    async def tenant_net(self, n, **options):
        """The driver of network VF ``n``, started."""
        driver = VirtioNetDriver(await self.give(self.machine.net[n]), **options)
        await driver.start()
        return driver

    async def tenant_drive(self, n, **options):
        """The driver of storage VF ``n``, started."""
        driver = NvmeDriver(await self.give(self.machine.nvme[n]), **options)
        await driver.start()
        return driver
