"""Driver of the card's flow table: commands, events, generations, meters, templates."""

from ..gft.spec import (
    LAYER_SETS,
    MANAGEMENT,
    TEMPLATES,
    Allowance,
    FlowEntry,
    MeterKind,
    Opcode,
    Reason,
    Status,
    Template,
    checksum,
)
from ..rtl.octets import pack
from ..rtl.spec_card import HOUSE_GFT
from .command_ring import CommandRing, FlowTableError
from .house import House
from .ports import Mutex

__all__ = ["FlowTableError", "FlowTable"]


class FlowTable:
    """Commands in order: posted, to be awaited later or never (``post_…``: a :class:`Ticket` of
    :mod:`.command_ring`), or awaited to their completion. ``clock_mhz`` is the card's clock, by
    which limits are counted.
    """

    _patience = 10_000  # reads of a status before we say that the engine is dead

    def __init__(self, port, *, clock_mhz):
        self.port      = port
        self.house     = House(port, HOUSE_GFT, MANAGEMENT)
        self.clock_mhz = clock_mhz
        self.flows     = None
        self.ring      = CommandRing(self.house, port)
        self._mutex    = Mutex(port)

    async def start(self, *, seed, exception_limit=None):
        """Key the hashes, wait until the tables are clear, and let both directions look up.

        ``exception_limit``: packets that a function may have at the slow path; unless told
        otherwise twice what one order slot takes.
        """
        async with self._mutex:
            self.flows = await self.house.read("FLOWS")
            if exception_limit is None:
                exception_limit = 2 * await self.house.read("ORDER_BUDGET")
            await self._ready()
            await self.house.write("SEED", seed)
            await self._ready()
            await self.house.write("EXCEPTION_LIMIT", exception_limit)
            await self.ring.restart()
            await self.house.write("CONTROL", {"guest_enable": 1, "wire_enable": 1})

    async def _ready(self):
        for _ in range(self._patience):
            if await self.house.read("STATUS") & 1:
                return
        raise FlowTableError("the flow table does not become ready")

    async def stop(self):
        """Drop whatever comes in, both ways."""
        await self.house.write("CONTROL", {"guest_enable": 0, "wire_enable": 0})

    def post_insert(self, key, entry, *, handle):
        """Put ``entry`` (fields) under ``key`` (octets) into row ``handle``."""
        return self.ring.post(Opcode.INSERT, handle=handle, KEY=key, ENTRY=pack(FlowEntry, entry))

    def post_update(self, entry, *, handle):
        """Another action for row ``handle``."""
        return self.ring.post(Opcode.UPDATE, handle=handle, ENTRY=pack(FlowEntry, entry))

    def post_delete(self, *, handle):
        """Row ``handle`` is free for whatever is posted from now on."""
        return self.ring.post(Opcode.DELETE, handle=handle)

    def post_expire(self, handle, *, epoch):
        """The first row from ``handle`` whose flow was not seen since ``epoch`` is freed."""
        return self.ring.post(Opcode.EXPIRE, handle=handle, epoch=epoch)

    async def insert(self, key, entry, *, handle):
        """Put ``entry`` (fields) under ``key`` (octets) into row ``handle``: status and row."""
        return await self.ring.wait(self.post_insert(key, entry, handle=handle))

    async def update(self, entry, *, handle):
        """Another action for row ``handle``: its status."""
        return (await self.ring.wait(self.post_update(entry, handle=handle)))[0]

    async def delete(self, *, handle):
        """Row ``handle`` is free again: the status."""
        return (await self.ring.wait(self.post_delete(handle=handle)))[0]

    async def idle_from(self, handle, *, epoch):
        """The first row from ``handle`` whose flow was not seen since ``epoch``, or ``None``."""
        status, found = await self.ring.wait(
            self.ring.post(Opcode.SCAN, handle=handle, epoch=epoch))
        return found if status == Status.OK else None

    async def expire_from(self, handle, *, epoch):
        """As :meth:`idle_from`, and its row is free again, in one command."""
        status, found = await self.ring.wait(self.post_expire(handle, epoch=epoch))
        return found if status == Status.OK else None

    async def events(self, *, most=64):
        """Take the events that wait, up to ``most``: others may come as fast as these go."""
        if not self.ring.events:
            await self.ring.look()
        events = self.ring.events
        return [events.popleft() for _ in range(min(most, len(events)))]

    async def set_epoch(self, epoch):
        """What flows that are seen from now on are stamped with."""
        await self.house.write("EPOCH", epoch)

    async def set_generation(self, function_id, *, current, hard, layer_set=0):
        """Which entries of a function are fresh, and which are denied."""
        if layer_set not in range(LAYER_SETS):
            raise ValueError(f"`layer_set` must be below {LAYER_SETS}, not {layer_set!r}")
        await self.house.write("GENERATION", {"current": current, "hard": hard,
                                              "function_id": function_id,
                                              "layer_set": layer_set})

    def rate_fields(self, rate, burst):
        """A :class:`MeterRate` of ``rate`` units a second and ``burst`` units; 0 is no limit."""
        if not rate:
            return {"cycles": 0, "burst": 0}
        cycles = round(self.clock_mhz * 1_000_000 * 65_536 / rate)
        fields = {"cycles": cycles, "burst": max(1, burst * cycles >> 16)}
        if not 0 < cycles < 1 << 32 or fields["burst"] >= 1 << 32:
            raise ValueError(f"`rate` must be one that the meter can count, not {rate!r} "
                             f"with a burst of {burst!r}")
        return fields

    async def set_meter(self, function_id, *, bits_per_second=0, packets_per_second=0,
                        burst_octets=16_384, burst_packets=64, kind=MeterKind.OUT,
                        wire=False):
        """Limits of a function, of one kind; 0 is none. ``wire``: new flows from the wire."""
        octets  = self.rate_fields(bits_per_second / 8, burst_octets)
        packets = self.rate_fields(packets_per_second, burst_packets)
        async with self._mutex:
            await self.house.write("METER_OCTETS", octets)
            await self.house.write("METER_PACKETS", packets)
            await self.house.write("METER", {"function_id": function_id, "kind": kind,
                                             "wire": int(wire)})

    async def exceeded(self, function_id, *, wire=False):
        """Packets that were dropped for want of each allowance, by :class:`~.spec.Allowance`."""
        counts = {}
        async with self._mutex:
            for allowance in Allowance:
                await self.house.write("EXCEEDED", {"function_id": function_id,
                                                    "allowance": allowance, "wire": int(wire)})
                counts[allowance] = await self.house.read("EXCEEDED_PACKETS")
        return counts

    async def set_template(self, row, *, source, destination, source_mac, destination_mac,
                           udp_port=4789, ttl=64):
        """Outer headers of a push in ``row``."""
        if row not in range(TEMPLATES):
            raise ValueError(f"`row` must be below {TEMPLATES}, not {row!r}")
        # Total length, identification and checksum are 0 here, DF is set; the card adds the length.
        header = (bytes([0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, 17, 0, 0]) + source.packed
                  + destination.packed)
        fields = {
            "ethernet_destination": int.from_bytes(destination_mac, "big"),
            "ethernet_source":      int.from_bytes(source_mac, "big"),
            "source_address":       int(source),
            "destination_address":  int(destination),
            "udp_port": udp_port, "ttl": ttl, "ip_sum": checksum(header) ^ 0xFFFF,
        }
        async with self._mutex:
            await self.house.write_wide("TEMPLATE", pack(Template, fields))
            await self.house.write("TEMPLATE", row)

    async def counters(self, handle):
        """Packets and octets of row ``handle``, and the epoch in which it was seen last."""
        async with self._mutex:
            await self.house.write("FLOW", handle)
            return (await self.house.read("FLOW_PACKETS"), await self.house.read("FLOW_OCTETS"),
                    await self.house.read("FLOW_SEEN"))

    async def reasons(self):
        """How many packets left the fast path, by direction and reason; zeros are left out."""
        counts = {}
        async with self._mutex:
            for direction, offset in (("guest", 0), ("wire", 32)):
                for reason in Reason:
                    await self.house.write("REASON", reason + offset)
                    count = await self.house.read("REASON_PACKETS")
                    if count:
                        counts[direction, reason.name] = count
        return counts
