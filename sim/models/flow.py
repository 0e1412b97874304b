"""What the card must make of a frame: an untimed oracle, octet for octet.

:func:`transpose` applies a :class:`Rewrite`, a plain description of one flow's action, to a frame
by the arithmetic of :mod:`sim.models.packet`. A frame whose transport checksum was wrong when it
came must still be wrong by the same amount when it leaves: the card updates checksums by the
difference and never makes a broken frame look sound.
"""

# Ref: rfc-1624, 3 (incremental update); rfc-7348, 4.1 and 5; rfc-6335, 6 (dynamic ports)

from dataclasses import dataclass, replace

from .packet import (
    Ethernet,
    Icmp,
    Ipv4,
    Ipv6,
    Tcp,
    Udp,
    Vlan,
    assemble,
    checksum,
    dissect,
)

__all__ = ["Outer", "Rewrite", "rewrite_of_entry", "transpose", "equal_but_source_port"]


@dataclass(frozen=True)
class Outer:
    """What a VXLAN push puts in front; ``source_port`` is the card's choice by hash."""
    vni:              int
    source_mac:       bytes
    destination_mac:  bytes
    source:           bytes
    destination:      bytes
    source_port:      int = 0xC000
    destination_port: int = 4789
    ttl:              int = 64
    tos:              int = 0
    identification:   int = 0
    flags_fragment:   int = 0x4000  # do not fragment


@dataclass(frozen=True)
class Rewrite:
    """One flow's action on headers; ``None`` leaves a field alone. Addresses are octets."""
    pop:              bool = False
    push:             Outer | None = None
    source_mac:       bytes | None = None
    destination_mac:  bytes | None = None
    source:           bytes | None = None
    destination:      bytes | None = None
    source_port:      int | None = None
    destination_port: int | None = None
    dscp:             int | None = None
    decrement_ttl:    bool = False


def rewrite_of_entry(entry, templates):
    """The :class:`Rewrite` that a flow entry of the card stands for.

    ``entry`` is a :class:`~offloadcard.gft.spec.FlowEntry` constant, ``templates`` the
    :class:`~offloadcard.gft.spec.Template` constants by row. The checksum deltas are ignored: what
    they must come to follows from the frame.
    """
    def when(flag, value, octets=None):
        return None if not flag else value if octets is None else value.to_bytes(octets, "big")

    outer = None
    if entry.push:
        template = templates[entry.template]
        outer = Outer(vni=entry.vni,
                      source_mac=template.ethernet_source.to_bytes(6, "big"),
                      destination_mac=template.ethernet_destination.to_bytes(6, "big"),
                      source=template.source_address.to_bytes(4, "big"),
                      destination=template.destination_address.to_bytes(4, "big"),
                      destination_port=template.udp_port, ttl=template.ttl,
                      tos=template.dscp << 2 | template.ecn)
    return Rewrite(
        pop=bool(entry.pop), push=outer,
        source_mac=when(entry.set_ethernet, entry.ethernet_source, 6),
        destination_mac=when(entry.set_ethernet, entry.ethernet_destination, 6),
        source=when(entry.set_source_address, entry.source_address, 4),
        destination=when(entry.set_destination_address, entry.destination_address, 4),
        source_port=when(entry.set_source_port, entry.source_port),
        destination_port=when(entry.set_destination_port, entry.destination_port),
        dscp=when(entry.set_dscp, entry.dscp), decrement_ttl=bool(entry.decrement_ttl))


def transpose(octets, rewrite):
    """The frame that leaves for the frame that came, or ``None`` where the TTL ends."""
    # Of a tunnel that stays, the outer headers are the frame's.
    frame = dissect(octets, tunnel=rewrite.pop)
    if rewrite.pop:
        place = frame.tunnel
        if place is None:
            raise ValueError("`octets` must be a tunnelled frame where the rewrite pops one")
        frame = replace(frame, headers=frame.headers[place + 1:], trailers=frame.trailers[1:])
    error = _checksum_error(frame)
    if not _edit(frame.headers, rewrite):
        return None
    result = _with_error(assemble(frame), frame, error)
    return _pushed(result, rewrite.push) if rewrite.push else result


