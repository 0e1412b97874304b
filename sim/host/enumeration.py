"""Find the functions of the card on a bus, and bring up its virtual functions, as Linux does."""

from .pci import PciFunction
from .pci_regs import *

__all__ = ["enumerate_bus", "SriovPf"]

PAGE = 4096


async def enumerate_bus(bus, number, window, *, ari=True):
    """Physical functions on bus ``number``, identified, BARs placed, memory on, no bus master.

    ``ari`` follows ARI's Next Function Number, as behind a port that forwards ARI; else functions
    0 to 7 are tried where function 0 says multi-function.
    """
    functions, rid = [], number << 8
    first = await _probe(bus, rid)
    if first is None:
        return functions
    functions.append(first)
    # A function learns its bus number from a configuration write.
    chain = first.extended_capability(PCI_EXT_CAP_ID_ARI) if ari else None
    if chain is not None:
        following = await first.read(chain + PCI_ARI_CAP, 2) >> 8
        while following:
            function = await _probe(bus, rid | following)
            if function is None:
                raise ValueError(f"ARI's next function must be there, not {following}")
            if following in (found.rid & 0xFF for found in functions):
                raise ValueError(f"ARI's next function must be new, not {following}")
            functions.append(function)
            chain = function.extended_capability(PCI_EXT_CAP_ID_ARI)
            following = await function.read(chain + PCI_ARI_CAP, 2) >> 8
    elif await first.read(PCI_HEADER_TYPE, 1) & PCI_HEADER_TYPE_MFD:
        for n in range(1, 8):
            function = await _probe(bus, rid | n)
            if function is not None:
                functions.append(function)
    for function in functions:
        function.bars = await function.place_bars(window)
        await function.enable(master=False)
    return functions


async def _probe(bus, rid):
    vendor = await bus.config_read(rid, PCI_VENDOR_ID, 2)
    if vendor in (0xFFFF, 0):
        return None
    function = PciFunction(bus, rid)
    await function.identify()
    return function


class SriovPf:
    """The SR-IOV extended capability of a physical function.

    Attributes
    ----------
    total : int
        TotalVFs.
    vfs : list of PciFunction
        The virtual functions that are enabled now.
    """

    def __init__(self, function):
        self.function = function
        self.base = function.extended_capability(PCI_EXT_CAP_ID_SRIOV)
        self.vfs, self.bars, self.total = [], {}, None

    async def setup(self, window, *, ari=True):
        """Page size, ARI Capable Hierarchy (asked of every PF, kept by the lowest), VF BARs."""
        function, base = self.function, self.base
        if await function.read(base + PCI_SRIOV_CTRL, 2) & PCI_SRIOV_CTRL_VFE:
            await function.write(base + PCI_SRIOV_CTRL, 2, 0)
        self.total = await function.read(base + PCI_SRIOV_TOTAL_VF, 2)
        await function.write(base + PCI_SRIOV_CTRL, 2, PCI_SRIOV_CTRL_ARI if ari else 0)
        sizes = await function.read(base + PCI_SRIOV_SUP_PGSIZE, 4) & ~(PAGE // 4096 - 1)
        await function.write(base + PCI_SRIOV_SYS_PGSIZE, 4, sizes & -sizes)
        self.bars = await function.place_bars(window, base + PCI_SRIOV_BAR, count=self.total)

    async def routing(self, count):
        """First VF Offset and VF Stride for ``count`` VFs: they may change with NumVFs."""
        await self.function.write(self.base + PCI_SRIOV_NUM_VF, 2, count)
        return (await self.function.read(self.base + PCI_SRIOV_VF_OFFSET, 2),
                await self.function.read(self.base + PCI_SRIOV_VF_STRIDE, 2))

    async def enable(self, count, *, identify=True, settle_ns=1_000):
        """Enable ``count`` VFs; returns them, identified, BARs known, bus master off.

        Software waits 100 ms here; ``settle_ns`` is shorter, since the card must answer any
        request at once with data or with a retry.
        """
        if count > self.total:
            raise ValueError(f"`count` must be at most {self.total}, not {count}")
        offset, stride = await self.routing(count)
        await self.function.update(self.base + PCI_SRIOV_CTRL, 2,
                                   set=PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE)
        await self.function.bus.sleep(settle_ns)
        self.vfs = []
        for n in range(count):
            vf = PciFunction(self.function.bus, self.function.rid + offset + stride * n,
                             physical=self.function)
            vf.bars = {number: (address + n * size, size)
                       for number, (address, size) in self.bars.items()}
            if identify:
                await vf.identify()
            self.vfs.append(vf)
        return self.vfs

    async def disable(self):
        """VF Enable off: every VF is gone."""
        await self.function.update(self.base + PCI_SRIOV_CTRL, 2,
                                   clear=PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE)
        self.vfs = []
