"""The card answers for the members of a virtual network: ARP and neighbour discovery.

What a guest asks on its own link never leaves the card: the slow path knows every member's MAC.
"""

# Ref: rfc-826 (packet format); rfc-4861, 4.3 and 4.4 (neighbour solicitation, advertisement)

from ipaddress import IPv4Address, IPv6Address

from ..gft.spec import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_ICMPV6, checksum

__all__ = ["question", "answer"]

_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED_OVERRIDE = 0x6000_0000


def question(frame):
    """``(asker, target)`` addresses of an ARP request or neighbour solicitation, else ``None``."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETHERTYPE_ARP and len(frame) >= 42:
        body = frame[14:42]
        if body[:8] == bytes([0, 1, ETHERTYPE_IPV4 >> 8, 0, 6, 4, 0, 1]):
            return IPv4Address(body[14:18]), IPv4Address(body[24:28])
    if kind == ETHERTYPE_IPV6 and len(frame) >= 78:
        header, body = frame[14:54], frame[54:]
        length = int.from_bytes(header[4:6], "big")
        if (header[0] >> 4 == 6 and header[6] == PROTOCOL_ICMPV6 and header[7] == 255
                and 24 <= length <= len(body) and body[0] == _SOLICITATION and body[1] == 0):
            return IPv6Address(header[8:24]), IPv6Address(body[8:24])
    return None


def answer(frame, mac):
    """The reply to the question in ``frame``: its target has ``mac``."""
    asker_mac = frame[6:12]
    if frame[12:14] == ETHERTYPE_ARP.to_bytes(2, "big"):
        body = frame[14:42]
        reply = body[:7] + b"\2" + mac + body[24:28] + body[8:18]
        return (asker_mac + mac + frame[12:14] + reply).ljust(60, b"\0")
    asker, target = frame[22:38], frame[62:78]
    body = target + bytes([2, 1]) + mac
    start = bytes([_ADVERTISEMENT, 0])
    flags = _SOLICITED_OVERRIDE.to_bytes(4, "big")
    length = 8 + len(body)
    pseudo = target + asker + length.to_bytes(4, "big") + bytes([0, 0, 0, PROTOCOL_ICMPV6])
    value = checksum(pseudo + start + b"\0\0" + flags + body)
    header = (b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes([PROTOCOL_ICMPV6, 255]) + target
              + asker)
    return asker_mac + mac + frame[12:14] + header + start + value.to_bytes(2, "big") + flags + body
