"""Time Exceeded: what a virtual network's router says to a guest whose packet's TTL ended here."""

# Ref: rfc-792 (Time Exceeded Message); rfc-4443, 2.4 and 3.3; rfc-1122, 3.2.2 (when not to)

from ipaddress import IPv4Address, IPv6Address

from ..gft.spec import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    checksum,
)

__all__ = ["sender_of", "time_exceeded"]

_TTL = 64
_ECHOES = (0, 8)            # ICMP that is no error: echo reply, echo
_MTU_V6 = 1280              # an ICMPv6 error is no longer than that
_TIME_EXCEEDED, _TIME_EXCEEDED_V6 = 11, 3


def sender_of(frame):
    """Whom an error about ``frame`` (untagged, as a guest sent it) may be told to, else ``None``.

    No error is told of an error, of a fragment but the first, or to who is no single host.
    """
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
    if frame[0] & 1:
        return None
    if kind == ETHERTYPE_IPV4 and len(packet) >= 28:
        address = IPv4Address(packet[12:16])
        header = 4 * (packet[0] & 15)
        if (int.from_bytes(packet[6:8], "big") & 0x1FFF or len(packet) < header + 8
                or packet[9] == PROTOCOL_ICMP and packet[header] not in _ECHOES):
            return None
    elif kind == ETHERTYPE_IPV6 and len(packet) >= 48:
        address = IPv6Address(packet[8:24])
        if packet[6] == PROTOCOL_ICMPV6 and packet[40] < 128:
            return None
    else:
        return None
    single = not (address.is_multicast or address.is_unspecified or address.is_loopback
                  or address == IPv4Address("255.255.255.255"))
    return address if single else None


def time_exceeded(frame, *, router, router_mac):
    """The frame that tells the sender of ``frame`` (of whom :func:`sender_of` knows) that its hops
    ended at ``router``, an address of the same version."""
    ethernet = frame[6:12] + router_mac + frame[12:14]
    packet = frame[14:]
    if router.version == 4:
        # The header and the first 64 bits behind it.
        quoted = packet[:4 * (packet[0] & 15) + 8]
        start = bytes([_TIME_EXCEEDED, 0])
        value = checksum(start + bytes(6) + quoted)
        message = start + value.to_bytes(2, "big") + bytes(4) + quoted
        head = (bytes([0x45, 0]) + (20 + len(message)).to_bytes(2, "big") + bytes(4)
                + bytes([_TTL, PROTOCOL_ICMP]))
        addresses = router.packed + packet[12:16]
        header = head + checksum(head + b"\0\0" + addresses).to_bytes(2, "big") + addresses
        return (ethernet + header + message).ljust(60, b"\0")
    length = 40 + int.from_bytes(packet[4:6], "big")
    quoted = packet[:min(length, _MTU_V6 - 48)]
    addresses = router.packed + packet[8:24]
    start = bytes([_TIME_EXCEEDED_V6, 0])
    size = 8 + len(quoted)
    pseudo = addresses + size.to_bytes(4, "big") + bytes([0, 0, 0, PROTOCOL_ICMPV6])
    value = checksum(pseudo + start + bytes(6) + quoted)
    message = start + value.to_bytes(2, "big") + bytes(4) + quoted
    header = b"\x60\0\0\0" + size.to_bytes(2, "big") + bytes([PROTOCOL_ICMPV6, _TTL]) + addresses
    return ethernet + header + message
