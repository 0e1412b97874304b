"""Between what the slow path reasons about and what the flow table holds."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..gft import spec
from ..rtl.octets import size_of
from .flow import Direction, Flow, Verdict

__all__ = ["flow_of_key", "key_of_exception", "key_of_flow", "entry_of_decision", "Stamp"]


@dataclass(frozen=True)
class Stamp:
    """By whose policy, and of which generation, an entry was made."""
    owner:      int
    generation: int
    cookie:     int = 0
    layer_set:  int = 0


def key_of_exception(descriptor):
    """Octets of the key that an exception's descriptor carries."""
    return descriptor.key.as_bits().to_bytes(size_of(spec.Key), "little")


def flow_of_key(key):
    """The :class:`Flow` that a :class:`~offloadcard.gft.spec.Key` names; ``None`` if it is no IP
    flow, or wears a VLAN tag, which no virtual network of ours knows."""
    kinds = {spec.L3Type.IPV4: IPv4Address, spec.L3Type.IPV6: IPv6Address}
    kind = kinds.get(key.l3_type)
    if kind is None or key.vlan_valid:
        return None
    outbound = key.direction == spec.Direction.GUEST
    return Flow(
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        function_id=key.source if outbound else 0,
        vni=key.vni if key.tunnel else 0,
        source=kind(key.source_address), destination=kind(key.destination_address),
        protocol=key.protocol, source_port=key.source_port,
        destination_port=key.destination_port)


def key_of_flow(flow):
    """Fields of the key of ``flow``; the inverse of :func:`flow_of_key`."""
    outbound = flow.direction == Direction.OUTBOUND
    return {
        "source_address": int(flow.source), "destination_address": int(flow.destination),
        "source_port": flow.source_port, "destination_port": flow.destination_port,
        "vni": flow.vni, "protocol": flow.protocol, "tunnel": int(flow.vni != 0),
        "source": flow.function_id if outbound else 0,
        "direction": spec.Direction.GUEST if outbound else spec.Direction.WIRE,
        "l3_type": spec.L3Type.IPV4 if flow.version == 4 else spec.L3Type.IPV6,
    }


_DESTINATIONS = {Verdict.DROP: spec.DestinationKind.DROP, Verdict.WIRE: spec.DestinationKind.WIRE,
                 Verdict.FUNCTION: spec.DestinationKind.FUNCTION}


def entry_of_decision(flow, decision, stamp, *, template_of):
    """Fields of the flow entry that repeats ``decision`` for every packet of ``flow``.

    ``template_of(tunnel)`` names the row of the outer headers. ``ValueError`` if the card cannot
    do what was decided: NAT of IPv6 addresses, or one new MAC without the other.
    """
    t = decision.transposition
    entry = {
        "destination": _DESTINATIONS[decision.verdict],
        "destination_function": decision.function_id,
        "owner": stamp.owner, "layer_set": stamp.layer_set, "generation": stamp.generation,
        "cookie": stamp.cookie,
        "pop": int(t.pop), "decrement_ttl": int(t.decrement_ttl),
    }
    if decision.verdict == Verdict.DROP:
        return entry
    if decision.meter is not None:
        entry.update(metered=1, meter=decision.meter)
    if flow.protocol == spec.PROTOCOL_TCP:
        entry["tcp_notify"] = spec.TcpFlag.FIN | spec.TcpFlag.RST
    if (t.source_mac is None) != (t.destination_mac is None):
        raise ValueError("`source_mac` must be given with `destination_mac`, or neither")
    if t.source_mac is not None:
        entry.update(set_ethernet=1,
                     ethernet_source=int.from_bytes(t.source_mac, "big"),
                     ethernet_destination=int.from_bytes(t.destination_mac, "big"))
    if t.push is not None:
        entry.update(push=1, vni=t.push.vni, template=template_of(t.push))
    if t.dscp is not None:
        entry.update(set_dscp=1, dscp=t.dscp)
    entry.update(_nat(flow, t))
    return entry


def _nat(flow, t):
    """New addresses and ports, with the checksum deltas that follow from them."""
    fields, addresses, ports = {}, [b"", b""], [b"", b""]
    for name in ("source", "destination"):
        new, old = getattr(t, name), getattr(flow, name)
        if new is not None and new != old:
            if flow.version != 4:
                raise ValueError(f"`{name}` must be an IPv4 address to be translated, not {old}")
            fields.update({f"set_{name}_address": 1, f"{name}_address": int(new)})
            addresses[0] += old.packed
            addresses[1] += new.packed
        new, old = getattr(t, f"{name}_port"), getattr(flow, f"{name}_port")
        if new is not None and new != old:
            if flow.protocol not in (spec.PROTOCOL_TCP, spec.PROTOCOL_UDP):
                raise ValueError(f"`{name}_port` must be of TCP or UDP to be translated, "
                                 f"not of protocol {flow.protocol}")
            fields.update({f"set_{name}_port": 1, f"{name}_port": new})
            ports[0] += old.to_bytes(2, "big")
            ports[1] += new.to_bytes(2, "big")
    if addresses[0]:
        fields["l3_delta"] = spec.checksum_delta(*addresses)
    # An ICMP checksum does not cover the addresses.
    covered = addresses if flow.protocol != spec.PROTOCOL_ICMP else [b"", b""]
    old, new = (a + p for a, p in zip(covered, ports))
    if old:
        fields["l4_delta"] = spec.checksum_delta(old, new)
    return fields
