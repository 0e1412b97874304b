"""A small cloud: two tenants' networks, ports on the card, members elsewhere."""

from ipaddress import IPv4Address as A4
from ipaddress import IPv6Address as A6

from offloadcard.control.controller import Controller
from offloadcard.control.network import AclRule, Fabric, Port, Remote, VirtualNetwork
from offloadcard.control.policy import Match

FABRIC = Fabric(A4("192.0.2.1"), bytes.fromhex("02aabb000001"), bytes.fromhex("02aabb0000fe"))
GATEWAY_MAC = bytes.fromhex("02000a0100fe")
SEED = 0x0123_4567_89AB_CDEF


def mac(number):
    """The MAC of member ``number``."""
    return bytes([2, 0, 10, 1, 0, number])


def network(vni=100):
    """A virtual network with one member behind another card."""
    return VirtualNetwork(vni, ("10.1.0.0/24", "fd00:1::/64", "10.2.0.0/24"), GATEWAY_MAC,
                          {A4("10.1.0.9"): Remote(mac(9), A4("192.0.2.2"))},
                          (A4("10.1.0.1"),))


PING_AND_WEB = (AclRule("ping", 10, Match(protocol=1), True),
                AclRule("web", 10, Match(protocol=6, destination_ports=range(80, 81)), True))


def port(number, net, *, function_id=None, acl=PING_AND_WEB, **options):
    """Member ``number`` of ``net`` on this card; 10.1.0.number and fd00:1::number."""
    return Port(function_id or number, net, mac(number),
                (A4(f"10.1.0.{number}"), A6(f"fd00:1::{number:x}")), acl=acl, **options)


async def attach(card, **options):
    """A controller of ``card``."""
    return await Controller.attach(card, fabric=FABRIC, seed=SEED, dram_octets=1 << 30, **options)
