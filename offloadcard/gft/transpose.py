"""The transposition: which octets of a packet change, and what stands before it."""

# Ref: rfc-1624, 3 (incremental update of the Internet checksum, eqn. 3)
# Ref: rfc-768 (UDP checksum 0: none); rfc-2474, 3 (DS field); rfc-7348, 5 (VXLAN Frame Format)

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .records import PATCH_OCTETS
from .spec import (
    ENCAPSULATION,
    ETHERTYPE_IPV4,
    ETHERTYPE_VLAN,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TEMPLATES,
    FlowEntry,
    L3Type,
    Template,
    VlanOperation,
)
from .ufid import found

__all__ = ["Transpose", "shape_of_packet", "LATENCY"]

LATENCY = 5
L2_OCTETS, L3_OCTETS, L4_OCTETS = 22, 60, 20
MINUS_ONE_TTL = 0xFEFF  # one's complement of 0x0100: the TTL is the high octet of its word


def shape_of_packet():
    """How octets move: those from ``start`` to ``end`` of the old stand from ``at`` in the new."""
    return data.StructLayout({"start": 9, "at": 8, "end": 14, "length": 15})


def octets_of(value):
    """The octets of a number, most significant first."""
    return [value[8 * n:8 * n + 8] for n in reversed(range(len(value) // 8))]


class Transpose(wiring.Component):
    """Compute the new octets of a packet from its headers and its flow's entry.

    Checksums are updated, never computed anew: a damaged one stays damaged.

    Timing
    ------
    Latency 5 cycles (``packet`` 2 cycles), one packet per cycle, never stalls.

    Members
    -------
    found, entry : ``In(found())``, ``In(FlowEntry)``
        Headers and entry.
    entropy : ``In(14)``
        For the UDP source port of a push: equal for equal UFIDs.
    raw : ``In(1)``
        Nothing changes; ``length`` is the frame's.
    length : ``In(14)``
        The whole frame's octets.
    packet : ``Out(shape_of_packet())``
        2 cycles later.
    patch, mask : ``Out(8 * 152)``, ``Out(152)``
        5 cycles later: the first octets of the new packet, where ``mask`` says so.
    template_row, template, template_write : ``In``
        Write a template.
    """

    # What a mutant changes: a UDP checksum of 0 stays 0.
    _keeps_udp_zero = True

    def __init__(self):
        super().__init__({
            "found":          In(found()),
            "entry":          In(FlowEntry),
            "entropy":        In(14),
            "raw":            In(1),
            "length":         In(14),
            "packet":         Out(shape_of_packet()),
            "patch":          Out(8 * PATCH_OCTETS),
            "mask":           Out(PATCH_OCTETS),
            "template_row":   In(range(TEMPLATES)),
            "template":       In(Template),
            "template_write": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        self._layer2(m)
        self._sums(m)
        self._lengths(m)
        self._fold(m)
        self._place(m)
        return m

    def _layer2(self, m):
        """Cycle 0: the new Ethernet header, and how long the old and the new one are."""
        layer, entry = self.found.layer, self.entry
        pops, sets = Signal(), Signal()
        m.d.comb += [pops.eq(entry.vlan_operation == VlanOperation.POP),
                     sets.eq(entry.vlan_operation == VlanOperation.SET)]
        two = layer.tags == 2
        tagged = Signal()
        m.d.comb += tagged.eq(Mux(layer.tags == 0, sets, ~pops))
        l2, l2_mask, l2_length = Signal(8 * 18), Signal(18), Signal(5)
        # Of two tags the second, and the EtherType, stay in the octets that are read.
        m.d.comb += l2_length.eq(Mux(two, 12, 14) + Mux(tagged, 4, 0))
        macs = Mux(entry.set_ethernet, Cat(entry.ethernet_source, entry.ethernet_destination),
                   Cat(layer.ethernet_source, layer.ethernet_destination))
        tag = Cat(Mux(sets, entry.vlan_tci, layer.vlan_tci),
                  Mux(layer.tpid_service & ~sets, 0x88A8, ETHERTYPE_VLAN))
        macs_flat, tag_flat = Signal(96), Signal(32)
        m.d.comb += [macs_flat.eq(macs), tag_flat.eq(tag)]
        tail = Cat(octets_of(layer.ethertype))
        m.d.comb += [
            l2.eq(Cat(*octets_of(macs_flat), Mux(tagged, Cat(*octets_of(tag_flat), tail), tail))),
            l2_mask.eq((1 << l2_length) - 1),
        ]
        self.l2, self.l2_mask = Signal(8 * 18), Signal(18)
        self.l2_length, self.l2_source = Signal(5), Signal(5)
        self.l3_place = Signal(2)  # layer 3 stands at 14, 18 or 22 of the new layer 2
        self.found_1, self.entry_1 = Signal(found()), Signal(FlowEntry)
        self.raw_1, self.length_1, self.entropy_1 = Signal(), Signal(14), Signal(14)
        m.d.sync += [
            self.l2.eq(l2), self.l2_mask.eq(l2_mask), self.l2_length.eq(l2_length),
            self.l2_source.eq(Mux(two, 16, Mux(layer.tags == 1, 18, 14))),
            self.l3_place.eq(Mux(two, 1, 0) + tagged),
            self.found_1.eq(self.found), self.entry_1.eq(self.entry),
            self.raw_1.eq(self.raw), self.length_1.eq(self.length),
            self.entropy_1.eq(self.entropy),
        ]

    def _sums(self, m):
        """Cycle 0: sums of both checksums, not yet folded."""
        layer, entry = self.found.layer, self.entry
        self.sum_3, self.sum_4 = Signal(19), Signal(17)
        self.traffic_class = Signal(8)
        class_new, class_delta = Signal(8), Signal(17)
        nat = entry.set_source_address | entry.set_destination_address
        m.d.comb += [
            class_new.eq(Mux(entry.set_dscp, Cat(layer.traffic_class[:2], entry.dscp),
                             layer.traffic_class)),
            class_delta.eq(Mux(entry.set_dscp,
                               class_new + Cat(~layer.traffic_class, C(0xFF, 8)), 0)),
        ]
        m.d.sync += [
            self.traffic_class.eq(class_new),
            self.sum_3.eq((~layer.l3_checksum)[:16] + Mux(nat, entry.l3_delta, 0)
                          + Mux(entry.decrement_ttl, MINUS_ONE_TTL, 0) + class_delta),
            self.sum_4.eq((~layer.l4_checksum)[:16] + entry.l4_delta),
        ]

    def _lengths(self, m):
        """Cycle 1: from where to where the octets move."""
        f, entry = self.found_1, self.entry_1
        start, at, length, end = Signal(9), Signal(8), Signal(15), Signal(14)
        m.d.comb += [
            start.eq(Mux(self.raw_1, 0, f.start + self.l2_source)),
            at.eq(Mux(self.raw_1, 0, Mux(entry.push, ENCAPSULATION, 0) + self.l2_length)),
            end.eq(Mux(self.raw_1, self.length_1, f.end)),
            length.eq(end + at - start),
        ]
        m.d.sync += [self.packet.start.eq(start), self.packet.at.eq(at), self.packet.end.eq(end),
                     self.packet.length.eq(length)]

    def _fold(self, m):
        """Cycle 1: layers 3 and 4 get their new octets; the template has come."""
        m.submodules.templates = templates = memory.Memory(shape=Template, depth=TEMPLATES,
                                                           init=[])
        w_port, r_port = templates.write_port(), templates.read_port()
        m.d.comb += [
            w_port.addr.eq(self.template_row), w_port.data.eq(self.template),
            w_port.en.eq(self.template_write), r_port.addr.eq(self.entry.template),
        ]
        self.template_2 = Signal(Template)
        m.d.sync += self.template_2.eq(r_port.data)

        layer, entry = self.found_1.layer, self.entry_1
        ipv4, ipv6 = Signal(), Signal()
        tcp, udp = Signal(), Signal()
        m.d.comb += [
            ipv4.eq(layer.l3_type == L3Type.IPV4), ipv6.eq(layer.l3_type == L3Type.IPV6),
            tcp.eq(ipv4 & (layer.protocol == PROTOCOL_TCP)),
            udp.eq(ipv4 & (layer.protocol == PROTOCOL_UDP)),
        ]
        echo = Signal()
        m.d.comb += echo.eq(ipv4 & (layer.protocol == PROTOCOL_ICMP) & layer.echo)

        def folded(total, name):
            once, twice = Signal(17, name=f"{name}_once"), Signal(16, name=f"{name}_twice")
            m.d.comb += [once.eq(total[:16] + total[16:]), twice.eq(once[:16] + once[16])]
            return twice

        sum_3, sum_4 = folded(self.sum_3, "sum_3"), folded(self.sum_4, "sum_4")
        sum_4_out = Signal(16)
        # [rfc-768] A UDP checksum that computes to 0 is sent as all ones.
        m.d.comb += sum_4_out.eq(Mux(udp & (sum_4 == 0xFFFF), 0xFFFF, (~sum_4)[:16]))
        nat_addresses, nat_ports, nat = Signal(), Signal(), Signal()
        m.d.comb += [
            nat_addresses.eq(entry.set_source_address | entry.set_destination_address),
            nat_ports.eq(entry.set_source_port | entry.set_destination_port),
            nat.eq(nat_addresses | nat_ports),
        ]
        nothing = (C(0, 8), C(0, 1))

        def some(value, mask):
            return [(octet, mask) for octet in octets_of(value)]

        # Layer 3. IPv4 and IPv6 share the octets that change.
        ttl = Signal(8)
        m.d.comb += ttl.eq(layer.ttl - 1)
        class_4 = ipv4 & entry.set_dscp
        class_6 = ipv6 & entry.set_dscp
        new_class = self.traffic_class
        changes = ipv4 & (entry.set_dscp | entry.decrement_ttl | nat_addresses)
        csum_3 = Signal(16)
        m.d.comb += csum_3.eq(~sum_3)
        layer_3 = [
            (Cat(new_class[4:8], C(6, 4)), class_6),
            (Mux(ipv4, new_class, Cat(layer.flow_label_high, new_class[:4])), class_4 | class_6),
            *[nothing] * 5,
            (ttl, ipv6 & entry.decrement_ttl),
            (ttl, ipv4 & entry.decrement_ttl),
            nothing,
            *some(csum_3, changes),
            *some(entry.source_address, ipv4 & entry.set_source_address),
            *some(entry.destination_address, ipv4 & entry.set_destination_address),
        ]
        # Layer 4: ports at 0; checksums of UDP at 6 and TCP at 16; of ICMP at 2, its id at 4.
        sets_id = echo & entry.set_source_port
        udp_sum = udp & nat & ((layer.l4_checksum != 0) | (not self._keeps_udp_zero))
        destination = Mux(echo, sum_4_out, entry.destination_port)
        layer_4 = [
            *some(entry.source_port, (tcp | udp) & entry.set_source_port),
            *some(destination[:16], Mux(echo, sets_id, (tcp | udp) & entry.set_destination_port)),
            *some(entry.source_port, sets_id),
            *some(sum_4_out, udp_sum),
            *[nothing] * 8,
            *some(sum_4_out, tcp & nat),
            *[nothing] * 2,
        ]
        self.layer_3, self.layer_3_mask = Signal(8 * 20), Signal(20)
        self.layer_4, self.layer_4_mask = Signal(8 * L4_OCTETS), Signal(L4_OCTETS)
        self.words_2 = Signal(4)
        m.d.sync += [
            self.layer_3.eq(Cat(octet for octet, _ in layer_3)),
            self.layer_3_mask.eq(Cat(mask for _, mask in layer_3)),
            self.layer_4.eq(Cat(octet for octet, _ in layer_4)),
            self.layer_4_mask.eq(Cat(mask for _, mask in layer_4)),
            self.words_2.eq(layer.header_octets >> 2),
        ]

    def _place(self, m):
        """Cycles 2 to 4: each header to its place."""
        # Cycle 2: layer 4 behind layer 3; the outer lengths.
        both, both_mask = Signal(8 * (L3_OCTETS + L4_OCTETS)), Signal(L3_OCTETS + L4_OCTETS)
        with m.Switch(self.words_2):
            for words in range(5, 16):
                with m.Case(words):
                    gap = 4 * words - 20
                    m.d.sync += [both.eq(Cat(self.layer_3, C(0, 8 * gap), self.layer_4)),
                                 both_mask.eq(Cat(self.layer_3_mask, C(0, gap),
                                                  self.layer_4_mask))]
            with m.Default():
                m.d.sync += [both.eq(0), both_mask.eq(0)]
        l2 = [self.l2, self.l2_mask, self.l3_place]
        side = Cat(*l2, self.raw_1, self.entry_1.push, self.entry_1.vni, self.entropy_1)
        for cycle in (2, 3):
            value = Signal(len(side), name=f"side_{cycle}")
            m.d.sync += value.eq(side)
            side = value
        l2, l2_mask, l3_place, raw, push, vni, entropy = self._cut(
            side, (8 * 18, 18, 2, 1, 1, 24, 14))
        template = Signal(Template)
        total, udp = Signal(16), Signal(16)
        ip_sum = Signal(17)
        m.d.sync += [
            template.eq(self.template_2),
            total.eq(self.packet.length - 14),
            udp.eq(self.packet.length - 34),
            ip_sum.eq(self.template_2.ip_sum + (self.packet.length - 14)[:16]),
        ]

        # Cycle 3: layer 2 before them, and the outer headers.
        octets = L2_OCTETS + L3_OCTETS + L4_OCTETS
        inner, inner_mask = Signal(8 * octets), Signal(octets)
        with m.Switch(l3_place):
            for place in range(3):
                with m.Case(place):
                    at = 14 + 4 * place
                    tail = at - 18
                    m.d.sync += [
                        inner.eq(Cat(l2[:8 * at], C(0, 8 * max(tail, 0)), both)),
                        inner_mask.eq(Cat(l2_mask[:at], C(0, max(tail, 0)), both_mask)),
                    ]
        csum = Signal(16)
        m.d.comb += csum.eq(~(ip_sum[:16] + ip_sum[16]))
        flags = C(0x4000, 16)  # Don't Fragment
        port  = Cat(entropy, C(0b11, 2))
        outer_octets = [
            *octets_of(template.ethernet_destination), *octets_of(template.ethernet_source),
            *octets_of(C(ETHERTYPE_IPV4, 16)),
            C(0x45, 8), Cat(template.ecn, template.dscp), *octets_of(total), C(0, 16),
            *octets_of(flags), template.ttl, C(PROTOCOL_UDP, 8), *octets_of(csum),
            *octets_of(template.source_address), *octets_of(template.destination_address),
            *octets_of(port), *octets_of(template.udp_port), *octets_of(udp), C(0, 16),
            C(0x08, 8), C(0, 24), *octets_of(vni), C(0, 8),
        ]
        outer = Signal(8 * ENCAPSULATION)
        push_4, raw_4 = Signal(), Signal()
        m.d.sync += [outer.eq(Cat(outer_octets)), push_4.eq(push), raw_4.eq(raw)]

        # Cycle 4: all of it.
        m.d.sync += [
            self.patch.eq(Mux(push_4, Cat(outer, inner), inner)),
            self.mask.eq(Mux(push_4, Cat(C((1 << ENCAPSULATION) - 1, ENCAPSULATION), inner_mask),
                             inner_mask)),
        ]
        with m.If(raw_4):
            m.d.sync += self.mask.eq(0)

    def _cut(self, value, widths):
        parts, low = [], 0
        for width in widths:
            parts.append(value[low:low + width])
            low += width
        return parts
