"""What the slow path reasons about: a flow, and what shall happen to its packets."""

from dataclasses import dataclass, fields, replace
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address

__all__ = ["Direction", "Verdict", "Flow", "Tunnel", "Transposition", "Decision"]


class Direction(IntEnum):
    """Seen from the guests, as in VFP: outbound leaves one, inbound enters one."""
    OUTBOUND = 0
    INBOUND  = 1


class Verdict(Enum):
    """Where the packets of a flow go."""
    DROP     = "drop"
    WIRE     = "wire"
    FUNCTION = "function"


@dataclass(frozen=True)
class Flow:
    """The headers that a unified flow is told apart by.

    Outbound ``function_id`` is the sender and ``vni`` is 0; inbound ``vni`` is that of the tunnel
    the packet came in (0 for none) and ``function_id`` is 0 until a layer has found the receiver.
    Ports are 0 for protocols without; the id of an ICMP echo stands in both.
    """
    direction:        Direction
    function_id:      int
    vni:              int
    source:           IPv4Address | IPv6Address
    destination:      IPv4Address | IPv6Address
    protocol:         int
    source_port:      int = 0
    destination_port: int = 0

    @property
    def version(self):
        """4 or 6."""
        return self.destination.version

    def key(self):
        """What names the connection in this direction, whoever looks at it."""
        return (self.source, self.destination, self.protocol, self.source_port,
                self.destination_port)

    def reverse_key(self):
        """The key of the replies."""
        return (self.destination, self.source, self.protocol, self.destination_port,
                self.source_port)


@dataclass(frozen=True)
class Tunnel:
    """VXLAN to another host: who sends, who shall get it, in which virtual network."""
    vni:             int
    source:          IPv4Address
    destination:     IPv4Address
    source_mac:      bytes
    destination_mac: bytes


@dataclass(frozen=True)
class Transposition:
    """What becomes of the headers; ``None`` leaves a field alone."""
    pop:              bool = False
    push:             Tunnel | None = None
    source_mac:       bytes | None = None
    destination_mac:  bytes | None = None
    source:           IPv4Address | IPv6Address | None = None
    destination:      IPv4Address | IPv6Address | None = None
    source_port:      int | None = None
    destination_port: int | None = None
    dscp:             int | None = None
    decrement_ttl:    bool = False

    def then(self, later):
        """One transposition that does this one and then ``later``.

        A tunnel pushed and then popped is gone: a packet from tenant to tenant on one card never
        wears it. The TTL goes down once, however many layers route.
        """
        changes = {f.name: getattr(later, f.name) for f in fields(self)
                   if f.name not in ("pop", "push", "decrement_ttl")
                   and getattr(later, f.name) is not None}
        cancels = later.pop and self.push is not None
        return replace(
            self, **changes,
            pop=self.pop or (later.pop and not cancels),
            push=later.push or (None if cancels else self.push),
            decrement_ttl=self.decrement_ttl or later.decrement_ttl)

    def of(self, flow):
        """``flow`` as later layers see it."""
        changes = {name: getattr(self, name)
                   for name in ("source", "destination", "source_port", "destination_port")
                   if getattr(self, name) is not None}
        if self.pop:
            changes["vni"] = 0
        return replace(flow, **changes)


@dataclass(frozen=True)
class Decision:
    """What the layers said about a flow.

    ``function_id`` is the receiver for ``Verdict.FUNCTION``; ``meter`` the function whose token
    bucket counts; ``owners`` the functions whose policy was asked, whose generations the flow's
    entry therefore stands on; ``connections`` the keys, each with its function, under which
    replies are let through; ``rules`` the names of the rules that matched, layer by layer.
    """
    verdict:       Verdict
    function_id:   int = 0
    transposition: Transposition = Transposition()
    meter:         int | None = None
    owners:        tuple[int, ...] = ()
    connections:   tuple = ()
    rules:         tuple[str, ...] = ()

    def reply_to(self, flow):
        """The flow of the replies to ``flow``, which this decides, as the card will see it."""
        there = self.transposition.of(flow)
        local = self.verdict == Verdict.FUNCTION
        tunnel = self.transposition.push
        return Flow(
            direction=Direction.OUTBOUND if local else Direction.INBOUND,
            function_id=self.function_id if local else 0,
            vni=0 if local or tunnel is None else tunnel.vni,
            source=there.destination, destination=there.source, protocol=flow.protocol,
            source_port=there.destination_port, destination_port=there.source_port)
