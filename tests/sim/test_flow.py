"""The oracle of flows, with scapy as the outside witness."""

import pytest
from scapy.all import ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6EchoRequest, IPv6, Raw

from sim.models.flow import Outer, Rewrite, equal_but_source_port, transpose
from sim.models.packet import Malformed

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
UDP4 = Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3", tos=3, ttl=64) / UDP(
    sport=1000, dport=53) / Raw(b"who is it")
OUTER = Outer(vni=0xABCDEF, source_mac=bytes(6), destination_mac=b"\2" * 6,
              source=bytes([192, 0, 2, 1]), destination=bytes([192, 0, 2, 2]))


def rebuilt(packet):
    """The same headers with every checksum left to scapy."""
    packet = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if packet.haslayer(layer):
            del packet[layer].chksum
    return bytes(packet)


def test_nat_equals_scapy():
    out = transpose(bytes(UDP4), Rewrite(source=bytes([198, 51, 100, 9]), source_port=2222,
                                         destination_mac=b"\6" * 6, decrement_ttl=True, dscp=46))
    want = UDP4.copy()
    want[Ether].dst = "06:06:06:06:06:06"
    want[IP].src, want[IP].ttl, want[IP].tos = "198.51.100.9", 63, 46 << 2 | 3
    want[UDP].sport = 2222
    assert out == rebuilt(want)


@pytest.mark.parametrize("packet", [
    Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3") / TCP(sport=1, dport=2, flags="S"),
    Ether(**MACS) / Dot1Q(vlan=5) / IP(src="10.1.0.2", dst="10.1.0.3") / UDP(sport=1, dport=2),
])
def test_addresses_and_ports_equal_scapy(packet):
    out = transpose(bytes(packet), Rewrite(source=bytes([1, 2, 3, 4]), destination=bytes([5] * 4),
                                           source_port=9, destination_port=8))
    want = packet.copy()
    want[IP].src, want[IP].dst = "1.2.3.4", "5.5.5.5"
    want[IP].payload.sport, want[IP].payload.dport = 9, 8
    assert out == rebuilt(want)


def test_icmp_echo_id_is_its_port():
    packet = Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3") / ICMP(id=4, seq=1) / Raw(b"ping")
    want = packet.copy()
    want[ICMP].id = 999
    assert transpose(bytes(packet), Rewrite(source_port=999)) == rebuilt(want)


def test_ipv6_hop_limit_and_traffic_class():
    packet = Ether(**MACS) / IPv6(src="fd00::2", dst="fd00::3", hlim=2, tc=1) / ICMPv6EchoRequest()
    want = packet.copy()
    want[IPv6].hlim, want[IPv6].tc = 1, 10 << 2 | 1
    assert transpose(bytes(packet), Rewrite(decrement_ttl=True, dscp=10)) == bytes(want)


def test_vxlan_push_is_what_scapy_reads():
    out = Ether(transpose(bytes(UDP4), Rewrite(push=OUTER)))
    assert out[IP].dst == "192.0.2.2" and out[UDP].dport == 4789 and out[UDP].chksum == 0
    assert out["VXLAN"].vni == 0xABCDEF and out["VXLAN"].flags == 8
    assert bytes(out["VXLAN"].payload) == bytes(UDP4)
    assert len(out) == len(UDP4) + 50 and out[IP].len == len(out) - 14


def test_push_then_pop_is_nothing():
    """Padding inside the tunnel comes back; padding behind the tunnel does not."""
    padded = bytes(UDP4).ljust(60, b"\0")
    tunnelled = transpose(padded, Rewrite(push=OUTER))
    assert transpose(tunnelled + b"outer padding", Rewrite(pop=True)) == padded


def test_a_tunnel_that_stays_is_payload():
    tunnelled = transpose(bytes(UDP4), Rewrite(push=OUTER))
    out = Ether(transpose(tunnelled, Rewrite(decrement_ttl=True)))
    assert out[IP].ttl == 63 and bytes(out["VXLAN"].payload) == bytes(UDP4)


def test_ttl_ends():
    packet = Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3", ttl=1) / UDP()
    assert transpose(bytes(packet), Rewrite(decrement_ttl=True)) is None
    assert transpose(bytes(packet), Rewrite()) == bytes(packet)


@pytest.mark.parametrize("where,transport", [(50, TCP(sport=1, dport=2)),
                                             (40, UDP(sport=1, dport=2))])
def test_a_wrong_checksum_stays_wrong(where, transport):
    """The card updates by the difference: putting the right one back makes the frame sound."""
    packet = Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3") / transport / Raw(b"abc")
    sound = bytes(packet)
    broken = bytearray(sound)
    broken[where] ^= 0x10
    rewrite = Rewrite(source=bytes([9, 9, 9, 9]), destination_port=77)
    good, bad = transpose(sound, rewrite), transpose(bytes(broken), rewrite)
    differing = [n for n, (one, other) in enumerate(zip(good, bad)) if one != other]
    assert differing and set(differing) <= {where, where + 1}
    assert good == rebuilt(Ether(good))


def test_no_udp_checksum_stays_none():
    packet = Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3") / UDP(chksum=0) / Raw(b"x")
    assert Ether(transpose(bytes(packet), Rewrite(source=bytes(4))))[UDP].chksum == 0


def test_malformed_and_untunnelled_are_refused():
    with pytest.raises(Malformed):
        transpose(bytes(UDP4)[:20], Rewrite())
    with pytest.raises(ValueError, match="`octets` must be a tunnelled frame"):
        transpose(bytes(UDP4), Rewrite(pop=True))


def test_the_tunnel_source_port_is_free():
    from dataclasses import replace
    one = transpose(bytes(UDP4), Rewrite(push=OUTER))
    other = transpose(bytes(UDP4), Rewrite(push=replace(OUTER, source_port=0xFFFF)))
    assert one != other and equal_but_source_port(one, other)
    assert not equal_but_source_port(one, transpose(bytes(UDP4),
                                                    Rewrite(push=replace(OUTER, vni=1))))
