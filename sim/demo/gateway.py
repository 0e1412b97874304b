"""The world behind the wire: a gateway that joins two virtual networks, and scapy as its eyes.

It decodes every frame of the card by scapy, an outside witness, and takes nothing for granted. What
a member of one network sends to the other, it sends back into the other's tunnel.
"""

import logging
from ipaddress import IPv4Address

from sim.bridge.ethernet import PcapWriter
from sim.models.flow import equal_but_source_port
from sim.traffic import from_wire

__all__ = ["Gateway", "decode"]


def decode(octets):
    """A frame as scapy sees it."""
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN
    assert VXLAN  # its import binds UDP port 4789
    return Ether(octets)


class Gateway:
    """Takes frames from the wire, checks them, forwards them.

    Parameters
    ----------
    env : sim.env.Env
        Whose wire it is at.
    path : Path
        Every frame on the wire is written there, both ways.
    routes : dict
        (VNI, VTEP) -> (VNI, VTEP as sender): where what comes for it goes in again.
    """

    def __init__(self, env, path, routes=()):
        self.env, self.routes = env, dict(routes)
        self.writer = PcapWriter(path)
        self.seen = 0
        self.decoded = []  # (time_ns, scapy frame)

    async def take(self, count, act, *, timeout_ns=3_000_000):
        """The next ``count`` frames that leave the card, decoded; at least these must come."""
        arrived = await self.env.wire_wait(self.seen + count, timeout_ns)
        frames = self.env.wire_received()[self.seen:]
        act.check("frames leave by the wire", arrived, f"{len(frames)} of {count}")
        self.seen += len(frames)
        for time_ns, octets in frames:
            self.writer.write(time_ns, octets)
            self.decoded.append((time_ns, decode(octets)))
        act.checks.pop()  # the caller checks their content
        return [octets for _, octets in frames]

    def forward(self, octets, act):
        """Back into the tunnel of the network it is for; the inner frame that scapy found."""
        frame = decode(octets)
        place = frame["VXLAN"].vni, IPv4Address(frame["IP"].dst)
        if place not in self.routes:
            act.check(f"a route for {place}", False)
        vni, vtep = self.routes[place]
        inner = bytes(frame["VXLAN"].payload)
        self.send(from_wire(inner, vni, vtep))
        return inner

    def send(self, octets):
        """Put a frame on the wire towards the card."""
        self.writer.write(self.env.now_ns, octets)
        self.env.wire_send(octets)

    def same(self, act, what, got, expected):
        """Frames on the wire equal those of the policy, octet for octet.

        The outer UDP source port is the card's own choice (rfc-7348, 5) and may be any.
        """
        pairs = [e if equal_but_source_port(g, e) else g for g, e in zip(got, expected)]
        act.equal(what, pairs + got[len(pairs):], expected)

    def close(self):
        """The capture of the wire is whole."""
        self.writer.close()
