"""Our header arithmetic, with scapy as the outside witness."""

import pytest
from scapy.all import ARP, ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6EchoRequest, IPv6, Raw
from scapy.layers.vxlan import VXLAN

from sim.models.packet import Icmp, Ipv4, Malformed, Tcp, Udp, assemble, checksum, dissect

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
V4   = IP(src="10.1.0.2", dst="10.1.0.3", ttl=7, tos=0x2F, id=77)
V6   = IPv6(src="fd00::2", dst="fd00::3", hlim=9, tc=0x2F, fl=0x12345)

SOUND = {
    "udp":           Ether(**MACS) / V4 / UDP(sport=53, dport=5353) / Raw(b"question"),
    "udp odd":       Ether(**MACS) / V4 / UDP(sport=1, dport=2) / Raw(b"odd"),
    "udp no sum":    Ether(**MACS) / V4 / UDP(sport=1, dport=2, chksum=0) / Raw(b"none"),
    "tcp options":   Ether(**MACS) / V4 / TCP(sport=80, dport=4000, flags="SA", seq=1, ack=2,
                                             options=[("MSS", 1460), ("WScale", 7)]) / Raw(b"x"),
    "ip options":    Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3", options=b"\x94\x04\0\0")
                     / UDP(sport=1, dport=2) / Raw(b"router alert"),
    "icmp":          Ether(**MACS) / V4 / ICMP(id=0x1234, seq=5) / Raw(bytes(56)),
    "icmp error":    Ether(**MACS) / V4 / ICMP(type=3, code=1) / Raw(bytes(28)),
    "padding":       Ether(**MACS) / V4 / UDP(sport=1, dport=2) / Raw(b"\1"),
    "vlan":          Ether(**MACS) / Dot1Q(vlan=100, prio=3) / V4 / UDP(sport=9, dport=8),
    "udp6":          Ether(**MACS) / V6 / UDP(sport=1, dport=2) / Raw(b"six"),
    "tcp6":          Ether(**MACS) / V6 / TCP(sport=1, dport=2, flags="S"),
    "icmp6":         Ether(**MACS) / V6 / ICMPv6EchoRequest(id=7, seq=1, data=b"ping"),
    "arp":           Ether(dst="ff:ff:ff:ff:ff:ff", src=MACS["src"]) / ARP(pdst="10.1.0.3"),
    "fragment":      Ether(**MACS) / IP(src="10.1.0.2", dst="10.1.0.3", flags="MF")
                     / Raw(bytes(16)),
    "vxlan":         Ether(**MACS) / IP(src="192.0.2.1", dst="192.0.2.2")
                     / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=7, flags="Instance")
                     / Ether(**MACS) / V4 / TCP(sport=5, dport=6) / Raw(b"inside"),
    "vxlan arp":     Ether(**MACS) / IP(src="192.0.2.1", dst="192.0.2.2")
                     / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=7, flags="Instance")
                     / Ether(**MACS) / ARP(pdst="10.1.0.3"),
}


@pytest.mark.parametrize("name", SOUND)
def test_apart_and_together_again(name):
    """Every length and checksum that we compute is the one scapy computed."""
    octets = bytes(SOUND[name])
    if name == "padding":
        octets = octets.ljust(60, b"\x5A")
    frame = dissect(octets)
    assert assemble(frame) == octets


def test_fields_are_where_scapy_put_them():
    frame = dissect(bytes(SOUND["udp"]))
    ip, udp = frame.find(Ipv4), frame.find(Udp)
    assert (ip.ttl, ip.tos, ip.identification, ip.source) == (7, 0x2F, 77, bytes([10, 1, 0, 2]))
    assert (udp.source_port, udp.destination_port, frame.payload) == (53, 5353, b"question")
    assert dissect(bytes(SOUND["icmp"])).find(Icmp).identifier == 0x1234
    assert dissect(bytes(SOUND["icmp error"])).find(Icmp).identifier is None
    vxlan = dissect(bytes(SOUND["vxlan"]))
    assert vxlan.headers[vxlan.tunnel].vni == 7
    assert vxlan.find(Tcp).destination_port == 6 and vxlan.payload == b"inside"
    assert dissect(bytes(SOUND["vxlan"]), tunnel=False).tunnel is None


def test_checksum_of_rfc_1071():
    """The example of the RFC, section 3."""
    assert checksum(bytes([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])) == 0xDDF2 ^ 0xFFFF


def changed(name, place, value):
    octets = bytearray(bytes(SOUND[name]))
    octets[place] = value
    return bytes(octets)


@pytest.mark.parametrize("octets", [
    b"", bytes(13),                              # no Ethernet header
    bytes(SOUND["udp"])[:30],                    # cut inside IPv4
    changed("udp", 14, 0x44),                    # IHL under 5
    changed("udp", 14, 0x65),                    # version 6 under ethertype IPv4
    changed("udp", 16, 0xFF),                    # total length over the frame
    changed("udp", 24, 0xFF),                    # header checksum
    changed("udp", 39, 7),                       # UDP length under 8
    changed("tcp options", 46, 0x10),            # data offset under 5
    changed("vxlan", 42, 0),                     # no I flag
    bytes(SOUND["vxlan"])[:36] + b"",            # cut inside the outer UDP
    changed("udp6", 18, 0xFF),                   # IPv6 payload length over the frame
], ids=range(12))
def test_contradictions_are_refused(octets):
    with pytest.raises(Malformed):
        dissect(octets)
