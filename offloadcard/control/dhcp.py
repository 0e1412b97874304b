"""The card answers DHCP for a port that has a lease, as it answers ARP.

A guest that boots knows its MAC only. The provider knows its address, its router, and which file
its firmware shall load from which server: no broadcast leaves the card.
"""

# Ref: rfc-2131, 2 (Protocol Summary), 4.3 (DHCP server behavior); rfc-2132 (options)

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network

from ..gft.spec import ETHERTYPE_IPV4, checksum

__all__ = ["Lease", "Question", "answer", "question"]

_CLIENT, _SERVER, _UDP, _TTL = 68, 67, 17, 64
_MAGIC = bytes([99, 130, 83, 99])
_FIXED = 236  # octets before the magic
_BOOT_REQUEST, _BOOT_REPLY = 1, 2
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK = 1, 2, 3, 5, 6
_PAD, _MASK, _ROUTER, _ASKED, _TIME, _KIND, _SERVER_ID, _END = 0, 1, 3, 50, 51, 53, 54, 255
_FOR_EVER = b"\xff" * 4
_NOBODY = IPv4Address(0)


@dataclass(frozen=True)
class Lease:
    """What a port's guest is told besides the port's own first IPv4 address.

    ``prefix`` is that of its link, ``router`` answers as the DHCP server, too; ``server`` and
    ``file`` are for a boot by network.
    """
    prefix: object  # IPv4Network
    router: IPv4Address
    server: IPv4Address = _NOBODY
    file:   str = ""

    def __post_init__(self):
        if len(self.file.encode()) > 127:
            raise ValueError(f"`file` must have at most 127 octets, not {len(self.file)}")
        if self.router not in ip_network(self.prefix):
            raise ValueError(f"`router` must be in {self.prefix}, not {self.router}")


@dataclass(frozen=True)
class Question:
    """A DISCOVER or a REQUEST: its kind, who asks, for which address, of which server."""
    kind:    int
    mac:     bytes
    address: IPv4Address
    server:  IPv4Address


def question(frame):
    """The :class:`Question` in an untagged frame, else ``None``."""
    packet = frame[14:]
    if (int.from_bytes(frame[12:14], "big") != ETHERTYPE_IPV4 or len(packet) < 20
            or packet[0] != 0x45 or packet[9] != _UDP):
        return None
    message = packet[28:28 + max(0, int.from_bytes(packet[24:26], "big") - 8)]
    if (packet[20:24] != bytes([0, _CLIENT, 0, _SERVER]) or len(message) < _FIXED + 4
            or message[:3] != bytes([_BOOT_REQUEST, 1, 6])
            or message[_FIXED:_FIXED + 4] != _MAGIC):
        return None
    options = _options(message[_FIXED + 4:])
    kind = options.get(_KIND, b"")
    if kind not in (bytes([_DISCOVER]), bytes([_REQUEST])) \
            or any(len(options.get(code, bytes(4))) != 4 for code in (_ASKED, _SERVER_ID)):
        return None
    asked = options.get(_ASKED) or message[12:16]
    return Question(kind[0], message[28:34], IPv4Address(asked),
                    IPv4Address(options.get(_SERVER_ID, bytes(4))))


def _options(octets):
    found, at = {}, 0
    while at + 1 < len(octets) and octets[at] != _END:
        if octets[at] == _PAD:
            at += 1
            continue
        length = octets[at + 1]
        found.setdefault(octets[at], octets[at + 2:at + 2 + length])
        at += 2 + length
    return found


def answer(frame, address, lease, *, mac):
    """The frame that answers the question in ``frame``; ``None`` if another server is asked.

    ``address`` is what the lease gives, ``mac`` that of the router.
    """
    asked = question(frame)
    if asked.server not in (_NOBODY, lease.router):
        return None
    kind = _OFFER
    if asked.kind == _REQUEST:
        kind = _ACK if asked.address == address else _NAK
    given = address if kind != _NAK else _NOBODY
    request = frame[42:42 + _FIXED]
    options = bytes([_KIND, 1, kind, _SERVER_ID, 4]) + lease.router.packed
    if kind != _NAK:
        mask = ip_network(lease.prefix).netmask.packed
        options += bytes([_TIME, 4]) + _FOR_EVER + bytes([_MASK, 4]) + mask
        options += bytes([_ROUTER, 4]) + lease.router.packed
    message = (bytes([_BOOT_REPLY]) + request[1:12] + bytes(4) + given.packed + lease.server.packed
               + bytes(4) + request[28:44] + bytes(64) + lease.file.encode().ljust(128, b"\0")
               + _MAGIC + options + bytes([_END]))
    udp = (bytes([0, _SERVER, 0, _CLIENT]) + (8 + len(message)).to_bytes(2, "big"))
    ends = lease.router.packed + b"\xff" * 4
    summed = ends + bytes([0, _UDP]) + udp[4:6] + udp + bytes(2) + message
    udp += (checksum(summed) or 0xFFFF).to_bytes(2, "big")
    head = (bytes([0x45, 0]) + (28 + len(message)).to_bytes(2, "big") + bytes(4)
            + bytes([_TTL, _UDP]))
    head += checksum(head + bytes(2) + ends).to_bytes(2, "big") + ends
    return frame[6:12] + mac + frame[12:14] + head + udp + message
