"""DHCP as the card answers it: what scapy asks and reads; who is told nothing."""

from ipaddress import IPv4Address as A4
from ipaddress import IPv4Network

import pytest
from scapy.all import BOOTP, DHCP, IP, UDP, Ether, Raw

from offloadcard.control.dhcp import Lease, answer, question
from tests.control.support import GATEWAY_MAC, mac
from tests.control.test_slowpath import story

LEASE = Lease(IPv4Network("10.1.0.0/24"), A4("10.1.0.1"), A4("10.1.0.9"), "program")
OPTIONS = {2: {"lease": LEASE}}


def asks(kind, *options, number=2, udp=None, **bootp):
    """The frame of a guest that has no address yet."""
    return bytes(
        Ether(src=mac(number).hex(":"), dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255", id=0)
        / UDP(**(udp or {"sport": 68, "dport": 67}))
        / BOOTP(xid=0x1234_5678, chaddr=mac(number) + bytes(10), **bootp)
        / DHCP(options=[("message-type", kind), *options, "end"]))


def told_by(octets):
    """(frame, its BOOTP, its options) as scapy reads it; every checksum must be right."""
    frame = Ether(octets)
    fresh = Ether(octets)
    del fresh[IP].chksum, fresh[UDP].chksum, fresh[IP].len, fresh[UDP].len
    assert bytes(fresh) == octets
    return frame, frame[BOOTP], dict(o for o in frame[DHCP].options if isinstance(o, tuple))


def test_four_steps():
    """DISCOVER, OFFER, REQUEST, ACK: the port's own address, router, server, file."""
    async def told(card, controller):
        card.switch.from_guest(2, asks("discover"))
        await card.settle(controller.slowpath)
        (function_id, octets), = card.switch.to_guests
        frame, bootp, options = told_by(octets)
        assert function_id == 2 and frame.dst == mac(2).hex(":")
        assert frame.src == GATEWAY_MAC.hex(":")
        assert (bootp.op, bootp.xid, bootp.chaddr[:6]) == (2, 0x1234_5678, mac(2))
        assert (bootp.yiaddr, bootp.siaddr) == ("10.1.0.2", "10.1.0.9")
        assert bootp.file.rstrip(b"\0") == b"program"
        assert options == {"message-type": 2, "server_id": "10.1.0.1", "lease_time": 0xFFFF_FFFF,
                           "subnet_mask": "255.255.255.0", "router": "10.1.0.1"}
        card.switch.from_guest(2, asks("request", ("server_id", "10.1.0.1"),
                                       ("requested_addr", "10.1.0.2")))
        await card.settle(controller.slowpath)
        _, bootp, options = told_by(card.switch.to_guests[1][1])
        assert (bootp.yiaddr, options["message-type"]) == ("10.1.0.2", 5)
        counters = controller.slowpath.counters
        # Nothing of it is a flow, so nothing of it costs a row.
        assert (counters.leased, counters.inserted, card.switch.to_wire) == (2, 0, [])
    story(told, options=OPTIONS)


def test_another_address_is_refused():
    refused = answer(asks("request", ("requested_addr", "10.1.0.3")), A4("10.1.0.2"), LEASE,
                     mac=GATEWAY_MAC)
    _, bootp, options = told_by(refused)
    assert bootp.yiaddr == "0.0.0.0"
    assert options == {"message-type": 6, "server_id": "10.1.0.1"}
    # A guest that renews names its address in ciaddr.
    _, _, options = told_by(answer(asks("request", ciaddr="10.1.0.2"), A4("10.1.0.2"), LEASE,
                                   mac=GATEWAY_MAC))
    assert options["message-type"] == 5


def test_another_server_is_not_us():
    assert answer(asks("request", ("server_id", "10.1.0.77")), A4("10.1.0.2"), LEASE,
                  mac=GATEWAY_MAC) is None


def test_nobody_else_is_told():
    """No lease, or another's MAC: DHCP is what it was, a packet that the guard stops."""
    async def told(card, controller):
        card.switch.from_guest(3, asks("discover", number=3))
        card.switch.from_guest(2, asks("discover", number=3))
        await card.settle(controller.slowpath)
        assert card.switch.to_guests == [] and controller.slowpath.counters.leased == 0
    story(told, options=OPTIONS)


@pytest.mark.parametrize("frame", [
    asks("discover")[:-60], asks("inform"), asks("discover", op=2), asks("discover", htype=6),
    asks("discover", udp={"sport": 68, "dport": 68}), asks("discover")[:40], b"",
    bytes(Ether(type=0x0800) / Raw(bytes(400))),
    asks("request", ("requested_addr", "10.1.0.2")).replace(bytes([50, 4, 10]),
                                                            bytes([50, 9, 10])),
    asks("discover").replace(bytes([99, 130, 83, 99]), bytes(4))])
def test_what_is_no_question(frame):
    assert question(frame) is None


def test_every_cut_is_survived():
    whole = asks("request", ("requested_addr", "10.1.0.2"), ("server_id", "10.1.0.1"))
    for length in range(len(whole)):
        question(whole[:length])
    assert question(whole).address == A4("10.1.0.2")


def test_bad_leases():
    with pytest.raises(ValueError, match="`router` must be in 10.1.0.0/24"):
        Lease(IPv4Network("10.1.0.0/24"), A4("10.2.0.1"))
    with pytest.raises(ValueError, match="at most 127 octets"):
        Lease(IPv4Network("10.1.0.0/24"), A4("10.1.0.1"), file="x" * 128)
