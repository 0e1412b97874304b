"""The card's side of a bridge: a root port that finds the card and carries a machine's accesses.

It enumerates the card on a bus of its own, behind ARI, gives every BAR a place in the simulated
address map, and lends the functions out. What a machine believes about buses and addresses is
the business of that machine's overlay (:mod:`sim.bridge.overlay`).
"""

# Ref: pcie-5.0, 2.2.7 (Memory, I/O, and Configuration Request Rules), 2.3.1 (Request Handling)

from ..host.machine import Machine
from ..host.pci_regs import PCI_COMMAND, PCI_SRIOV_VF_DID, PCI_VENDOR_ID
from .attachment import Port

__all__ = ["CardPort", "RootPort"]

_SC, _CRS = 0, 2
_RETRY_NS, _RETRIES = 10_000, 100_000  # a second in all, as Linux waits for a device


class CardPort(Port):
    """One function as it is, at its real routing id.

    Attributes
    ----------
    function_id, rid : int
    physical : CardPort or None
        The PF, for a VF.
    bars : dict
        BAR number -> (address, size) in the simulated address map.
    owner : Attachment or None
    """

    def __init__(self, root, name, function_id, bars, physical=None):
        self.root, self.name, self.function_id, self.bars = root, name, function_id, bars
        self.rid, self.physical, self.owner = root.bus_number << 8 | function_id, physical, None

    async def config_read(self, offset, size):
        value = done = 0
        while done < size:
            here = min(size - done, 4 - (offset + done) % 4)
            value |= await self._config(False, offset + done, here) << 8 * done
            done += here
        return value

    async def config_write(self, offset, size, value):
        done = 0
        while done < size:
            here = min(size - done, 4 - (offset + done) % 4)
            await self._config(True, offset + done, here,
                               value >> 8 * done & (1 << 8 * here) - 1)
            done += here

    async def _config(self, write, offset, size, value=0):
        """One request; one that the card asks to retry is retried, as a root complex may."""
        self.root.counts["config_write" if write else "config_read"] += 1
        ones = (1 << 8 * size) - 1
        for _ in range(_RETRIES):
            status, octets = await self.root.env.config_access(write, self.rid, offset, size,
                                                               value)
            if status != _CRS:
                break
            await self.root.env.bus.sleep(_RETRY_NS)
        if status != _SC or write:
            return ones
        return int.from_bytes(octets[offset & 3:(offset & 3) + size], "little")

    def _chunks(self, offset, size):
        """Naturally aligned pieces of at most 8 octets, as a CPU's loads and stores are."""
        while size:
            here = 8
            while offset % here or here > size:
                here //= 2
            yield offset, here
            offset, size = offset + here, size - here

    async def bar_read(self, bar, offset, size):
        base, length = self.bars.get(bar, (0, 0))
        if offset + size > length:
            return b"\xff" * size
        octets = b""
        for at, here in self._chunks(offset, size):
            self.root.counts["memory_read"] += 1
            env = self.root.env
            status, found = await env.answer(env.world.memory_read(base + at, here))
            octets += found if status == _SC and len(found) == here else b"\xff" * here
        return octets

    async def bar_write(self, bar, offset, octets):
        base, length = self.bars.get(bar, (0, 0))
        if offset + len(octets) > length:
            return
        for at, here in self._chunks(offset, len(octets)):
            self.root.counts["memory_write"] += 1
            self.root.env.world.memory_write(base + at, octets[at - offset:at - offset + here])


class RootPort:
    """Finds the card, lends its functions to machines, brings their interrupts.

    Parameters
    ----------
    env : sim.env.Env
        Started.

    Attributes
    ----------
    ports : dict
        Name -> :class:`CardPort`; after :meth:`start`.
    counts : dict
        Accesses by kind, and interrupts.
    """

    bus_number = 1

    def __init__(self, env):
        self.env, self.ports, self.machine = env, {}, None
        self.counts = dict.fromkeys(("config_read", "config_write", "memory_read", "memory_write",
                                     "interrupt", "stray"), 0)
        self._by_rid = {}
        env.on_interrupt = self._interrupted

    async def start(self, *, net_vfs=0, nvme_vfs=0):
        """Enumerate, place all BARs, enable so many VFs; every function is left unconfigured."""
        self.machine = machine = Machine(self.env.bus, bus_number=self.bus_number)
        await machine.start(net_vfs=net_vfs, nvme_vfs=nvme_vfs, identify=False)
        config = self.env.config
        for name, function_id, found, kind, sriov, first in (
                ("pf0", 0, machine.net_pf, "net", machine.net_sriov, config.first_net_vf),
                ("pf1", 1, machine.nvme_pf, "nvme", machine.nvme_sriov, config.first_nvme_vf)):
            physical = self._add(CardPort(self, name, function_id, found.bars))
            for n in range(sriov.total):
                bars = {bar: (address + n * size, size)
                        for bar, (address, size) in sriov.bars.items()}
                self._add(CardPort(self, f"{kind}{n}", first + n, bars, physical))
            await found.write(PCI_COMMAND, 2, 0)

    def _add(self, port):
        self.ports[port.name] = self._by_rid[port.rid] = port
        for address, size in port.bars.values():
            self.env.world.range(address, size, "mmio", requester=port.rid)
        return port

    def sriov_bars(self, name):
        """BAR number -> (address, size of one) of the SR-IOV capability of a PF."""
        sriov = self.machine.net_sriov if name == "pf0" else self.machine.nvme_sriov
        return sriov.bars

    async def vf_ids(self, name):
        """(vendor, device) of the VFs of a PF."""
        port, found = self.ports[name], self.machine
        sriov = found.net_sriov if name == "pf0" else found.nvme_sriov
        return (await port.config_read(PCI_VENDOR_ID, 2),
                await port.config_read(sriov.base + PCI_SRIOV_VF_DID, 2))

    def lend(self, name, owner):
        """The port of that name belongs to the attachment ``owner`` from now on."""
        if name not in self.ports:
            raise ValueError(f"`name` must be one of {', '.join(self.ports)}, not {name!r}")
        port = self.ports[name]
        if port.owner is not None:
            raise ValueError(f"{name} must be given to one guest only")
        port.owner = owner
        self.env.world.assign(port.rid, owner.number)
        return port

    def map_memory(self, owner, base, size, file, offset=0):
        """Memory of a guest, from an open file; a writable memoryview of the same octets."""
        return self.env.world.map_file(base, size, guest=owner.number, file=file, offset=offset)

    def map_messages(self, owner, base, size):
        """Writes of the guest's functions to these addresses are interrupts."""
        self.env.world.map(base, size, guest=owner.number, kind=1)
        self.env.world.range(base, size, "msix")

    def _interrupted(self, requester, message):
        port = self._by_rid.get(requester)
        if port is None or port.owner is None:
            self.counts["stray"] += 1
            return
        self.counts["interrupt"] += 1
        port.owner.message(port, message.address, message.data)
