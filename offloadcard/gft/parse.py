"""Headers out of octets: Ethernet, VLAN, IPv4, IPv6, TCP, UDP, ICMP, of one layer of a frame."""

# Ref: ieee-802.3-2022, 3.2 (Elements of the MAC frame); ieee-802.1q-2018, 9.5 (VLAN Tag)
# Ref: rfc-791, 3.1 (Internet Header Format); rfc-8200, 3 and 4 (IPv6, extension headers)
# Ref: rfc-9293, 3.1; rfc-768; rfc-792; rfc-4443, 2.1

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .spec import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    L3Type,
)

__all__ = ["layer", "LayerParser", "octets_be", "LENGTH_BITS", "LATENCY"]

LENGTH_BITS = 14
LATENCY     = 4
MIN_IPV4, IPV6 = 20, 40
WORDS = 16  # values of IHL
# Ref: rfc-8200, 4.1: next headers that are extension headers; Fragment is told apart.
EXTENSIONS, FRAGMENT = (0, 43, 51, 60, 135, 139, 140), 44


def layer():
    """What the parser found in one layer: Ethernet to layer 4."""
    return data.StructLayout({
        "ethernet_destination": 48,
        "ethernet_source":      48,
        "tags":                 2,   # VLAN tags, 0 … 2
        "tpid_service":         1,   # the first tag's TPID is 88A8
        "vlan_tci":             16,  # of the first tag
        "ethertype":            16,  # behind the tags
        "l3_type":              2,
        "l3_offset":            5,
        "header_octets":        6,   # of layer 3
        "end":                  16,  # of layer 3, from the layer's start
        "traffic_class":        8,
        "flow_label_high":      4,   # shares an octet with the traffic class
        "ttl":                  8,
        "l3_checksum":          16,
        "protocol":             8,
        "source_address":       128,
        "destination_address":  128,
        "source_port":          16,
        "destination_port":     16,
        "l4_checksum":          16,
        "l4_length":            16,  # UDP's own length
        "tcp_flags":            3,
        "echo":                 1,   # ICMP with an identifier
        "fragment":             1,
        "extension":            1,
        "too_long":             1,   # headers reach beyond the window
        "truncated":            1,
        "bad_header":           1,
        "bad_checksum":         1,
    })


def octets_be(window, offset, count):
    """``count`` octets at ``offset`` of ``window`` as the number that the standard reads there."""
    return Cat(window[8 * (offset + n):8 * (offset + n + 1)] for n in reversed(range(count)))


