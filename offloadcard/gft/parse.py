"""Headers out of octets: Ethernet, VLAN, IPv4, IPv6, TCP, UDP, ICMP, of one layer of a frame."""

# Ref: ieee-802.3-2022, 3.2 (Elements of the MAC frame); ieee-802.1q-2018, 9.5 (VLAN Tag)
# Ref: rfc-791, 3.1 (Internet Header Format); rfc-8200, 3 and 4 (IPv6, extension headers)
# Ref: rfc-9293, 3.1; rfc-768; rfc-792; rfc-4443, 2.1

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

        types = [octets_be(window, 12 + 4 * n, 2) for n in range(3)]
        tagged = [Signal(name=f"tagged_{n}") for n in range(2)]
        for signal, value in zip(tagged, types):
            m.d.comb += signal.eq((value == ETHERTYPE_VLAN) | (value == ETHERTYPE_QINQ))
        two = Signal()
        m.d.comb += two.eq(tagged[0] & tagged[1])
        offset = Signal(5)
        m.d.comb += offset.eq(Mux(two, 22, Mux(tagged[0], 18, 14)))
        ethertype = Signal(16)
        m.d.comb += ethertype.eq(Mux(two, types[2], Mux(tagged[0], types[1], types[0])))
        m.d.sync += [
            a.ethernet_destination.eq(octets_be(window, 0, 6)),
            a.ethernet_source.eq(octets_be(window, 6, 6)),
            a.tags.eq(Mux(two, 2, tagged[0])),
            a.tpid_service.eq(types[0] == ETHERTYPE_QINQ),
            a.vlan_tci.eq(octets_be(window, 14, 2)),
            a.ethertype.eq(ethertype),
            a.l3_offset.eq(offset),
            a.l3_type.eq(Mux(ethertype == ETHERTYPE_IPV4, L3Type.IPV4,
                             Mux(ethertype == ETHERTYPE_IPV6, L3Type.IPV6, L3Type.OTHER))),
            a.truncated.eq(self.length < offset),
            a.too_long.eq(self.visible < offset),
            self.a_window.eq(Mux(two, window[176:], Mux(tagged[0], window[144:], window[112:]))),
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

        ipv4, ipv6 = Signal(), Signal()
        words, total = Signal(4), Signal(17)
        m.d.comb += [
            ipv4.eq(a.l3_type == L3Type.IPV4),
            ipv6.eq(a.l3_type == L3Type.IPV6),
            words.eq(Mux(ipv4, window[0:4], Mux(ipv6, IPV6 // 4, 0))),
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
        with m.Switch(words):
            for count in range(5, 16):
                with m.Case(count):
                    m.d.sync += self.l4_window.eq(window[32 * count:][:shown])

        # Words of the header, by fours; words of options only as IHL says. Ref: rfc-1071, 1
        masked = [Mux(words > n // 2, octets_be(window, 2 * n, 2), 0) for n in range(30)]
        for n, signal in enumerate(self.b_sums):
            parts = masked[4 * n:4 * n + 4]
            m.d.sync += signal.eq(sum(parts[1:], parts[0]))

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
        m.d.sync += sums.eq(sum(self.b_sums[1:], self.b_sums[0]))
        folded = Signal(17)
        m.d.comb += folded.eq(sums[:16] + sums[16:])
        m.d.sync += self.o.eq(c)
        good = Signal()
        m.d.comb += good.eq(folded == 0xFFFF)
        m.d.sync += self.o.bad_checksum.eq((c.l3_type == L3Type.IPV4) & ~good)
