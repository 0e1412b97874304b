"""Frames for tests and the demo, and what the provider's network makes of them."""

from ipaddress import ip_address

from .models.flow import Outer, Rewrite, equal_but_source_port, transpose
from .models.packet import Ethernet, Frame, Ipv4, Ipv6, Udp, assemble
from .rig import FABRIC

__all__ = ["Member", "from_wire", "only", "to_wire", "udp"]


class Member:
    """Who takes part in a virtual network: MAC in hex, IPv4 or IPv6 address."""

    def __init__(self, mac, address):
        self.mac, self.address = bytes.fromhex(mac), ip_address(address)


def udp(source, destination, payload, *, source_port=4000, destination_port=5000):
    """A UDP frame from one :class:`Member` to another, checksums right."""
    if source.address.version == 4:
        ip = Ipv4(0, 0, 0x4000, 64, 17, source.address.packed, destination.address.packed)
    else:
        ip = Ipv6(0, 0, 17, 64, source.address.packed, destination.address.packed)
    return assemble(Frame([
        Ethernet(destination.mac, source.mac, 0x0800 if source.address.version == 4 else 0x86DD),
        ip, Udp(source_port, destination_port, 1)], payload, [b""]))


def to_wire(frame, vni, vtep, *, fabric=FABRIC, rewrite=None):
    """What leaves the card for a frame to a member behind ``vtep``; its source port is free."""
    outer = Outer(vni, fabric.mac, fabric.next_hop_mac, fabric.address.packed,
                  ip_address(vtep).packed)
    return transpose(frame, Rewrite(**{**(rewrite or {}), "push": outer}))


def from_wire(frame, vni, vtep, *, fabric=FABRIC, source_port=0xC123):
    """What another card at ``vtep`` sends to this one for a frame."""
    outer = Outer(vni, fabric.next_hop_mac, fabric.mac, ip_address(vtep).packed,
                  fabric.address.packed, source_port=source_port)
    return transpose(frame, Rewrite(push=outer))


def only(got, expected):
    """Assert that frames are equal in order, the outer source port aside; names the first slip."""
    for n, (one, other) in enumerate(zip(got, expected)):
        assert equal_but_source_port(one, other), \
            f"frame {n} must be\n{other.hex()}, not\n{one.hex()}"
    assert len(got) == len(expected), f"{len(expected)} frames must come, not {len(got)}"