def _edit(headers, rewrite):
    """Edit ``headers`` in place; ``False`` where the TTL ends."""
    for header in headers:
        match header:
            case Ethernet():
                header.source      = rewrite.source_mac or header.source
                header.destination = rewrite.destination_mac or header.destination
            case Ipv4() | Ipv6():
                header.source      = rewrite.source or header.source
                header.destination = rewrite.destination or header.destination
                name = "tos" if isinstance(header, Ipv4) else "traffic_class"
                if rewrite.dscp is not None:
                    setattr(header, name, rewrite.dscp << 2 | getattr(header, name) & 3)
                if rewrite.decrement_ttl:
                    name = "ttl" if isinstance(header, Ipv4) else "hop_limit"
                    if getattr(header, name) <= 1:
                        return False
                    setattr(header, name, getattr(header, name) - 1)
            case Tcp() | Udp():
                if rewrite.source_port is not None:
                    header.source_port = rewrite.source_port
                if rewrite.destination_port is not None:
                    header.destination_port = rewrite.destination_port
            case Icmp() if header.identifier is not None and rewrite.source_port is not None:
                header.identifier = rewrite.source_port
    return True


def _transport(frame):
    """The transport header that carries a checksum, or ``None``."""
    header = frame.headers[-1]
    if isinstance(header, Tcp | Icmp) or isinstance(header, Udp) and header.checksum:
        return header
    return None


def _checksum_of(octets):
    return dissect(octets, tunnel=False).headers[-1].checksum


def _checksum_error(frame):
    """By how much the transport checksum is wrong, in ones' complement; 0 where it is right."""
    header = _transport(frame)
    if header is None:
        return 0
    right = _checksum_of(assemble(frame))
    return (header.checksum - right) % 0xFFFF


def _with_error(octets, frame, error):
    """``octets`` with a transport checksum as wrong as it was before."""
    header = _transport(frame)
    if header is None or not error:
        return octets
    right = _checksum_of(octets)
    wrong = (right + error) % 0xFFFF
    if isinstance(header, Udp):
        wrong = wrong or 0xFFFF
    place = len(octets) - _octets_behind(frame)
    return octets[:place] + wrong.to_bytes(2, "big") + octets[place + 2:]


def _octets_behind(frame):
    """Octets from the transport checksum to the end of the frame."""
    behind = len(frame.payload) + sum(map(len, frame.trailers))
    match frame.headers[-1]:
        case Tcp() as tcp:
            return behind + 2 + len(tcp.urgent_options)
        case _:
            return behind + 2


def _pushed(octets, outer):
    """``octets`` in a VXLAN tunnel over IPv4, its UDP checksum 0."""
    inner = (bytes([8, 0, 0, 0]) + outer.vni.to_bytes(3, "big") + b"\0") + octets
    udp = (outer.source_port.to_bytes(2, "big") + outer.destination_port.to_bytes(2, "big")
           + (8 + len(inner)).to_bytes(2, "big") + b"\0\0")
    start = (bytes([0x45, outer.tos]) + (28 + len(inner)).to_bytes(2, "big")
             + outer.identification.to_bytes(2, "big") + outer.flags_fragment.to_bytes(2, "big")
             + bytes([outer.ttl, 17]))
    tail = outer.source + outer.destination
    ip = start + checksum(start + b"\0\0" + tail).to_bytes(2, "big") + tail
    return outer.destination_mac + outer.source_mac + b"\x08\x00" + ip + udp + inner


def equal_but_source_port(one, other):
    """Are two frames equal, the source port of their outer UDP header aside?

    The card chooses it by a keyed hash, and the standard leaves it free.
    """
    def masked(octets):
        frame = dissect(octets)
        if frame.tunnel is None:
            return octets
        # Only VLAN tags and IPv4 options move the header.
        place = 14 + sum(4 for h in frame.headers[:frame.tunnel] if isinstance(h, Vlan))
        place += (octets[place] & 15) * 4 if octets[place] >> 4 == 4 else 40
        return octets[:place] + b"\0\0" + octets[place + 2:]

    return masked(one) == masked(other)
