"""Headers of a frame, by our own arithmetic: an untimed witness that shares nothing with the RTL.

A frame is taken apart into a list of headers, each a plain object that knows how to write itself;
lengths and checksums are computed again when the frame is put together, unless it is asked to keep
them. Octets after the last header are the payload.
"""

# Ref: ieee-802.3-2022, 3 (MAC frame); ieee-802.1q-2022, 9.6 (tag); rfc-791, 3.1; rfc-8200, 3;
# Ref: rfc-768; rfc-9293, 3.1; rfc-792; rfc-4443; rfc-7348, 5 (VXLAN)

from dataclasses import dataclass, field

__all__ = ["Malformed", "Ethernet", "Vlan", "Ipv4", "Ipv6", "Udp", "Tcp", "Icmp", "Vxlan",
           "Frame", "checksum", "dissect", "assemble", "VXLAN_PORT"]

VXLAN_PORT = 4789
ETHERTYPE_IPV4, ETHERTYPE_VLAN, ETHERTYPE_IPV6 = 0x0800, 0x8100, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58


class Malformed(ValueError):
    """The frame contradicts itself."""


def checksum(octets):
    """The ones' complement sum of 16-bit words, complemented."""
    # Ref: rfc-1071, 1
    if len(octets) % 2:
        octets += b"\0"
    total = sum(octets[0::2]) * 256 + sum(octets[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _need(octets, count, what):
    if len(octets) < count:
        raise Malformed(f"{what} must be {count} octets, not {len(octets)}")


def _be(octets):
    return int.from_bytes(octets, "big")


@dataclass
class Ethernet:
    """MAC header."""
    destination: bytes
    source:      bytes
    ethertype:   int

    def pack(self):
        return self.destination + self.source + self.ethertype.to_bytes(2, "big")


@dataclass
class Vlan:
    """802.1Q tag; its ethertype is that of what follows."""
    tci:       int
    ethertype: int

    def pack(self):
        return self.tci.to_bytes(2, "big") + self.ethertype.to_bytes(2, "big")


@dataclass
class Ipv4:
    """IPv4 header; ``total_length`` is what the packet said, ``trailer`` what lay behind it."""
    tos:            int
    identification: int
    flags_fragment: int
    ttl:            int
    protocol:       int
    source:         bytes
    destination:    bytes
    options:        bytes = b""
    total_length:   int = 0

    @property
    def is_fragment(self):
        return bool(self.flags_fragment & 0x3FFF)

    def pack(self, payload_length):
        header = bytes([0x40 | (5 + len(self.options) // 4), self.tos]) + b"".join(
            value.to_bytes(2, "big") for value in
            (20 + len(self.options) + payload_length, self.identification, self.flags_fragment))
        header += bytes([self.ttl, self.protocol])
        tail = self.source + self.destination + self.options
        return header + checksum(header + b"\0\0" + tail).to_bytes(2, "big") + tail

    def pseudo(self, protocol, length):
        return self.source + self.destination + bytes([0, protocol]) + length.to_bytes(2, "big")


@dataclass
class Ipv6:
    """IPv6 header without extension headers (these end the dissection)."""
    traffic_class: int
    flow_label:    int
    next_header:   int
    hop_limit:     int
    source:        bytes
    destination:   bytes
    payload_length: int = 0

    def pack(self, payload_length):
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return (first.to_bytes(4, "big") + payload_length.to_bytes(2, "big")
                + bytes([self.next_header, self.hop_limit]) + self.source + self.destination)

    def pseudo(self, protocol, length):
        return (self.source + self.destination + length.to_bytes(4, "big")
                + bytes([0, 0, 0, protocol]))


@dataclass
class Udp:
    """UDP header; ``checksum`` 0 means none."""
    source_port:      int
    destination_port: int
    checksum:         int
    length:           int = 0


@dataclass
class Tcp:
    """TCP header; all but ports and checksum is kept as ``rest``."""
    source_port:      int
    destination_port: int
    rest:             bytes  # from the sequence number to the window: 12 octets
    checksum:         int
    urgent_options:   bytes = b"\0\0"


@dataclass
class Icmp:
    """ICMP or ICMPv6; of an echo ``identifier`` is the id, else ``None``."""
    type:       int
    code:       int
    checksum:   int
    identifier: int | None


@dataclass
class Vxlan:
    """VXLAN header."""
    flags: int
    vni:   int

    def pack(self):
        return bytes([self.flags, 0, 0, 0]) + self.vni.to_bytes(3, "big") + b"\0"


@dataclass
class Frame:
    """Headers and what follows the last.

    ``trailers`` are what lies behind each IP packet (padding), the outermost's first.
    """
    headers:  list = field(default_factory=list)
    payload:  bytes = b""
    trailers: list = field(default_factory=list)

    def find(self, kind):
        """The last header of ``kind``, or ``None``."""
        return next((h for h in reversed(self.headers) if isinstance(h, kind)), None)

    @property
    def tunnel(self):
        """The place of the VXLAN header, or ``None``."""
        return next((n for n, h in enumerate(self.headers) if isinstance(h, Vxlan)), None)


def dissect(octets, *, tunnel=True):
    """Take a frame apart; :class:`Malformed` if it contradicts itself.

    With ``tunnel`` one VXLAN tunnel is entered; else what it carries is payload.
    """
    headers, rest, trailer = _layer2(octets)
    frame = Frame(headers, rest, [trailer])
    last = headers[-1]
    if tunnel and isinstance(last, Udp) and last.destination_port == VXLAN_PORT:
        _need(rest, 8, "a VXLAN header")
        if not rest[0] & 0x08:
            raise Malformed("a VXLAN header must have its I flag set")
        headers, payload, trailer = _layer2(rest[8:])
        frame.headers += [Vxlan(rest[0], _be(rest[4:7])), *headers]
        frame.payload = payload
        frame.trailers.append(trailer)
    return frame


def _layer2(octets):
    _need(octets, 14, "an Ethernet header")
    headers = [Ethernet(octets[0:6], octets[6:12], _be(octets[12:14]))]
    rest = octets[14:]
    while headers[-1].ethertype == ETHERTYPE_VLAN and len(headers) < 3:
        _need(rest, 4, "a VLAN tag")
        headers.append(Vlan(_be(rest[0:2]), _be(rest[2:4])))
        rest = rest[4:]
    if headers[-1].ethertype == ETHERTYPE_IPV4:
        more, rest, trailer = _ipv4(rest)
    elif headers[-1].ethertype == ETHERTYPE_IPV6:
        more, rest, trailer = _ipv6(rest)
    else:
        more, trailer = [], b""
    return headers + more, rest, trailer


def _ipv4(octets):
    _need(octets, 20, "an IPv4 header")
    length = (octets[0] & 15) * 4
    total = _be(octets[2:4])
    if octets[0] >> 4 != 4 or length < 20 or total < length or total > len(octets):
        raise Malformed(f"version, IHL and total length of an IPv4 header must agree, "
                        f"not {octets[0]:#x} and {total}")
    if checksum(octets[:length]):
        raise Malformed("the checksum of an IPv4 header must be right")
    header = Ipv4(octets[1], _be(octets[4:6]), _be(octets[6:8]), octets[8], octets[9],
                  octets[12:16], octets[16:20], octets[20:length], total)
    rest, trailer = octets[length:total], octets[total:]
    if header.is_fragment:
        return [header], rest, trailer
    more, rest = _layer4(header.protocol, rest)
    return [header, *more], rest, trailer


def _ipv6(octets):
    _need(octets, 40, "an IPv6 header")
    length = _be(octets[4:6])
    if octets[0] >> 4 != 6 or 40 + length > len(octets):
        raise Malformed(f"version and length of an IPv6 header must agree, not {length}")
    first = _be(octets[0:4])
    header = Ipv6(first >> 20 & 0xFF, first & 0xFFFFF, octets[6], octets[7], octets[8:24],
                  octets[24:40], length)
    more, rest = _layer4(header.next_header, octets[40:40 + length])
    return [header, *more], rest, octets[40 + length:]


def _layer4(protocol, octets):
    if protocol == UDP:
        _need(octets, 8, "a UDP header")
        length = _be(octets[4:6])
        if not 8 <= length <= len(octets):
            raise Malformed(f"a UDP length must be 8 to {len(octets)}, not {length}")
        return [Udp(_be(octets[0:2]), _be(octets[2:4]), _be(octets[6:8]), length)], octets[8:]
    if protocol == TCP:
        _need(octets, 20, "a TCP header")
        length = (octets[12] >> 4) * 4
        if not 20 <= length <= len(octets):
            raise Malformed(f"a TCP data offset must be 20 to {len(octets)} octets, not {length}")
        return [Tcp(_be(octets[0:2]), _be(octets[2:4]), octets[4:16], _be(octets[16:18]),
                    octets[18:length])], octets[length:]
    if protocol in (ICMP, ICMPV6):
        _need(octets, 4, "an ICMP header")
        echo = octets[0] in ((0, 8) if protocol == ICMP else (128, 129)) and len(octets) >= 8
        identifier = _be(octets[4:6]) if echo else None
        return [Icmp(octets[0], octets[1], _be(octets[2:4]), identifier)], octets[4:]
    return [], octets


def assemble(frame):
    """Put a frame together; every length and checksum is computed from what stands there now.

    A UDP checksum of 0 stays 0, and that of a tunnel becomes 0. A checksum that was wrong comes
    out right.
    """
    octets, trailers = frame.payload, list(frame.trailers)
    levels = [h for h in frame.headers if isinstance(h, Ethernet)]
    after  = None
    for index in reversed(range(len(frame.headers))):
        header = frame.headers[index]
        ip = next((h for h in reversed(frame.headers[:index]) if isinstance(h, Ipv4 | Ipv6)), None)
        match header:
            case Udp():
                octets = _pack_udp(header, ip, octets, isinstance(after, Vxlan))
            case Tcp():
                octets = _pack_tcp(header, ip, octets)
            case Icmp():
                octets = _pack_icmp(header, ip, octets)
            case Ipv4() | Ipv6():
                octets = header.pack(len(octets)) + octets + trailers[len(levels) - 1]
            case _:
                octets = header.pack() + octets
        if isinstance(header, Ethernet):
            levels.pop()
        after = header
    return octets


def _pack_udp(header, ip, payload, tunnel):
    ports = header.source_port.to_bytes(2, "big") + header.destination_port.to_bytes(2, "big")
    length = 8 + len(payload)
    start = ports + length.to_bytes(2, "big")
    if tunnel or header.checksum == 0:
        return start + b"\0\0" + payload
    value = checksum(ip.pseudo(UDP, length) + start + b"\0\0" + payload) or 0xFFFF
    return start + value.to_bytes(2, "big") + payload


def _pack_tcp(header, ip, payload):
    start = (header.source_port.to_bytes(2, "big") + header.destination_port.to_bytes(2, "big")
             + header.rest)
    length = 18 + len(header.urgent_options) + len(payload)
    value = checksum(ip.pseudo(TCP, length) + start + b"\0\0" + header.urgent_options + payload)
    return start + value.to_bytes(2, "big") + header.urgent_options + payload


def _pack_icmp(header, ip, payload):
    if header.identifier is not None:
        payload = header.identifier.to_bytes(2, "big") + payload[2:]
    start = bytes([header.type, header.code])
    pseudo = ip.pseudo(ICMPV6, 4 + len(payload)) if isinstance(ip, Ipv6) else b""
    value = checksum(pseudo + start + b"\0\0" + payload)
    return start + value.to_bytes(2, "big") + payload
