"""Time Exceeded: who is told that a TTL ended, what is said, and who is told nothing."""

from ipaddress import IPv4Address as A4
from ipaddress import IPv6Address as A6

import pytest
from scapy.all import ICMP, IP, UDP, Ether, ICMPv6TimeExceeded, IPv6, Raw
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ParamProblem

from offloadcard.control.icmp_error import sender_of, time_exceeded
from offloadcard.control.network import Nat
from tests.control.support import GATEWAY_MAC, mac
from tests.control.test_slowpath import frame, story

PUBLIC = {2: {"nats": (Nat(A4("198.51.100.7"), A4("10.1.0.2")),)}}
ETHER  = Ether(src=mac(2).hex(":"), dst=GATEWAY_MAC.hex(":"))


def test_the_router_tells_the_sender():
    """A hop too few: the packet ends at the router of the network, and its sender learns of it."""
    async def told(card, controller):
        sent = frame(2, "203.0.113.5", UDP(sport=33434, dport=33434) / Raw(b"trace"), ttl=1)
        card.switch.from_guest(2, sent)
        await card.settle(controller.slowpath)
        assert card.switch.to_wire == []
        (function_id, octets), = card.switch.to_guests
        answer = Ether(octets)
        assert function_id == 2 and answer.dst == mac(2).hex(":")
        assert (answer[IP].src, answer[IP].dst) == ("10.1.0.1", "10.1.0.2")
        assert (answer[ICMP].type, answer[ICMP].code) == (11, 0)
        assert bytes(answer[ICMP].payload)[:28] == sent[14:42]
        counters = controller.slowpath.counters
        assert counters.dropped == {"TTL": 1} and counters.told == 1
        # Of an error nothing is told.
        card.switch.from_guest(2, frame(2, "203.0.113.5", ICMP(type=11), ttl=1))
        await card.settle(controller.slowpath)
        assert counters.told == 1 and len(card.switch.to_guests) == 1
    story(told, options=PUBLIC)


def test_octets_are_those_of_scapy():
    router = A4("10.1.0.1")
    sent = bytes(ETHER / IP(src="10.1.0.2", dst="8.8.8.8", ttl=1, options=[IPOption_NOP()] * 4)
                 / UDP() / Raw(bytes(100)))
    assert sender_of(sent) == A4("10.1.0.2")
    expected = (Ether(src=GATEWAY_MAC.hex(":"), dst=mac(2).hex(":"))
                / IP(src="10.1.0.1", dst="10.1.0.2", id=0, ttl=64) / ICMP(type=11)
                / Raw(sent[14:14 + 24 + 8]))
    assert time_exceeded(sent, router=router, router_mac=GATEWAY_MAC) == bytes(expected)
    sent = bytes(ETHER / IPv6(src="fd00:1::2", dst="2001:db8::1", hlim=1)
                 / ICMPv6EchoRequest(data=bytes(2000)))
    assert sender_of(sent) == A6("fd00:1::2")
    expected = (Ether(src=GATEWAY_MAC.hex(":"), dst=mac(2).hex(":"))
                / IPv6(src="fd00:1::1", dst="fd00:1::2", hlim=64) / ICMPv6TimeExceeded()
                / Raw(sent[14:14 + 1280 - 48]))
    assert time_exceeded(sent, router=A6("fd00:1::1"), router_mac=GATEWAY_MAC) == bytes(expected)


V4 = {"src": "10.1.0.2", "dst": "8.8.8.8", "ttl": 1}


@pytest.mark.parametrize("sent", [
    ETHER / IP(**V4) / ICMP(type=3), ETHER / IP(**V4, frag=3) / Raw(bytes(40)),
    ETHER / IP(**{**V4, "src": "224.0.0.1"}) / UDP(),
    ETHER / IP(**{**V4, "src": "255.255.255.255"}) / UDP(),
    ETHER / IP(**{**V4, "src": "0.0.0.0"}) / UDP(), ETHER / IP(**V4, ihl=15) / UDP(),
    Ether(src=mac(2).hex(":"), dst="ff:ff:ff:ff:ff:ff") / IP(**V4) / UDP(),
    ETHER / IPv6(src="ff02::1", dst="::1") / UDP() / Raw(bytes(9)),
    ETHER / IPv6(src="fd00:1::2", dst="2001:db8::1") / ICMPv6ParamProblem(),
    ETHER / Raw(bytes(60)), Ether(src=mac(2).hex(":"), dst=GATEWAY_MAC.hex(":"), type=0x0800)])
def test_of_these_nothing_is_told(sent):
    assert sender_of(bytes(sent)) is None


def test_nobody_is_told_in_anothers_name():
    """A source that is not the port's own has no router: the guest cannot aim at others."""
    async def told(card, controller):
        assert controller.topology.router_of(2, A4("10.1.0.3")) is None
        assert controller.topology.router_of(9, A4("10.1.0.2")) is None
        assert controller.topology.router_of(2, A6("fd00:1::2")) is None, "none of that kind"
        assert controller.topology.router_of(2, A4("10.1.0.2")) == (A4("10.1.0.1"), GATEWAY_MAC)
    story(told)
