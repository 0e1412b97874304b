"""Every edit of the transposition, octet for octet as scapy builds the frame that it should be."""

import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from offloadcard.gft.spec import (
    DestinationKind,
    VlanOperation,
    checksum_delta,
)
from tests.gft.harness import NARROW, WIDE, Bench, address, key_of

MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
MAC_C, MAC_D = "02:00:00:00:00:0c", "02:00:00:00:00:0d"
ETHER = {"src": MAC_A, "dst": MAC_B}
V4 = {"src": "10.0.0.1", "dst": "10.0.0.2", "ttl": 64}
NAT_WORDS = (struct.pack("!4B", 10, 0, 0, 1), struct.pack("!4B", 192, 0, 2, 9))
TEMPLATE = {
    "ethernet_source": address(MAC_C), "ethernet_destination": address(MAC_D),
    "source_address": address("172.16.0.1"), "destination_address": address("172.16.0.2"),
    "udp_port": 4789, "dscp": 10, "ecn": 0, "ttl": 33,
}


def template():
    """The template with its sum, as the control plane would compute it."""
    header = IP(src="172.16.0.1", dst="172.16.0.2", ttl=33, tos=40, flags="DF", id=0, proto=17,
                len=0, chksum=0)
    octets = bytes(header)
    total = sum(struct.unpack("!10H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return {**TEMPLATE, "ip_sum": total}


def outer(inner, *, vni, sport=0):
    """The frame that a push makes."""
    return (Ether(src=MAC_C, dst=MAC_D)
            / IP(src="172.16.0.1", dst="172.16.0.2", ttl=33, tos=40, flags="DF", id=0)
            / UDP(sport=sport, dport=4789, chksum=0) / VXLAN(vni=vni, flags=8) / inner)


def tunnel(inner, *, vni, tags=()):
    """A frame of another VTEP."""
    frame = Ether(src=MAC_D, dst=MAC_C)
    for vlan in tags:
        frame = frame / Dot1Q(vlan=vlan)
    return (frame / IP(src="172.16.0.2", dst="172.16.0.1", ttl=9, id=77)
            / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=vni, flags=8) / inner)


def udp_key(port, **more):
    return key_of("10.0.0.1", "10.0.0.2", ports=(port, 53), **{"function_id": 2, **more})


def payload(count, seed=0):
    return bytes((7 * n + seed) & 0xFF for n in range(count))


def cases():
    """(name, port of entry, frame, key, entry, expected frame); function 2 sends."""
    found = []

    def case(name, frame, key, entry, expected, entry_port="from_guests"):
        found.append((name, entry_port, bytes(frame), key, entry, bytes(expected)))

    # Checksum fields that nobody computed must stay wrong by the same amount: here all are right.
    for n, size in enumerate((18, 19, 77, 300)):
        frame = Ether(**ETHER) / IP(**V4) / UDP(sport=100 + n, dport=53) / payload(size, n)
        case(f"as-is-{size}", frame, udp_key(100 + n), {}, frame)
        case(f"ttl-mac-{size}", Ether(**ETHER) / IP(**V4) / UDP(sport=110 + n, dport=53)
             / payload(size, n), udp_key(110 + n),
             {"decrement_ttl": 1, "set_ethernet": 1, "ethernet_source": address(MAC_C),
              "ethernet_destination": address(MAC_D)},
             Ether(src=MAC_C, dst=MAC_D) / IP(**{**V4, "ttl": 63}) / UDP(sport=110 + n, dport=53)
             / payload(size, n))
        inner = Ether(**ETHER) / IP(**V4) / UDP(sport=120 + n, dport=53) / payload(size, n)
        case(f"push-{size}", inner, udp_key(120 + n),
             {"push": 1, "template": 5, "vni": 0xABCDE}, outer(inner, vni=0xABCDE))
        inner = Ether(**ETHER) / IP(**V4) / UDP(sport=130 + n, dport=53) / payload(size, n)
        case(f"pop-{size}", tunnel(inner, vni=77), udp_key(130 + n, function_id=None, vni=77),
             {"pop": 1}, inner, "from_wire")
        # What follows the tunnel's last octet is not the inner frame's.
        inner = Ether(**ETHER) / IP(**V4) / UDP(sport=140 + n, dport=53) / payload(size, n)
        case(f"pop-tagged-trailer-{size}", bytes(tunnel(inner, vni=77, tags=(9,))) + b"junk" * 20,
             udp_key(140 + n, function_id=None, vni=77), {"pop": 1}, inner, "from_wire")
        for bits, (layer, flags) in enumerate(((UDP, {}), (TCP, {"flags": "A"}))):
            old = layer(sport=150 + n, dport=53, **flags)
            new = layer(sport=4000, dport=53, **flags)
            delta = checksum_delta(NAT_WORDS[0] + struct.pack("!2H", 150 + n, 53),
                                   NAT_WORDS[1] + struct.pack("!2H", 4000, 53))
            case(f"snat-{layer.__name__}-{size}",
                 Ether(**ETHER) / IP(**V4, tos=0x12) / old / payload(size, n),
                 udp_key(150 + n, protocol=(17, 6)[bits]),
                 {"set_source_address": 1, "source_address": address("192.0.2.9"),
                  "set_source_port": 1, "source_port": 4000, "decrement_ttl": 1,
                  "l3_delta": checksum_delta(*NAT_WORDS), "l4_delta": delta,
                  "set_dscp": 1, "dscp": 46},
                 Ether(**ETHER) / IP(src="192.0.2.9", dst="10.0.0.2", ttl=63, tos=46 << 2 | 2)
                 / new / payload(size, n))

    # UDP checksum 0 stays 0. [rfc-768]
    zero = {"set_destination_port": 1, "destination_port": 5353,
            "l4_delta": checksum_delta(struct.pack("!H", 53), struct.pack("!H", 5353))}
    case("udp-zero", Ether(**ETHER) / IP(**V4) / UDP(sport=200, dport=53, chksum=0) / payload(20),
         udp_key(200), zero,
         Ether(**ETHER) / IP(**V4) / UDP(sport=200, dport=5353, chksum=0) / payload(20))
    # Options move layer 4.
    options = [IPOption_NOP()] * 12
    case("options", Ether(**ETHER) / IP(**V4, options=options) / TCP(sport=201, dport=53, flags="A")
         / payload(90), udp_key(201, protocol=6), {**zero, "decrement_ttl": 1},
         Ether(**ETHER) / IP(**{**V4, "ttl": 63}, options=options)
         / TCP(sport=201, dport=5353, flags="A") / payload(90))
    # ICMP echo: its identifier.
    case("echo", Ether(**ETHER) / IP(**V4) / ICMP(type=8, id=300, seq=5) / payload(33),
         key_of("10.0.0.1", "10.0.0.2", ports=(300, 300), protocol=1, function_id=2),
         {"set_source_port": 1, "source_port": 999,
          "l4_delta": checksum_delta(struct.pack("!H", 300), struct.pack("!H", 999))},
         Ether(**ETHER) / IP(**V4) / ICMP(type=8, id=999, seq=5) / payload(33))
    # IPv6: hop limit and DSCP, the flow label untouched.
    v6 = {"src": "2001:db8::1", "dst": "2001:db8::2", "fl": 0xABCDE}
    case("ipv6", Ether(**ETHER) / IPv6(**v6, tc=0x03, hlim=7) / UDP(sport=202, dport=53)
         / payload(40),
         key_of("2001:db8::1", "2001:db8::2", ports=(202, 53), function_id=2),
         {"decrement_ttl": 1, "set_dscp": 1, "dscp": 34},
         Ether(**ETHER) / IPv6(**v6, tc=34 << 2 | 3, hlim=6) / UDP(sport=202, dport=53)
         / payload(40))
    # VLAN tags.
    ip = IP(**V4) / UDP(sport=203, dport=53) / payload(50)
    edits = {"decrement_ttl": 1}
    low = IP(**{**V4, "ttl": 63}) / UDP(sport=203, dport=53) / payload(50)
    case("vlan-push", Ether(**ETHER) / ip, udp_key(203),
         {**edits, "vlan_operation": VlanOperation.SET, "vlan_tci": 0x2005},
         Ether(**ETHER) / Dot1Q(prio=1, vlan=5) / low)
    case("vlan-keep", Ether(**ETHER) / Dot1Q(vlan=6) / ip, udp_key(203, vlan=6), edits,
         Ether(**ETHER) / Dot1Q(vlan=6) / low)
    case("vlan-pop", Ether(**ETHER) / Dot1Q(vlan=7) / ip, udp_key(203, vlan=7),
         {**edits, "vlan_operation": VlanOperation.POP}, Ether(**ETHER) / low)
    case("vlan-set", Ether(**ETHER) / Dot1Q(vlan=8) / ip, udp_key(203, vlan=8),
         {**edits, "vlan_operation": VlanOperation.SET, "vlan_tci": 9},
         Ether(**ETHER) / Dot1Q(vlan=9) / low)
    for vlan, operation, tags in ((10, VlanOperation.KEEP, (Dot1AD(vlan=10), Dot1Q(vlan=11))),
                                  (12, VlanOperation.POP, (Dot1Q(vlan=11),))):
        expected = Ether(**ETHER)
        for tag in tags:
            expected = expected / tag
        case(f"two-tags-{operation.name}", Ether(**ETHER) / Dot1AD(vlan=vlan) / Dot1Q(vlan=11) / ip,
             udp_key(203, vlan=vlan), {**edits, "vlan_operation": operation}, expected / low)
    # A tunnel goes into another one; a tunnel that is not popped stays as it is.
    inner = Ether(**ETHER) / IP(**V4) / TCP(sport=204, dport=53, flags="A") / payload(64)
    case("pop-push", tunnel(inner, vni=78), udp_key(204, protocol=6, function_id=None, vni=78),
         {"pop": 1, "push": 1, "template": 5, "vni": 79}, outer(inner, vni=79), "from_wire")
    case("tunnel-as-is", tunnel(inner, vni=80),
         udp_key(204, protocol=6, function_id=None, vni=80), {}, tunnel(inner, vni=80), "from_wire")
    # The guest's own tunnel is but a UDP flow.
    own = tunnel(inner, vni=81)
    case("guest-tunnel", own, key_of("172.16.0.2", "172.16.0.1", ports=(50000, 4789),
                                     function_id=2), {}, own)
    return found


def check(config, chosen, *, stalls, seed):
    bench = Bench(config, stalls=stalls, seed=seed)

    async def run(ctx):
        await bench.start(ctx)
        await bench.template(ctx, 5, **template())
        for number, (_, _, _, key, entry, _) in enumerate(chosen):
            await bench.insert(ctx, number, key, destination=DestinationKind.WIRE, **entry)
        for port in ("from_guests", "from_wire"):
            for _, entry_port, frame, *_ in chosen:
                if entry_port == port:
                    await bench.send(ctx, port, frame, function_id=2)
        await bench.wait(ctx, "to_wire", len(chosen))

    bench.run(run)
    assert not bench.out["exceptions"] and not bench.out["to_guests"]
    # Between lanes there is no order; within one there is.
    for port, tag in (("from_guests", 2), ("from_wire", 0)):
        expected = [case for case in chosen if case[1] == port]
        got = [frame for function_id, frame in bench.out["to_wire"] if function_id == tag]
        assert len(got) == len(expected)
        for (name, _, _, _, entry, frame), octets in zip(expected, got):
            if entry.get("push"):
                port_now = struct.unpack("!H", octets[34:36])[0]
                assert port_now >= 0xC000  # [rfc-7348, 5] in the dynamic range
                octets = octets[:34] + frame[34:36] + octets[36:]
            assert octets == frame, f"{name}:\n{octets.hex()}\n{frame.hex()}"


def test_edits_wide():
    """All edits at 512 bits, exits that rest now and then."""
    check(WIDE, cases(), stalls=0.3, seed=3)


def test_edits_narrow():
    """Edits of which the octets straddle many beats."""
    chosen = [case for case in cases() if not case[0].endswith(("-300", "-19"))]
    check(NARROW, chosen[::3], stalls=0.0, seed=4)