class LayerParser(wiring.Component):
    """Parse one layer of a frame; two in a row parse a tunnel.

    Nothing is believed beyond ``length``; a header that the window does not show is ``too_long``.

    Timing
    ------
    Latency 4 cycles, one layer per cycle, never stalls (ours: one stage for each of L2, L3, L4,
    and one for the checksum's end). ``l4_window`` leaves after 2 cycles.

    Parameters
    ----------
    window : int
        Octets of the window; at least 54.

    Members
    -------
    window : ``In(8 * window)``
        Octets from the layer's Ethernet header; 0 behind the frame's end.
    length : ``In(14)``
        Octets of the frame from there.
    visible : ``In(8)``
        How many of them the window shows.
    o : ``Out(layer())``
        The headers.
    l4_window : ``Out(8 * (window - 34))``
        The window from layer 4 on.
    l4_offset, l4_end, l4_udp : ``Out``
        With ``l4_window``: where it began; where layer 3 ends; UDP that is whole.
    """

    # What a mutant changes: compare the lengths that headers claim with the frame's.
    _checks_length = True

    def __init__(self, *, window):
        if window < 54:
            raise ValueError(f"`window` must be at least 54, not {window!r}")
        self.octets = window
        super().__init__({
            "window":    In(8 * window),
            "length":    In(LENGTH_BITS),
            "visible":   In(8),
            "o":         Out(layer()),
            "l4_window": Out(8 * (window - 34)),
            "l4_offset": Out(8),
            "l4_end":    Out(16),
            "l4_udp":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        self._layer2(m)
        self._layer3(m)
        self._layer4(m)
        return m

    def _layer2(self, m):
        """Stage 1: tags are counted, layer 3 moves to octet 0."""
        window = self.window
        self.a = a = Signal(layer())
        self.a_window  = Signal(8 * (self.octets - 14))
        self.a_length  = Signal(signed(16))  # from layer 3 on
        self.a_visible = Signal(signed(10))
        self.a_ipv4, self.a_ipv6 = Signal(), Signal()
        self.a_words   = Signal(WORDS)  # one bit: the IHL, if it is IPv4

        # Every EtherType that may be the one is judged before it is known which is.
        types = [Signal(16, name=f"type_{n}") for n in range(3)]
        for n, value in enumerate(types):
            m.d.comb += value.eq(octets_be(window, 12 + 4 * n, 2))
        tagged = [Signal(name=f"tagged_{n}") for n in range(2)]
        for signal, value in zip(tagged, types):
            m.d.comb += signal.eq((value == ETHERTYPE_VLAN) | (value == ETHERTYPE_QINQ))
        one, two = Signal(), Signal()
        m.d.comb += [one.eq(tagged[0] & ~tagged[1]), two.eq(tagged[0] & tagged[1])]

        def behind(values, name):
            """The one of three that counts behind the tags."""
            chosen = Signal(len(values[0]), name=name)
            m.d.comb += chosen.eq(Mux(two, values[2], Mux(one, values[1], values[0])))
            return chosen

        kinds = [Signal(2, name=f"kind_{n}") for n in range(3)]
        words = [Signal(WORDS, name=f"words_{n}") for n in range(3)]
        for n in range(3):
            ihl = window[112 + 32 * n:116 + 32 * n]
            m.d.comb += [
                kinds[n].eq(Cat(types[n] == ETHERTYPE_IPV4, types[n] == ETHERTYPE_IPV6)),
                words[n].eq(Cat(ihl == count for count in range(WORDS))),
            ]
        kind = behind(kinds, "kind")
        offset = Signal(5)
        m.d.comb += offset.eq(Mux(two, 22, Mux(one, 18, 14)))
        short, unseen = [], []
        for n in range(3):
            short.append(self.length < 14 + 4 * n)
            unseen.append(self.visible < 14 + 4 * n)
        m.d.sync += [self.a_ipv4.eq(kind[0]), self.a_ipv6.eq(kind[1]),
                     self.a_words.eq(behind(words, "words"))]
        m.d.sync += [
            a.ethernet_destination.eq(octets_be(window, 0, 6)),
            a.ethernet_source.eq(octets_be(window, 6, 6)),
            a.tags.eq(Mux(two, 2, one)),
            a.tpid_service.eq(types[0] == ETHERTYPE_QINQ),
            a.vlan_tci.eq(octets_be(window, 14, 2)),
            a.ethertype.eq(behind(types, "ethertype")),
            a.l3_offset.eq(offset),
            a.l3_type.eq(Mux(kind[0], L3Type.IPV4, Mux(kind[1], L3Type.IPV6, L3Type.OTHER))),
            a.truncated.eq(behind([Cat(bit) for bit in short], "short")),
            a.too_long.eq(behind([Cat(bit) for bit in unseen], "unseen")),
            self.a_window.eq(Mux(two, window[176:], Mux(one, window[144:], window[112:]))),
            self.a_length.eq(self.length - offset),
            self.a_visible.eq(self.visible - offset),
        ]

    def _layer3(self, m):
        """Stage 2: the addresses; layer 4 moves to octet 0; the checksum's first sums."""
        a, window = self.a, self.a_window
        self.b = b = Signal(layer())
        self.b_length  = Signal(signed(17))  # of layer 4, as the frame has it and the header says
        self.b_visible = Signal(signed(11))
        self.b_sums    = [Signal(18, name=f"sum_{n}") for n in range(8)]

        ipv4, ipv6 = self.a_ipv4, self.a_ipv6
        words, total = Signal(4), Signal(17)
        covers = Signal(WORDS)  # one bit: the words of the header
        m.d.comb += [
            words.eq(Mux(ipv4, window[0:4], Mux(ipv6, IPV6 // 4, 0))),
            covers.eq(Mux(ipv4, self.a_words, Mux(ipv6, 1 << IPV6 // 4, 0))),
            total.eq(Mux(ipv4, octets_be(window, 2, 2), octets_be(window, 4, 2) + IPV6)),
        ]
        header, minimum = Signal(6), Signal(6)
        version_bad, lengths_bad, truncated, fragment, extension = (
            Signal(name=name) for name in ("version_bad", "lengths_bad", "truncated", "fragment",
                                           "extension"))
        protocol = Signal(8)
        m.d.comb += [
            header.eq(words << 2),
            minimum.eq(Mux(ipv4, MIN_IPV4, Mux(ipv6, IPV6, 0))),
            version_bad.eq(window[4:8] != Mux(ipv4, 4, 6)),
            lengths_bad.eq(ipv4 & (words < 5) | (total < header)),
            protocol.eq(Mux(ipv4, octets_be(window, 9, 1), octets_be(window, 6, 1))),
            fragment.eq(Mux(ipv4, octets_be(window, 6, 2)[:14] != 0, protocol == FRAGMENT)),
            extension.eq(ipv6 & Cat(protocol == n for n in EXTENSIONS).any()),
            truncated.eq((self.a_length < minimum)
                         | (self.a_length < Cat(total, C(0, 1))) & self._checks_length),
        ]
        ip = Signal()
        m.d.comb += ip.eq(ipv4 | ipv6)
        for name in ("ethernet_destination", "ethernet_source", "tags", "tpid_service", "vlan_tci",
                     "ethertype", "l3_type", "l3_offset"):
            m.d.sync += b[name].eq(a[name])
        m.d.sync += [
            b.header_octets.eq(header),
            b.end.eq(a.l3_offset + total),
            b.traffic_class.eq(Mux(ipv4, window[8:16], Cat(window[12:16], window[0:4]))),
            b.flow_label_high.eq(window[8:12]),
            b.ttl.eq(Mux(ipv4, octets_be(window, 8, 1), octets_be(window, 7, 1))),
            b.l3_checksum.eq(octets_be(window, 10, 2)),
            b.protocol.eq(Mux(ip, protocol, 0)),
            b.source_address.eq(Mux(ipv4, octets_be(window, 12, 4), octets_be(window, 8, 16))),
            b.destination_address.eq(Mux(ipv4, octets_be(window, 16, 4),
                                         octets_be(window, 24, 16))),
            b.fragment.eq(ip & fragment),
            b.extension.eq(extension),
            b.truncated.eq(a.truncated | ip & truncated),
            b.bad_header.eq(ip & (version_bad | lengths_bad)),
            b.too_long.eq(a.too_long | ip & (self.a_visible < header)),
            self.b_length.eq(total - header),
            self.b_visible.eq(self.a_visible - header),
        ]
        with m.If(~ip):
            m.d.sync += [b.source_address.eq(a.ethernet_source),
                         b.destination_address.eq(a.ethernet_destination)]
        shown = len(self.l4_window)
        parts = [Mux(covers[count], window[32 * count:][:shown], 0) for count in range(5, WORDS)]
        m.d.sync += self.l4_window.eq(reduce(or_, parts))

        # Words of the header, by fours; words of options only as IHL says. Ref: rfc-1071, 1
        reaches = Signal(WORDS)  # words of 4 octets that the header has, beyond the fifth
        m.d.comb += reaches.eq(Cat(self.a_words[n + 1:].any() if n >= 5 else 1
                                   for n in range(WORDS)))
        for n, signal in enumerate(self.b_sums):
            halves = [Mux(reaches[k // 2], octets_be(window, 2 * k, 2), 0)
                      for k in range(4 * n, min(4 * n + 4, 30))]
            left, right = Signal(17, name=f"left_{n}"), Signal(17, name=f"right_{n}")
            m.d.comb += [left.eq(halves[0] + halves[1]),
                         right.eq(halves[2] + halves[3] if len(halves) > 2 else 0)]
            m.d.sync += signal.eq(left + right)

    def _layer4(self, m):
        """Stages 3 and 4: ports and flags; the checksum folds to its verdict."""
        b, window = self.b, self.l4_window
        tcp, udp, icmp = Signal(), Signal(), Signal()
        needed = Signal(5)
        short  = Signal()
        m.d.comb += [
            tcp.eq(b.protocol == PROTOCOL_TCP),
            udp.eq(b.protocol == PROTOCOL_UDP),
            icmp.eq(Mux(b.l3_type == L3Type.IPV4, b.protocol == PROTOCOL_ICMP,
                        b.protocol == PROTOCOL_ICMPV6)),
            needed.eq(Mux(b.fragment, 0, Mux(tcp, 20, Mux(udp | icmp, 8, 0)))),
            short.eq(self.b_length < needed),
            self.l4_offset.eq(b.l3_offset + b.header_octets),
            self.l4_end.eq(b.end),
            self.l4_udp.eq(udp & ~short & ~b.fragment & ~b.truncated & ~b.bad_header
                           & (b.l3_type != L3Type.OTHER)),
        ]
        echo_types = (8, 0)  # Ref: rfc-792, Echo or Echo Reply; rfc-4443, 4.1 and 4.2
        kind = octets_be(window, 0, 1)
        echo = Signal()
        m.d.comb += echo.eq(icmp & Mux(b.l3_type == L3Type.IPV4,
                                       Cat(kind == n for n in echo_types).any(),
                                       (kind == 128) | (kind == 129)))
        c = Signal(layer())
        m.d.sync += c.eq(b)
        m.d.sync += [
            c.truncated.eq(b.truncated | (b.l3_type != L3Type.OTHER) & short & ~b.bad_header),
            c.too_long.eq(b.too_long | (self.b_visible < needed)),
            c.echo.eq(echo),
            c.l4_length.eq(octets_be(window, 4, 2)),
            c.tcp_flags.eq(Mux(tcp & ~b.fragment, window[8 * 13:8 * 13 + 3], 0)),
            c.l4_checksum.eq(Mux(tcp, octets_be(window, 16, 2),
                                 Mux(udp, octets_be(window, 6, 2), octets_be(window, 2, 2)))),
        ]
        ports = Signal(32)
        with m.If(b.l3_type == L3Type.OTHER):
            m.d.comb += ports.eq(Cat(b.ethertype, b.ethertype))
        with m.Elif(b.fragment):
            m.d.comb += ports.eq(0)
        with m.Elif(tcp | udp):
            m.d.comb += ports.eq(Cat(octets_be(window, 0, 2), octets_be(window, 2, 2)))
        with m.Elif(echo):
            m.d.comb += ports.eq(Cat(octets_be(window, 4, 2), octets_be(window, 4, 2)))
        with m.Elif(icmp):
            m.d.comb += ports.eq(Cat(octets_be(window, 0, 2), octets_be(window, 0, 2)))
        m.d.sync += Cat(c.source_port, c.destination_port).eq(ports)

        sums = Signal(21)
        pairs = [Signal(20, name=f"pair_{n}") for n in range(4)]
        m.d.comb += [pair.eq(self.b_sums[2 * n] + self.b_sums[2 * n + 1])
                     for n, pair in enumerate(pairs)]
        m.d.sync += sums.eq((pairs[0] + pairs[1]) + (pairs[2] + pairs[3]))
        folded = Signal(17)
        m.d.comb += folded.eq(sums[:16] + sums[16:])
        m.d.sync += self.o.eq(c)
        good = Signal()
        m.d.comb += good.eq(folded == 0xFFFF)
        m.d.sync += self.o.bad_checksum.eq((c.l3_type == L3Type.IPV4) & ~good)
