"""The provider's controller: what each function of the card is, all of it or nothing.

A request is checked against the card and against everything provisioned before, on a copy; only
then is anything written. Should the card refuse a write after all, what was written is undone.
"""

from dataclasses import dataclass, field

from ..gft.spec import MeterKind
from ..pcie import spec_config as pcie
from ..rtl import spec_card
from ..virtio_net_emul import spec as virtio
from .flow_table import FlowTable
from .house import House
from .limit import Limit, allowances_of, meters_of
from .network import Port
from .ports import ManagementError, Mutex
from .slowpath import SlowPath
from .topology import ProvisioningError, Topology
from .volumes import StorageLimit, Store, Volume, VolumeTable

__all__ = ["Limit", "NetworkFunction", "Controller"]


@dataclass
class NetworkFunction:
    """A port and what its guest's driver is told.

    ``checksums`` offers that the card completes checksums of what the guest sends
    (VIRTIO_NET_F_CSUM); without it they are the guest's. ``merged`` offers that a received frame
    may lie in several buffers (VIRTIO_NET_F_MRG_RXBUF).
    """
    port:      Port
    limit:     Limit = field(default_factory=Limit)
    link_up:   bool = True
    checksums: bool = True
    merged:    bool = True


class Controller:
    """Provision functions, volumes and limits of one card; made by :meth:`attach`."""

    def __init__(self, port):
        self.port      = port
        self.card      = House(port, spec_card.HOUSE_CARD, spec_card.MANAGEMENT)
        self.pcie      = House(port, spec_card.HOUSE_PCIE, pcie.MANAGEMENT)
        self.virtio    = House(port, spec_card.HOUSE_VIRTIO_NET, virtio.MANAGEMENT)
        self.volumes   = VolumeTable(port)
        self.path      = None
        self.functions = None
        self.table     = None
        self.topology  = None
        self.store     = None
        self.slowpath  = None
        self.networked = {}  # function_id -> NetworkFunction
        self._mutex    = Mutex(port)
        self._change   = Mutex(port)

    @classmethod
    async def attach(cls, port, *, fabric, seed, dram_octets, **slowpath):
        """Know the card behind ``port``, and start its flow table empty.

        ``seed`` keys the hashes and must be a secret of the provider. ``slowpath`` are parameters
        of :class:`~.slowpath.SlowPath`, which is made, not started: run
        ``controller.slowpath.run()`` as a task.
        """
        self = cls(port)
        if await self.card.read("ID") != spec_card.CARD_ID:
            raise ProvisioningError("the card must be an OffloadCard")
        version = await self.card.read("VERSION")
        if version >> 16 != spec_card.CARD_VERSION >> 16:
            raise ProvisioningError(f"the card's register map must be of version "
                                    f"{spec_card.CARD_VERSION >> 16}, not {version >> 16}")
        self.path      = await self.card.read("PATH")
        self.functions = await self.card.read("FUNCTIONS")
        self.topology  = Topology(fabric)
        self.store     = Store(dram_octets)
        self.table     = FlowTable(port, clock_mhz=self.path.clock_mhz)
        await self.table.start(seed=seed)
        self.slowpath  = SlowPath(port, self.table, self.topology, **slowpath)
        return self

    def is_network_function(self, function_id):
        """Is ``function_id`` a virtio-net function of this card?"""
        f = self.functions
        return function_id == 0 or f.first_net_vf <= function_id < f.first_nvme_vf

    def is_nvme_function(self, function_id):
        """Is ``function_id`` an NVMe function of this card?"""
        f = self.functions
        return function_id == 1 or f.first_nvme_vf <= function_id < f.functions

    # --- provisioning ---------------------------------------------------------------------------

    async def provision(self, *requests, networks=()):
        """Make every request true: :class:`NetworkFunction` and :class:`Volume`, and new
        ``networks``. ``ProvisioningError`` if one cannot be met: then none was."""
        async with self._change:
            topology, store = self.topology.copy(), self.store.copy()
            for network in networks:
                topology.add_network(network)
            steps = [self._template_step(topology, vtep, row)
                     for vtep, row in topology.templates.items()
                     if vtep not in self.topology.templates]
            for request in requests:
                steps += self._steps(request, topology, store)
            await self._apply(steps)
            self._adopt(topology, store)
            changed = [r.port.function_id for r in requests if isinstance(r, NetworkFunction)]
            for request in requests:
                if isinstance(request, NetworkFunction):
                    self.networked[request.port.function_id] = request
            for function_id in changed:
                await self.slowpath.bump(function_id, hard=False)

    def _steps(self, request, topology, store):
        """``(do, undo)`` of a request, which ``topology`` and ``store`` then hold."""
        if isinstance(request, Volume):
            if not self.is_nvme_function(request.function_id):
                raise ProvisioningError(f"function {request.function_id} must be an NVMe "
                                        f"function of this card")
            base = store.place(request)
            return [(lambda: self.volumes.store(request, base),
                     lambda: self.volumes.clear(request.function_id, request.nsid))]
        if not isinstance(request, NetworkFunction):
            raise TypeError(f"`requests` must be NetworkFunction or Volume, not {request!r}")
        port, function_id = request.port, request.port.function_id
        if not self.is_network_function(function_id):
            raise ProvisioningError(f"function {function_id} must be a virtio-net function of "
                                    f"this card")
        longest = self.path.max_frame_octets - 14
        if port.mtu not in range(virtio.MTU_MIN, longest + 1):
            raise ProvisioningError(f"`mtu` must be {virtio.MTU_MIN} to {longest}, "
                                    f"not {port.mtu!r}")
        self._check_limit(request.limit)
        network = topology.networks.get(port.network.vni)
        if network is not None:
            port = Port(**{**vars(port), "network": network})
        topology.put_port(port)
        before = self.networked.get(function_id)
        undo_limit = before.limit if before else Limit()
        return [(lambda: self._set_limit(function_id, request.limit),
                 lambda: self._set_limit(function_id, undo_limit)),
                (lambda: self._store_function(request),
                 lambda: self._store_function(before) if before
                 else self._link_down(function_id))]

    def _check_limit(self, limit):
        if limit.flows not in range(self.table.flows + 1):
            raise ProvisioningError(f"`flows` must be 0 to {self.table.flows}, "
                                    f"not {limit.flows!r}")
        for rates in meters_of(limit).values():
            for rate, burst in zip(rates, (16_384, 64)):
                try:
                    self.table.rate_fields(rate, burst)
                except ValueError as error:
                    raise ProvisioningError(str(error)) from None

    def _template_step(self, topology, vtep, row):
        fabric = topology.fabric
        return (lambda: self.table.set_template(row, source=fabric.address, destination=vtep,
                                                source_mac=fabric.mac,
                                                destination_mac=fabric.next_hop_mac),
                _nothing)

    async def _apply(self, steps):
        """Do all steps, or undo those that were done."""
        done = []
        try:
            for do, undo in steps:
                done.append(undo)
                await do()
        except ManagementError as error:
            for undo in reversed(done):
                try:
                    await undo()
                except ManagementError:
                    continue  # the card refuses this too: what stood there stays as it is
            raise ProvisioningError(f"the card refused: {error}") from None

    def _adopt(self, topology, store):
        self.topology, self.store, self.slowpath.network = topology, store, topology

    async def _store_function(self, request):
        port = request.port
        await self._write_function(port.function_id, mac=port.mac, mtu=port.mtu,
                                   link=request.link_up, checksums=request.checksums,
                                   merged=request.merged)

    async def _link_down(self, function_id):
        await self._write_function(function_id, mac=bytes(6), mtu=virtio.MTU_DEFAULT, link=False)

    async def _write_function(self, function_id, *, mac, mtu, link, checksums=False,
                              merged=False):
        features = virtio.FEATURES_PF if function_id == 0 else virtio.FEATURES
        if not checksums:
            features &= ~(1 << virtio.VIRTIO_NET_F_CSUM)
        if not merged:
            features &= ~(1 << virtio.VIRTIO_NET_F_MRG_RXBUF)
        async with self._mutex:
            await self.virtio.write("FUNCTION", function_id)
            await self.virtio.write("MAC", int.from_bytes(mac, "little"))
            await self.virtio.write("MTU", mtu)
            await self.virtio.write("LINK", int(link))
            await self.virtio.write("FEATURES", features)
            await self.virtio.write("COMMAND", virtio.Command.STORE)

    async def _set_limit(self, function_id, limit):
        for kind, (octets, packets) in meters_of(limit).items():
            await self.table.set_meter(function_id, bits_per_second=8 * octets,
                                       packets_per_second=packets, kind=kind)
        await self.slowpath.set_quota(function_id, limit.flows)

    # --- changes --------------------------------------------------------------------------------

    def _known(self, function_id):
        if function_id not in self.networked:
            raise ProvisioningError(f"function {function_id} must be provisioned first")
        return self.networked[function_id]

    async def set_acl(self, function_id, acl, *, hard=False):
        """Another access list. Soft: flows go on as they were until they are decided again; hard:
        none passes before."""
        await self._change_port(self._known(function_id), hard=hard, acl=tuple(acl))

    async def set_limit(self, function_id, limit):
        """Another limit, at once."""
        request = self._known(function_id)
        self._check_limit(limit)
        await self._set_limit(function_id, limit)
        request.limit = limit

    async def set_wire_limit(self, *, new_flows_per_second):
        """How many packets a second from the wire may go to the slow path; 0 is no limit."""
        limit = Limit(new_flows_per_second=new_flows_per_second)
        self._check_limit(limit)
        await self.table.set_meter(0, packets_per_second=new_flows_per_second,
                                   kind=MeterKind.NEW_FLOWS, wire=True)

    async def allowances(self, function_id):
        """What a function was refused for want of each allowance, and what it has left of flows;
        the names are those of ``docs/control.md``."""
        counts = await self.table.exceeded(function_id)
        return allowances_of(counts, self.slowpath.book, function_id)

    async def _change_port(self, request, *, hard, **changes):
        async with self._change:
            function_id = request.port.function_id
            topology = self.topology.copy()
            port = Port(**{**vars(topology.ports[function_id]), **changes})
            topology.put_port(port)
            self._adopt(topology, self.store)
            request.port = port
            await self.slowpath.bump(function_id, hard=hard)

    async def add_remote(self, vni, address, remote):
        """A member of a virtual network appeared, or moved, behind another tunnel end point."""
        async with self._change:
            topology = self.topology.copy()
            topology.add_remote(vni, address, remote)
            await self._apply([self._template_step(topology, vtep, row)
                               for vtep, row in topology.templates.items()
                               if vtep not in self.topology.templates])
            self._adopt(topology, self.store)
            for function_id, port in topology.ports.items():
                if port.network.vni == vni:
                    await self.slowpath.bump(function_id, hard=False)

    async def set_link(self, function_id, up):
        """What the guest's driver is told of its link."""
        request = self._known(function_id)
        request.link_up = bool(up)
        await self._store_function(request)

    async def release(self, function_id):
        """The function is nobody's any more: no flow, no volume, no limit, link down."""
        async with self._change:
            topology, store = self.topology.copy(), self.store.copy()
            topology.drop_port(function_id)
            gone = [name for name in store.taken if name[0] == function_id]
            for name in gone:
                del store.taken[name]
            self._adopt(topology, store)
            await self.slowpath.bump(function_id, hard=True)
            await self.slowpath.forget_function(function_id)
            for name in gone:
                await self.volumes.clear(*name)
            if gone:
                await self.volumes.set_limit(function_id, StorageLimit(),
                                             clock_mhz=self.path.clock_mhz)
            if self.networked.pop(function_id, None):
                await self._link_down(function_id)
                await self._set_limit(function_id, Limit())

    # --- functions ------------------------------------------------------------------------------

    async def function_state(self, function_id):
        """The function's row in the endpoint: ``closed``, ``bus_master`` and so on."""
        async with self._mutex:
            await self.pcie.write("FUNCTION", function_id)
            return await self.pcie.read("FUNCTION_STATE")

    async def reset_function(self, function_id, *, timeout_ns=100_000_000):
        """Reset a virtual function as FLR does; done when nothing of it is in flight."""
        async with self._mutex:
            await self.pcie.write("FUNCTION", function_id)
            await self.pcie.write("FUNCTION_CONTROL", {"present": 1, "reset": 1})
        end = self.port.now_ns() + timeout_ns
        await self.port.sleep(1000)
        while (await self.function_state(function_id)).closed:
            if self.port.now_ns() > end:
                raise TimeoutError(f"function {function_id} is not drained")
            await self.port.sleep(1000)

    async def set_present(self, function_id, present):
        """Take a virtual function out of the guests' sight, or put it back."""
        async with self._mutex:
            await self.pcie.write("FUNCTION", function_id)
            await self.pcie.write("FUNCTION_CONTROL", {"present": int(present)})

    async def network_counters(self, function_id):
        """Frames and octets of a network function, by register name."""
        names = ("TX_PACKETS", "TX_OCTETS", "RX_PACKETS", "RX_OCTETS", "RX_DROPS", "ERRORS")
        async with self._mutex:
            await self.virtio.write("FUNCTION", function_id)
            return {name.lower(): await self.virtio.read(name) for name in names}

    async def port_counters(self):
        """Counters of the MAC, by register name."""
        return {r.name.lower(): await self.card.read(r.name) for r in spec_card.MANAGEMENT
                if r.name.startswith(("TX_", "RX_"))}


async def _nothing():
    """The undoing of what may stay: a row of outer headers that no flow names."""
