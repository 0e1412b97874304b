"""The flow table and its packet path, untimed: what the card must do with each frame it is given.

An oracle for whole stories: it takes the same commands, entries and injections as the card, and
says which frame leaves where. It holds nothing back for order, because it has no time.
"""

# Ref: rfc-7348, 5

from offloadcard.gft import spec
from offloadcard.rtl.octets import pack, size_of, unpack

from .flow import rewrite_of_entry, transpose
from .packet import Ethernet, Icmp, Ipv4, Ipv6, Malformed, Tcp, Udp, Vlan, Vxlan, dissect

__all__ = ["key_of_frame", "Switch"]

_HEAD = size_of(spec.InjectDescriptor)


def key_of_frame(octets, *, direction, function_id=0):
    """Octets of the :class:`~offloadcard.gft.spec.Key` of a frame; :class:`Malformed` if it has
    none."""
    wire = direction == spec.Direction.WIRE
    frame = dissect(octets, tunnel=wire)
    headers = frame.headers[frame.tunnel + 1:] if frame.tunnel is not None else frame.headers
    tunnel = next((h for h in frame.headers if isinstance(h, Vxlan)), None)
    ethernet = headers[0]
    fields = {"source": 0 if wire else function_id, "direction": direction}
    if tunnel is not None:
        fields.update(tunnel=1, vni=tunnel.vni)
    ethertype = ethernet.ethertype
    for header in headers:
        match header:
            case Vlan(tci, inner) if "vlan" not in fields:
                fields.update(vlan=tci & 0xFFF, vlan_valid=1)
                ethertype = inner
            case Ipv4() | Ipv6():
                version = spec.L3Type.IPV4 if isinstance(header, Ipv4) else spec.L3Type.IPV6
                protocol = header.protocol if version == spec.L3Type.IPV4 else header.next_header
                fields.update(l3_type=version, protocol=protocol,
                              source_address=int.from_bytes(header.source, "big"),
                              destination_address=int.from_bytes(header.destination, "big"))
            case Tcp() | Udp():
                fields.update(source_port=header.source_port,
                              destination_port=header.destination_port)
            case Icmp():
                both = (header.type << 8 | header.code if header.identifier is None
                        else header.identifier)
                fields.update(source_port=both, destination_port=both)
    if "l3_type" not in fields:
        assert isinstance(ethernet, Ethernet)
        fields.update(l3_type=spec.L3Type.OTHER, source_port=ethertype, destination_port=ethertype,
                      source_address=int.from_bytes(ethernet.source, "big"),
                      destination_address=int.from_bytes(ethernet.destination, "big"))
    return pack(spec.Key, fields)


class Switch:
    """The flow table's answer to every frame.

    What leaves is appended to ``to_wire`` (octets), ``to_guests`` (function, octets) and
    ``exceptions`` (descriptor and frame, as the card's processor gets them).
    """

    def __init__(self, *, rows):
        self.rows        = [None] * rows  # (key octets, FlowEntry)
        self.by_key      = {}
        self.templates   = {}
        self.generations = {}  # (function, layer set) -> (current, hard)
        self.packets     = [0] * rows
        self.to_wire, self.to_guests, self.exceptions, self.events = [], [], [], []
        self.reasons     = {}

    # --- commands -------------------------------------------------------------------------------

    def insert(self, handle, key, entry):
        """Status and row of an INSERT of octets."""
        if handle not in range(len(self.rows)):
            return spec.Status.OUT_OF_RANGE, 0
        if key in self.by_key:
            return spec.Status.EXISTS, self.by_key[key]
        if self.rows[handle] is not None:
            return spec.Status.BUSY_ROW, handle
        self.rows[handle] = key, unpack(spec.FlowEntry, entry)
        self.by_key[key] = handle
        self.packets[handle] = 0
        return spec.Status.OK, handle

    def update(self, handle, entry):
        """Status of an UPDATE."""
        if handle not in range(len(self.rows)):
            return spec.Status.OUT_OF_RANGE
        if self.rows[handle] is None:
            return spec.Status.NOT_FOUND
        self.rows[handle] = self.rows[handle][0], unpack(spec.FlowEntry, entry)
        return spec.Status.OK

    def delete(self, handle):
        """Status of a DELETE."""
        if handle not in range(len(self.rows)):
            return spec.Status.OUT_OF_RANGE
        if self.rows[handle] is None:
            return spec.Status.NOT_FOUND
        del self.by_key[self.rows[handle][0]]
        self.rows[handle] = None
        return spec.Status.OK

    # --- frames ---------------------------------------------------------------------------------

    def from_guest(self, function_id, octets):
        """A frame that a guest sent."""
        self._enter(octets, spec.Direction.GUEST, function_id)

    def from_wire(self, octets):
        """A frame that came by the wire."""
        self._enter(octets, spec.Direction.WIRE, 0)

    def inject(self, octets):
        """A packet of the card's processor."""
        head  = unpack(spec.InjectDescriptor, octets[:_HEAD])
        frame = octets[_HEAD:_HEAD + head.length]
        if head.verdict == spec.Verdict.LOOKUP:
            self._enter(frame, head.direction, head.function_id)
        elif head.verdict == spec.Verdict.FORWARD:
            self._leave(frame, head.destination, head.destination_function)
        else:
            self._count(spec.Reason.VERDICT)

    def _count(self, reason):
        self.reasons[reason.name] = self.reasons.get(reason.name, 0) + 1

    def _enter(self, octets, direction, function_id):
        try:
            frame = dissect(octets, tunnel=direction == spec.Direction.WIRE)
            key = key_of_frame(octets, direction=direction, function_id=function_id)
        except Malformed:
            self._count(spec.Reason.BAD_HEADER)
            return
        if any(isinstance(h, Ipv4) and h.is_fragment for h in frame.headers):
            self._except(key, octets, direction, function_id, spec.Reason.FRAGMENT)
            return
        handle = self.by_key.get(key)
        if handle is None:
            self._except(key, octets, direction, function_id, spec.Reason.MISS)
            return
        entry = self.rows[handle][1]
        if self._age(entry) == "hard":
            self._except(key, octets, direction, function_id, spec.Reason.GENERATION, handle)
            return
        if self._age(entry) == "soft":
            self.events.append({"kind": spec.EventKind.GENERATION, "handle": handle})
        self.packets[handle] += 1
        if entry.destination == spec.DestinationKind.DROP:
            self._count(spec.Reason.FLOW_DROP)
            return
        result = transpose(octets, rewrite_of_entry(entry, self.templates))
        if result is None:
            self._except(key, octets, direction, function_id, spec.Reason.TTL, handle)
            return
        self._leave(result, entry.destination, entry.destination_function)

    def _age(self, entry):
        current, hard = self.generations.get((entry.owner, entry.layer_set), (0, 0))
        if entry.generation == current:
            return "fresh"
        return "hard" if (entry.generation - hard) & 0x8000 else "soft"

    def _except(self, key, octets, direction, function_id, reason, handle=None):
        self._count(reason)
        head = pack(spec.ExceptionDescriptor, {
            "key": unpack(spec.Key, key), "length": len(octets), "function_id": function_id,
            "direction": direction, "hit": handle is not None, "counted": 1,
            "handle": handle or 0, "reason": reason, "order_slot": hash(key) & 0xFFFF})
        self.exceptions.append(head + octets)

    def _leave(self, octets, destination, function_id):
        if destination == spec.DestinationKind.WIRE:
            self.to_wire.append(octets)
        elif destination == spec.DestinationKind.FUNCTION:
            self.to_guests.append((function_id, octets))
        else:
            self._count(spec.Reason.BAD_DESTINATION)
