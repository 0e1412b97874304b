"""The provider's machine: finds the card, enables virtual functions, gives them to guests."""

from .enumeration import SriovPf, enumerate_bus
from .pci import BarWindow
from .pci_regs import *

__all__ = ["Machine"]

NETWORK, STORAGE = 0x02, 0x01  # base class codes


class Machine:
    """One host with one card on one bus.

    Parameters
    ----------
    bus : sim.host.bus.Bus
        The world.
    ari : bool
        The port above the card forwards ARI; without it VFs stand on the next bus.

    Attributes
    ----------
    net_pf, nvme_pf : PciFunction
        The physical functions.
    net, nvme : list of PciFunction
        The virtual functions that are enabled.
    on_bars : callable or None
        Called with each function whose BARs are placed, so that a ledger learns whose they are.
    """

    def __init__(self, bus, *, bus_number=1, window=0x4000_0000_0000, ari=True):
        self.bus, self.bus_number, self.ari = bus, bus_number, ari
        self.window = BarWindow(window, 1 << 32)
        self.net_pf = self.nvme_pf = self.net_sriov = self.nvme_sriov = self.on_bars = None

    @property
    def net(self):
        """Virtual functions of PF0."""
        return self.net_sriov.vfs

    @property
    def nvme(self):
        """Virtual functions of PF1."""
        return self.nvme_sriov.vfs

    @property
    def functions(self):
        """All functions that are there."""
        return [self.net_pf, self.nvme_pf, *self.net, *self.nvme]

    async def start(self, *, net_vfs=0, nvme_vfs=0, identify=True):
        """Enumerate, and enable VFs of both kinds."""
        found = await enumerate_bus(self.bus, self.bus_number, self.window, ari=self.ari)
        for function in found:
            kind = await function.read(PCI_REVISION_ID, 4) >> 24
            if kind == NETWORK:
                self.net_pf = function
            elif kind == STORAGE:
                self.nvme_pf = function
        if self.net_pf is None or self.nvme_pf is None:
            raise ValueError(f"the card must show a network and a storage function, not {found}")
        for function in (self.net_pf, self.nvme_pf):
            await self._tune(function)
        self.net_sriov, self.nvme_sriov = SriovPf(self.net_pf), SriovPf(self.nvme_pf)
        # The lowest PF first: it alone keeps ARI Capable Hierarchy, which moves all VFs.
        for sriov in (self.net_sriov, self.nvme_sriov):
            await sriov.setup(self.window, ari=self.ari)
        for sriov, count in ((self.net_sriov, net_vfs), (self.nvme_sriov, nvme_vfs)):
            if count:
                await sriov.enable(count, identify=identify)
        for function in self.functions:
            if self.on_bars is not None:
                self.on_bars(function)

    async def _tune(self, function):
        """Payloads of 256 octets, reads of 512, extended tags: what the root port takes."""
        await function.update(function.capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, 2,
                              clear=PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
                              set=1 << 5 | 2 << 12 | PCI_EXP_DEVCTL_EXT_TAG)

    async def give(self, function, memory=None):
        """Hand a function to a guest: its memory from now on, and bus master."""
        if memory is not None:
            function.memory = memory
        await function.enable()
        return function
