"""The provider's network behind the wire: a router that joins virtual networks two by two.

What the card sends into a tunnel comes back in the tunnel of the network that is joined to it, so
that two guests of one card talk by the wire, and each one's kernel checks what the card's
encapsulation and decapsulation made of the other's frames.

Or a guest is itself the far end of the tunnels: a frame of the card goes to it whole, in a tunnel
of its own network, so that its card hands it the outer header and all, and its kernel's own VXLAN
opens it; what that kernel sends comes to the wire as it made it.
"""

# Ref: rfc-7348, 5 (VXLAN Frame Format)

from ipaddress import IPv4Address

import cocotb

from sim.traffic import from_wire

__all__ = ["BEHIND", "VTEP", "Router"]

VTEP   = IPv4Address("192.0.2.9")
BEHIND = IPv4Address("192.0.2.10")  # of the tunnel to the guest that is a tunnel's far end
_OUTER = 14 + 20 + 8 + 8  # Ethernet, IPv4, UDP, VXLAN
_PORT = 4789


class Router:
    """Joins networks.

    Parameters
    ----------
    env : sim.env.Env
    timeline : sim.linux.timeline.Timeline
    joined : list of (VNI, VNI)
    behind : int or None
        VNI of the network of the guest that is the tunnels' far end.
    delay_ns : int
        From the last octet to the first: a switch and a router (guess).

    Attributes
    ----------
    frames : list of (time_ns, octets)
        What passed on the wire, both ways.
    refused : int
        Frames that are for no joined network.
    under_way : int
    """

    def __init__(self, env, timeline, joined, *, behind=None, delay_ns=2_000):
        self.env, self.timeline, self.delay_ns = env, timeline, delay_ns
        self.behind = behind
        self.routes = {a: b for one, other in joined for a, b in ((one, other), (other, one))}
        self.frames, self.refused, self.under_way = [], 0, 0
        env.listen_to_wire(self._came)

    def _came(self, time_ps, octets, error):
        self.frames.append((time_ps / 1000, octets))
        answer = None if error else self.answer(octets)
        if answer is None:
            self.refused += 1
            return
        self.under_way += 1
        cocotb.start_soon(self._send(answer))

    def answer(self, octets):
        """What goes back for a frame of the card; None for one that goes nowhere."""
        came = self._vni(octets)
        if came is not None and came == self.behind:
            return octets[_OUTER:]
        if came is not None and self.behind is not None:
            return from_wire(octets, self.behind, BEHIND)
        vni = self.routes.get(came)
        return None if vni is None else from_wire(octets[_OUTER:], vni, VTEP)

    @staticmethod
    def _vni(octets):
        """Of the tunnel to us, or None."""
        if len(octets) < _OUTER or octets[12:14] != b"\x08\x00" or octets[23] != 17 \
                or octets[30:34] not in (VTEP.packed, BEHIND.packed) \
                or int.from_bytes(octets[36:38], "big") != _PORT or octets[42] != 8:
            return None
        return int.from_bytes(octets[46:49], "big")

    async def _send(self, octets):
        await self.timeline.sleep(self.delay_ns)
        self.frames.append((self.env.now_ns, octets))
        self.env.wire_send(octets)
        self.under_way -= 1
